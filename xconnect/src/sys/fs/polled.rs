//! Descriptors in a tokio runtime's epoll instance.

use std::io;
use std::ops::Deref;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A descriptor whose readiness the runtime reports. Read access only: what keeps the registration
/// sound is that nobody can put another descriptor in its place.
#[derive(Debug)]
pub struct Polled(AsyncFd<OwnedFd>);

impl Polled {
    /// Registers a descriptor. To be called within a tokio runtime.
    ///
    /// # Errors
    /// Those of epoll_ctl(2); `EPERM` for a file that cannot be polled.
    pub fn new(fd: OwnedFd, interest: Interest) -> io::Result<Self> {
        // SAFETY: an OwnedFd is an open descriptor and stays the same one as long as it is not
        // replaced. It lives in the AsyncFd, to which this type lends shared references only.
        Ok(Self(unsafe { AsyncFd::register_with_interest(fd, interest) }?))
    }
}

impl Deref for Polled {
    type Target = AsyncFd<OwnedFd>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}
