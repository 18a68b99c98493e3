//! Unix sockets: accepting, buffer sizes, and the end of one direction.

use std::io::Result;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, sockopt};

pub use super::sockctl::{queued_out, refuse_rights};

/// Accepts a connection: non-blocking, close-on-exec.
///
/// # Errors
/// Those of accept4(2); `EAGAIN` where nobody waits.
pub fn accept(listener: impl AsFd) -> Result<OwnedFd> {
    Ok(rustix::net::accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?)
}

/// Connects to a path of any length: `sun_path` holds 107 bytes (unix(7)), so that a longer one is reached
/// through a descriptor of its directory.
///
/// # Errors
/// Those of connect(2) and open(2).
pub fn connect(socket: impl AsFd, path: &Path) -> Result<()> {
    let address = match SocketAddrUnix::new(path) {
        Err(Errno::NAMETOOLONG) => {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                return Err(Errno::NAMETOOLONG.into());
            };
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let dir = rustix::fs::open(parent, flags, Mode::empty())?;
            let short = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name);
            return Ok(rustix::net::connect(socket, &SocketAddrUnix::new(&short)?)?);
        }
        address => address?,
    };
    Ok(rustix::net::connect(socket, &address)?)
}

/// Takes bytes; what comes with them (descriptors) is closed by the kernel.
///
/// # Errors
/// Those of recv(2).
pub fn receive_plain(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize> {
    Ok(rustix::net::recv(socket, buffer, RecvFlags::DONTWAIT)?.0)
}

/// Whether the socket's peer is gone.
#[must_use]
pub fn is_gone(socket: BorrowedFd<'_>) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut polled = [PollFd::from_borrowed_fd(socket, PollFlags::empty())];
    // It fails for want of memory only; then an event tells.
    let _ = poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    polled[0].revents().contains(PollFlags::HUP)
}

/// The error that waits on a socket (`SO_ERROR`), which is cleared by that.
#[must_use]
pub fn take_error(socket: BorrowedFd<'_>) -> Option<i32> {
    sockopt::socket_error(socket).ok().and_then(|waits| waits.err()).map(Errno::raw_os_error)
}

/// Bytes that wait to be read (`FIONREAD`).
///
/// # Errors
/// Those of ioctl(2).
pub fn waiting(socket: BorrowedFd<'_>) -> Result<usize> {
    // Some kernels count an out-of-band byte twice, so that it can be below 0 (6.17, `unix_stream_read_skb`).
    let bytes = rustix::io::ioctl_fionread(socket)?.cast_signed();
    Ok(usize::try_from(i32::try_from(bytes).unwrap_or(i32::MAX)).unwrap_or(0))
}

/// Says that nothing more will be sent: the peer reads what there is, then end of file.
pub fn end_sending(socket: BorrowedFd<'_>) {
    // It fails only where the peer is gone already, which is what it would have told.
    let _ = rustix::net::shutdown(socket, Shutdown::Write);
}

/// Says that nothing more will be read: the peer's sends fail with `EPIPE`.
pub fn end_receiving(socket: BorrowedFd<'_>) {
    // As in `end_sending`.
    let _ = rustix::net::shutdown(socket, Shutdown::Read);
}

/// Makes the send buffer at least `bytes` long, above the system's limit where we may
/// (`SO_SNDBUFFORCE` needs `CAP_NET_ADMIN`).
///
/// # Errors
/// Those of setsockopt(2).
pub fn grow_send_buffer(socket: BorrowedFd<'_>, bytes: usize) -> Result<()> {
    // The kernel doubles what is asked for and reports the double (socket(7)).
    if sockopt::socket_send_buffer_size(socket)? >= bytes {
        return Ok(());
    }
    let half = bytes.div_ceil(2);
    if sockopt::set_socket_send_buffer_size_force(socket, half).is_err() {
        sockopt::set_socket_send_buffer_size(socket, half)?;
    }
    Ok(())
}

/// Size of the send buffer as the kernel accounts for it: with its overhead, twice what was asked for (socket(7)).
///
/// # Errors
/// Those of getsockopt(2).
pub fn send_buffer(socket: BorrowedFd<'_>) -> Result<usize> {
    Ok(sockopt::socket_send_buffer_size(socket)?)
}

/// Makes the send buffer as long as [`send_buffer`] is to say, larger or smaller, above the system's limit too.
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN`.
pub fn force_send_buffer(socket: BorrowedFd<'_>, bytes: usize) -> Result<()> {
    Ok(sockopt::set_socket_send_buffer_size_force(socket, bytes.div_ceil(2))?)
}

/// A number that no other socket on this host has or had since it was booted (`SO_COOKIE`).
///
/// # Errors
/// Those of getsockopt(2).
pub fn cookie(socket: BorrowedFd<'_>) -> Result<u64> {
    Ok(sockopt::socket_cookie(socket)?)
}

/// Whether the read that just returned 0 on a `SOCK_SEQPACKET` socket was a message without bytes rather
/// than the end: with `SO_PASSCRED` a message always has something for the control buffer.
///
/// # Errors
/// Those of setsockopt(2) and recvmsg(2).
pub fn is_empty_message(socket: BorrowedFd<'_>) -> Result<bool> {
    sockopt::set_socket_passcred(socket, true)?;
    let seen = super::scm::peek_length(socket);
    // Off again before anything is sent: a socket with it gets an address of its own (unix(7), autobind).
    sockopt::set_socket_passcred(socket, false)?;
    Ok(seen?.control)
}

/// Takes the out-of-band byte.
///
/// # Errors
/// `EINVAL` where there is none; those of recv(2).
pub fn receive_urgent(socket: BorrowedFd<'_>) -> Result<u8> {
    let mut byte = [0];
    rustix::net::recv(socket, &mut byte, RecvFlags::OOB | RecvFlags::DONTWAIT)?;
    Ok(byte[0])
}

/// Sends one byte out of band.
///
/// # Errors
/// Those of send(2).
pub fn send_urgent(socket: BorrowedFd<'_>, byte: u8) -> Result<()> {
    let flags = SendFlags::OOB | SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::net::send(socket, &[byte], flags)?;
    Ok(())
}

/// Whether the next byte is the out-of-band one (`SIOCATMARK`, sockatmark(3)).
///
/// # Errors
/// Those of ioctl(2).
pub fn at_mark(socket: BorrowedFd<'_>) -> Result<bool> {
    super::scm::at_mark(socket)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_send_buffer_is_read_and_forced() {
        let (a, _b) = UnixStream::pair().unwrap();
        match force_send_buffer(a.as_fd(), 16 << 20) {
            Ok(()) => assert_eq!(send_buffer(a.as_fd()).unwrap(), 16 << 20),
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EPERM)),
        }
    }

    #[test]
    fn what_is_queued_is_seen_until_it_is_read() {
        let (mut a, b) = UnixStream::pair().unwrap();
        assert_eq!(queued_out(a.as_fd()).unwrap(), 0);
        a.write_all(b"12345").unwrap();
        assert!(queued_out(a.as_fd()).unwrap() >= 5);
        assert_eq!(waiting(b.as_fd()).unwrap(), 5);
        receive_plain(b.as_fd(), &mut [0; 8]).unwrap();
        assert_eq!(queued_out(a.as_fd()).unwrap(), 0);
    }

    #[test]
    fn descriptors_are_refused_where_the_kernel_can() {
        let (a, b) = UnixStream::pair().unwrap();
        match refuse_rights(b.as_fd()) {
            Ok(()) => {
                let file = std::fs::File::open("/dev/null").unwrap().into();
                let sent = super::super::scm::send(a.as_fd(), b"x", &[file], None);
                assert_eq!(sent.unwrap_err().raw_os_error(), Some(libc::EPERM));
                assert_eq!(waiting(b.as_fd()).unwrap(), 0);
            }
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ENOPROTOOPT)),
        }
    }

    #[test]
    fn cookies_are_of_one_socket_each() {
        let (a, b) = UnixStream::pair().unwrap();
        assert_ne!(cookie(a.as_fd()).unwrap(), cookie(b.as_fd()).unwrap());
        assert_eq!(cookie(a.as_fd()).unwrap(), cookie(a.try_clone().unwrap().as_fd()).unwrap());
    }
}
