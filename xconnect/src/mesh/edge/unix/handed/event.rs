//! What an event on a socket in the kernel's maps tells.

use rustix::event::epoll::EventFlags;

/// What an event tells.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    /// The peer sends no more.
    pub(super) source_ended: bool,
    /// The peer has half-closed: the kernel has taken the socket out of its map.
    pub(super) sink_left: bool,
    /// The peer receives no more.
    pub(super) sink_gone: bool,
    /// The kernel's worker could not send, for another reason (the number of the error).
    pub(super) failed: Option<i32>,
    /// There is room.
    pub(super) room: bool,
}

impl Told {
    /// `error` takes the socket's error.
    ///
    /// A worker that cannot send says so (`sk_psock_backlog`, `sk_psock_report_error`) and gives up for good
    /// (`SK_PSOCK_TX_ENABLED`): what is queued is never sent, and what is redirected later is dropped without a
    /// word. The peer takes nothing any more, or memory was short (`ENOBUFS`, `ENOMEM`).
    pub(super) fn of(flags: EventFlags, error: impl FnOnce() -> Option<i32>) -> Self {
        let gone = flags.contains(EventFlags::HUP);
        let ended = flags.contains(EventFlags::RDHUP);
        // Of a peer that is gone nothing more need be known.
        let error = if flags.contains(EventFlags::ERR) && !gone { error() } else { None };
        let refused = error.is_some_and(is_refusal);
        Self {
            source_ended: gone || ended,
            sink_left: ended && !gone,
            sink_gone: gone || refused,
            failed: error.filter(|_| !refused),
            room: flags.contains(EventFlags::OUT),
        }
    }
}

/// Whether the error says that the peer takes nothing any more.
pub(super) fn is_refusal(error: i32) -> bool {
    matches!(error, libc::EPIPE | libc::ECONNRESET)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(flags: EventFlags, error: Option<i32>) -> Told {
        Told::of(flags, || error)
    }

    #[test]
    fn a_worker_that_had_no_memory_is_told_from_a_peer_that_is_gone() {
        for error in [libc::ENOBUFS, libc::ENOMEM, libc::EIO] {
            let failed = Told { failed: Some(error), ..Told::default() };
            assert_eq!(told(EventFlags::ERR, Some(error)), failed);
            let both = Told { source_ended: true, sink_left: true, ..failed };
            assert_eq!(told(EventFlags::ERR | EventFlags::RDHUP, Some(error)), both);
        }
        for error in [libc::EPIPE, libc::ECONNRESET] {
            let gone = Told { sink_gone: true, ..Told::default() };
            assert_eq!(told(EventFlags::ERR, Some(error)), gone);
        }
        assert_eq!(told(EventFlags::ERR, None), Told::default());
    }

    #[test]
    fn half_closed_is_not_gone() {
        let half = Told { source_ended: true, sink_left: true, ..Told::default() };
        assert_eq!(told(EventFlags::RDHUP, None), half);
        let gone = Told { source_ended: true, sink_gone: true, ..Told::default() };
        assert_eq!(told(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR, Some(libc::ENOMEM)), gone);
    }

    #[test]
    fn bytes_and_room_end_nothing() {
        assert_eq!(told(EventFlags::IN, None), Told::default());
        assert_eq!(told(EventFlags::OUT, None), Told { room: true, ..Told::default() });
    }
}
