//! Does this kernel tell where a descriptor is before it is taken? Tried on a socket pair, not looked up
//! by version.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::scratch::FdSearch;
use crate::sys::scm::{self, Peeked};

/// Tries which search for descriptors works.
///
/// # Errors
/// Those of socketpair(2).
pub(in crate::mesh::edge) fn fd_search() -> io::Result<FdSearch> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (near, far) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let carried: [OwnedFd; 1] = [near.try_clone()?];
    scm::send(near.as_fd(), b"plain", &[], None)?;
    scm::send(near.as_fd(), b"head", &carried, None)?;
    scm::send(near.as_fd(), b"tail", &[], None)?;
    let mut buffer = [0; 64];
    if !matches!(scm::peek(far.as_fd(), &mut buffer[..1]), Ok(Peeked { len: 1, control: true })) {
        return Ok(FdSearch::Blind);
    }
    let whole = scm::peek_whole(far.as_fd(), &mut buffer);
    let before = scm::peek_whole(far.as_fd(), &mut buffer[..8]);
    let exact = matches!(whole, Ok(Some(Peeked { len: 9, control: true })))
        && matches!(before, Ok(Some(Peeked { len: 5, control: false })));
    Ok(if exact { FdSearch::Boundary } else { FdSearch::Step })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_shows_the_boundary() {
        assert_eq!(fd_search().unwrap(), FdSearch::Boundary);
    }
}
