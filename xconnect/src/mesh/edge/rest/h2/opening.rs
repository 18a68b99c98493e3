//! How a provider begins to speak: only one whose first frame is SETTINGS (RFC 9113 section 3.4) speaks HTTP/2.
//!
//! Before that nothing of a consumer's goes to it. To a provider that speaks HTTP/1 the bytes of a body would be
//! requests, with whatever identity the consumer has written there.

use tokio::sync::oneshot;

/// Bytes of a frame's header.
const HEADER: usize = 9;
/// The type of SETTINGS, and its flag that acknowledges the peer's.
const SETTINGS: u8 = 4;
const ACK: u8 = 1;

/// What a provider turned out to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    Http2,
    Other,
}

/// The beginning of what a provider says.
pub(super) struct Opening {
    header: Vec<u8>,
    /// Dropped without a word: it has said nothing.
    tell: oneshot::Sender<Speaks>,
}

impl Opening {
    pub(super) fn new() -> (Self, oneshot::Receiver<Speaks>) {
        let (tell, told) = oneshot::channel();
        (Self { header: Vec::with_capacity(HEADER), tell }, told)
    }

    /// Looks at what has come. `None`: more is needed to know.
    fn judge(&mut self, bytes: &[u8]) -> Option<Speaks> {
        let missing = HEADER - self.header.len();
        self.header.extend_from_slice(&bytes[..missing.min(bytes.len())]);
        let [_, _, _, kind, flags, stream @ ..] = &self.header[..] else { return None };
        if stream.len() < 4 {
            return (*kind != SETTINGS).then_some(Speaks::Other);
        }
        let fits = *kind == SETTINGS && flags & ACK == 0 && stream == [0; 4];
        Some(if fits { Speaks::Http2 } else { Speaks::Other })
    }

    /// Looks at what has come, and tells who waits once it is known. False: it is something else.
    pub(super) fn saw(opening: &mut Option<Self>, bytes: &[u8]) -> bool {
        let Some(speaks) = opening.as_mut().and_then(|opening| opening.judge(bytes)) else { return true };
        if let Some(Self { tell, .. }) = opening.take() {
            // Who waited may have gone meanwhile.
            let _ = tell.send(speaks);
        }
        speaks == Speaks::Http2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(bytes: &[u8]) -> Option<Speaks> {
        let whole = Opening::new().0.judge(bytes);
        let mut opening = Opening::new().0;
        let piecewise = bytes.iter().find_map(|byte| opening.judge(&[*byte]));
        assert_eq!(whole, piecewise, "{bytes:?}");
        whole
    }

    #[test]
    fn only_settings_come_first() {
        assert_eq!(judged(b"\0\0\x06\x04\0\0\0\0\0"), Some(Speaks::Http2));
        assert_eq!(judged(b"\0\0\x06\x04\0\0\0"), None);
        assert_eq!(judged(b"\0\0\0\x04\x01\0\0\0\0"), Some(Speaks::Other));
        assert_eq!(judged(b"\0\0\x06\x04\0\0\0\0\x01"), Some(Speaks::Other));
        assert_eq!(judged(b"HTTP/1.1 400 Bad Request\r\n"), Some(Speaks::Other));
        assert_eq!(judged(b"HTT"), None);
    }
}
