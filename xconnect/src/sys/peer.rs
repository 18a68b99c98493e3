//! Who is at the other end of a Unix socket: SO_PEERCRED and SO_PEERPIDFD (unix(7)).
#![expect(
    unsafe_code,
    reason = "getsockopt of options that rustix reads into a type without 0 (pid) or lacks"
)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// `SO_PEERPIDFD` (asm-generic/socket.h), since Linux 6.5.
const SO_PEERPIDFD: libc::c_int = 77;

/// Credentials of the process that connected (or listened), as of that moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// Its pid in our PID namespace; `None` where it is not visible from here.
    pub pid: Option<u32>,
    /// Its effective user, in our user namespace (65534 where it has no mapping).
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
}

/// Reads `SO_PEERCRED`.
///
/// # Errors
/// `ENOTSOCK`, `ENOTCONN` and the like.
pub fn credentials(socket: impl AsFd) -> io::Result<Credentials> {
    let mut value = MaybeUninit::<libc::ucred>::zeroed();
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: `value` is valid for `len` bytes of writing, and both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            value.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: ucred is three integers, zeroed above and filled in by the kernel: any bits are valid.
    let cred = unsafe { value.assume_init() };
    let pid = u32::try_from(cred.pid).ok().filter(|pid| *pid > 0);
    Ok(Credentials { pid, uid: cred.uid, gid: cred.gid })
}

/// A pidfd of the process that connected, free of the race with a recycled number; `None` where the
/// kernel does not know the option.
///
/// # Errors
/// `ESRCH` where the process is gone.
pub fn pidfd(socket: impl AsFd) -> io::Result<Option<OwnedFd>> {
    let mut fd: libc::c_int = -1;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `fd` is valid for `len` bytes of writing, and both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            (&raw mut fd).cast(),
            &raw mut len,
        )
    };
    if result != 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::ENOPROTOOPT | libc::EINVAL) => Ok(None),
            _ => Err(error),
        };
    }
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    // SAFETY: the kernel installed a new descriptor (close-on-exec) for us; nobody else owns it.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_peer_of_a_pair_is_this_process() {
        let (a, _b) = UnixStream::pair().unwrap();
        let cred = credentials(&a).unwrap();
        assert_eq!(cred.pid, Some(std::process::id()));
        assert_eq!(cred.uid, rustix::process::geteuid().as_raw());
        if let Some(fd) = pidfd(&a).unwrap() {
            assert!(rustix::io::fcntl_getfd(&fd).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        }
    }
}
