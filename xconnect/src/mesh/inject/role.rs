//! Connecting to a provider as a role: effective ids of one thread, no supplementary groups.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType as Kind, sockopt};

use crate::graph::{Identity, SocketType};
use crate::sys::cred;

thread_local! {
    static CURRENT: Cell<Option<Identity>> = const { Cell::new(None) };
}

/// Whether a connect may wait for room in the provider's backlog.
#[derive(Debug, Clone, Copy)]
pub enum Blocking {
    /// `WouldBlock` at once.
    No,
    /// For so long.
    Timeout(Duration),
}

/// Prepares the calling thread.
///
/// # Errors
/// Those of prctl(2) and setgroups(2).
pub fn prepare_thread() -> io::Result<()> {
    cred::keep_capabilities()?;
    cred::drop_groups()?;
    cred::reset_effective()
}

/// Connects as `identity`.
///
/// # Errors
/// Those of connect(2).
pub fn connect(
    socket: BorrowedFd<'_>,
    socket_type: SocketType,
    identity: Identity,
    blocking: Blocking,
) -> io::Result<OwnedFd> {
    if CURRENT.get() != Some(identity) {
        CURRENT.set(None);
        cred::set_effective(identity.uid, identity.gid)?;
        CURRENT.set(Some(identity));
    }
    let kind = match socket_type {
        SocketType::Stream => Kind::STREAM,
        SocketType::Seqpacket => Kind::SEQPACKET,
    };
    let mut flags = SocketFlags::CLOEXEC;
    if matches!(blocking, Blocking::No) {
        flags |= SocketFlags::NONBLOCK;
    }
    let fd = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
    if let Blocking::Timeout(limit) = blocking {
        sockopt::set_socket_timeout(&fd, sockopt::Timeout::Send, Some(limit))?;
    }
    let path = format!("/proc/self/fd/{}", socket.as_raw_fd());
    rustix::net::connect(&fd, &SocketAddrUnix::new(path)?)?;
    if matches!(blocking, Blocking::Timeout(_)) {
        sockopt::set_socket_timeout(&fd, sockopt::Timeout::Send, None)?;
        rustix::io::ioctl_fionbio(&fd, true)?;
    }
    Ok(fd)
}
