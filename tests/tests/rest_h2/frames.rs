//! Frames of HTTP/2 (RFC 9113 section 4.1) made by hand, with fields that are never compressed (RFC 7541 section
//! 6.2.2): so everything can be said that a library refuses to say.

use xconnect_tests::Socket;

/// What opens a connection: the preface and empty settings.
pub(crate) const OPEN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A frame.
#[must_use]
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A block of fields.
#[must_use]
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            // One byte of length is enough for what is said here: 7 bits, without Huffman's code.
            bytes.push(u8::try_from(text.len()).unwrap_or(0) & 0x7f);
            bytes.extend(text.bytes());
        }
    }
    bytes
}

/// A request; with a body it does not end with its head.
#[must_use]
pub(crate) fn request(stream: u32, fields: &[(&str, &str)], body: Option<&[u8]>) -> Vec<u8> {
    let flags = END_HEADERS | if body.is_none() { END_STREAM } else { 0 };
    let mut bytes = frame(HEADERS, flags, stream, &block(fields));
    if let Some(body) = body {
        bytes.extend(frame(DATA, END_STREAM, stream, body));
    }
    bytes
}

/// How the other side takes a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It answers.
    Answered,
    /// It refuses the stream.
    Reset,
    /// It ends the connection.
    Closed,
}

/// Reads frames until it is clear what becomes of a stream.
#[must_use]
pub(crate) fn fate(socket: &Socket, stream: u32) -> Fate {
    let mut frames = Frames::default();
    while let Some(Frame { kind, stream: of, .. }) = frames.next(socket) {
        match kind {
            HEADERS if of == stream => return Fate::Answered,
            RST_STREAM if of == stream => return Fate::Reset,
            GOAWAY => return Fate::Closed,
            _ => {}
        }
    }
    Fate::Closed
}

/// A frame that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Its type.
    pub(crate) kind: u8,
    /// Its flags.
    flags: u8,
    /// Its stream.
    pub(crate) stream: u32,
    /// What is in it.
    pub(crate) payload: Vec<u8>,
}

/// Frames as they come.
#[derive(Debug, Default)]
pub(crate) struct Frames(Vec<u8>);

impl Frames {
    /// The next one, answered where it is a PING; `None` at the end of the connection.
    pub(crate) fn next(&mut self, socket: &Socket) -> Option<Frame> {
        loop {
            if let Some(frame) = self.take() {
                if frame.kind == PING && frame.flags & ACK == 0 {
                    // The other side may be gone.
                    let _ = socket.try_send(&self::frame(PING, ACK, 0, &frame.payload), &[]);
                }
                return Some(frame);
            }
            match socket.try_recv(65536) {
                Ok(message) if !message.bytes.is_empty() => self.0.extend(message.bytes),
                Ok(_) => return None,
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("instead of a frame: {error}"),
            }
        }
    }

    fn take(&mut self) -> Option<Frame> {
        let header: [u8; 9] = self.0.get(..9)?.try_into().ok()?;
        let [a, b, c, kind, flags, stream @ ..] = header;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let payload = self.0.get(9..9 + length)?.to_vec();
        self.0.drain(..9 + length);
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }
}
