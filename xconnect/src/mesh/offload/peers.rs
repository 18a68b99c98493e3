//! Who is at the other end of a socket.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use crate::sys::diag::{DiagSocket, DiagSockets};

/// The look-ups of one relay thread.
#[derive(Debug, Default)]
pub(in crate::mesh) struct Peers {
    sockets: DiagSockets,
    /// The ones used last, so that they stay open from one connection to the next.
    recent: Vec<Arc<DiagSocket>>,
}

/// So many namespaces' netlink sockets stay open.
const RECENT: usize = 8;

impl Peers {
    /// The cookie of the socket that ours is connected to, as the verdict sees it. `None`: it is gone.
    pub(in crate::mesh) fn cookie_of_peer(&mut self, socket: BorrowedFd<'_>) -> io::Result<Option<u64>> {
        let diag = self.sockets.of(socket)?;
        let cookie = diag.peer_cookie(socket)?;
        match self.recent.iter().position(|known| Arc::ptr_eq(known, &diag)) {
            Some(place) => self.recent[..=place].rotate_right(1),
            None => {
                self.recent.truncate(RECENT - 1);
                self.recent.insert(0, diag);
            }
        }
        Ok(cookie)
    }
}
