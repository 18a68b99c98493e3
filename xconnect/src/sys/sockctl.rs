//! What sockets are asked for with calls that rustix does not have.
#![expect(unsafe_code, reason = "ioctl(2) and setsockopt(2) take raw pointers")]

use std::io::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `SO_PASSRIGHTS` (include/uapi/asm-generic/socket.h), since Linux 6.16; on by default.
#[cfg(not(any(target_arch = "sparc", target_arch = "sparc64")))]
const SO_PASSRIGHTS: libc::c_int = 83;
/// The same (arch/sparc/include/uapi/asm/socket.h).
#[cfg(any(target_arch = "sparc", target_arch = "sparc64"))]
const SO_PASSRIGHTS: libc::c_int = 0x5c;

/// `SIOCGSKNS` (include/uapi/linux/sockios.h).
const SIOCGSKNS: libc::Ioctl = 0x894c;

/// Makes the peer's `sendmsg` fail with `EPERM` when it passes descriptors (`unix_stream_sendmsg`, net/unix/af_unix.c).
///
/// # Errors
/// `ENOPROTOOPT` before Linux 6.16.
pub fn refuse_rights(socket: BorrowedFd<'_>) -> Result<()> {
    pass_rights(socket, false)
}

/// Says whether the peer may pass descriptors. Connections inherit it from the listening socket, before they are
/// accepted (`unix_stream_connect`).
///
/// # Errors
/// `ENOPROTOOPT` before Linux 6.16.
pub fn pass_rights(socket: BorrowedFd<'_>, pass: bool) -> Result<()> {
    let pass = libc::c_int::from(pass);
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `pass` is valid for `len` bytes of reading, and outlives the call.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_PASSRIGHTS, (&raw const pass).cast(), len)
    };
    if result == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}

/// Memory of what was sent and not yet read by the peer (`SIOCOUTQ`; `unix_outq_len`, net/unix/af_unix.c: it
/// counts the buffers' overhead too).
///
/// # Errors
/// Those of ioctl(2).
pub fn queued_out(socket: BorrowedFd<'_>) -> Result<usize> {
    let mut queued: libc::c_int = 0;
    // SAFETY: `queued` is a place for the integer that SIOCOUTQ, the same number as TIOCOUTQ, gives.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut queued) };
    if result == 0 { Ok(usize::try_from(queued).unwrap_or(0)) } else { Err(Error::last_os_error()) }
}

/// The network namespace of a socket, whatever its process has done since (`sock_ioctl`, net/socket.c).
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN` over that namespace.
pub fn network_namespace(socket: BorrowedFd<'_>) -> Result<OwnedFd> {
    // SAFETY: it takes no argument.
    let fd = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS) };
    if fd < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: a new descriptor (close-on-exec, `open_related_ns`) that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
