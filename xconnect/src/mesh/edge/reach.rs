//! What comes of trying to reach a provider, and when to try again.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// First and longest pause between two tries to reach a provider whose socket is there.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));

/// What came of one try to reach the provider.
pub(in crate::mesh::edge) enum Reached {
    Yes(OwnedFd),
    /// Its backlog is full.
    Full,
    /// Nobody listens, or we lack something: try again, after looking for its socket anew where `stale`.
    NotYet {
        stale: bool,
    },
    /// It will not work.
    Never(io::Error),
}

impl From<io::Result<OwnedFd>> for Reached {
    fn from(result: io::Result<OwnedFd>) -> Self {
        match result {
            Ok(socket) => Self::Yes(socket),
            Err(error) => match (error.kind(), error.raw_os_error()) {
                (ErrorKind::WouldBlock | ErrorKind::TimedOut, _) => Self::Full,
                (ErrorKind::ConnectionRefused | ErrorKind::NotFound, _) => Self::NotYet { stale: true },
                (ErrorKind::Interrupted, _)
                | (_, Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS)) => {
                    Self::NotYet { stale: false }
                }
                _ => Self::Never(error),
            },
        }
    }
}

/// The pause before the next try.
#[derive(Debug, Default)]
pub(in crate::mesh::edge) struct BackOff {
    delay: Duration,
    pub(in crate::mesh::edge) until: Option<Instant>,
}

impl BackOff {
    pub(in crate::mesh::edge) fn grow(&mut self, now: Instant) {
        self.delay = (self.delay * 2).clamp(BACK_OFF.0, BACK_OFF.1);
        self.until = Some(now + self.delay);
    }

    pub(in crate::mesh::edge) fn waits(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until > now)
    }
}
