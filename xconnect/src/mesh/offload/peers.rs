//! Who is at the other end of a socket.
use std::io;
use std::os::fd::BorrowedFd;
#[derive(Debug, Default)]
pub(in crate::mesh) struct Peers;
impl Peers {
    pub(in crate::mesh) fn cookie_of_peer(&mut self, _s: BorrowedFd<'_>) -> io::Result<Option<u64>> {
        Ok(None)
    }
}
