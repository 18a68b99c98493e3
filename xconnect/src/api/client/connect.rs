//! Connecting to a Unix stream socket by a path of any length, with a bound.

use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::UnixStream;

/// Connects to `path` within `limit`.
///
/// A full backlog is waited for: a non-blocking connect(2) would give EAGAIN there, so it is made
/// blocking, with `SO_SNDTIMEO` as its bound, on a thread of its own.
///
/// # Errors
/// What connect(2) says; `TimedOut` after `limit`.
pub async fn connect(path: &Path, limit: Duration) -> io::Result<UnixStream> {
    let path = path.to_owned();
    let stream = tokio::task::spawn_blocking(move || connect_blocking(&path, limit))
        .await
        .map_err(io::Error::other)??;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

fn connect_blocking(path: &Path, limit: Duration) -> io::Result<StdStream> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Zero would mean without a bound.
    set_socket_timeout(&socket, Timeout::Send, Some(limit.max(Duration::from_millis(1))))?;
    let result = match SocketAddrUnix::new(path) {
        Err(Errno::NAMETOOLONG) => connect_long(&socket, path),
        address => connect_to(&socket, &address?),
    };
    match result {
        Err(Errno::AGAIN) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("its backlog stayed full for {} s", limit.as_secs_f32()),
        )),
        result => {
            result?;
            Ok(StdStream::from(socket))
        }
    }
}

/// `sun_path` holds 107 bytes (unix(7)): a longer path is reached through a descriptor of its directory.
fn connect_long(socket: &rustix::fd::OwnedFd, path: &Path) -> Result<(), Errno> {
    use std::os::fd::AsRawFd as _;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::NAMETOOLONG);
    };
    let dir =
        rustix::fs::openat(CWD, parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let short = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name);
    connect_to(socket, &SocketAddrUnix::new(&short)?)
}

fn connect_to(socket: &rustix::fd::OwnedFd, address: &SocketAddrUnix) -> Result<(), Errno> {
    loop {
        match rustix::net::connect(socket, address) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}
