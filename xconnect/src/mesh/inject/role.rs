//! Connecting as a role: the provider sees the role's user and group, and no supplementary groups.
//!
//! The kernel notes the credentials of the *thread* that connects (unix(7), `SO_PEERCRED`,
//! `SO_PEERGROUPS`). Only the effective ids are switched: with the real or the saved one switched too,
//! every process of the role's user could signal the mesh. Capabilities stay, so that a socket of mode
//! 0600 can be reached.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, socket_with};

use super::kernel_type;
use crate::graph::{Identity, SocketType};
use crate::sys::cred;

/// The shortest time-out that a socket knows; 0 would mean none.
const SHORTEST: Duration = Duration::from_micros(1);

/// Whether to wait where the provider's backlog is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocking {
    /// Do not wait: [`io::ErrorKind::WouldBlock`].
    No,
    /// Wait that long, then [`io::ErrorKind::TimedOut`]. Holds the thread.
    Timeout(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thread {
    Unprepared,
    /// With the ids that it has, where they are known.
    Prepared(Option<Identity>),
}

thread_local! {
    static THREAD: Cell<Thread> = const { Cell::new(Thread::Unprepared) };
}

/// Makes the calling thread fit for [`connect`]: takes its supplementary groups, and keeps its
/// capabilities when its ids change. Once per thread, which must be one of our own: threads that it
/// starts inherit the ids.
///
/// # Errors
/// `EPERM` without `CAP_SETGID` and `CAP_SETPCAP`.
pub fn prepare_thread() -> io::Result<()> {
    cred::keep_capabilities()?;
    cred::drop_groups()?;
    THREAD.set(Thread::Prepared(None));
    Ok(())
}

/// Connects to a provider's socket (an `O_PATH` descriptor) as `identity`. The result is non-blocking
/// and close-on-exec. The thread keeps the ids until another identity is asked for.
///
/// # Errors
/// `PermissionDenied` on a thread that is not prepared, `EPERM` without `CAP_SETUID` and `CAP_SETGID`;
/// `ECONNREFUSED` where nobody listens, `EPROTOTYPE` where the socket is of another type,
/// `WouldBlock` or `TimedOut` where the backlog is full; those of socket(2).
pub fn connect(
    socket: BorrowedFd<'_>,
    socket_type: SocketType,
    identity: Identity,
    blocking: Blocking,
) -> io::Result<OwnedFd> {
    assume(identity)?;
    let flags = match blocking {
        Blocking::No => SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Blocking::Timeout(_) => SocketFlags::CLOEXEC,
    };
    let connection = socket_with(AddressFamily::UNIX, kernel_type(socket_type), flags, None)?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}", socket.as_raw_fd()))?;
    match blocking {
        // A signal cannot interrupt what does not wait, but a retry costs nothing.
        Blocking::No => rustix::io::retry_on_intr(|| rustix::net::connect(&connection, &address))?,
        Blocking::Timeout(timeout) => {
            connect_within(&connection, &address, timeout)?;
            set_socket_timeout(&connection, Timeout::Send, None)?;
            rustix::io::ioctl_fionbio(&connection, true)?;
        }
    }
    Ok(connection)
}

fn connect_within(connection: &OwnedFd, address: &SocketAddrUnix, timeout: Duration) -> io::Result<()> {
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        set_socket_timeout(connection, Timeout::Send, Some(left.max(SHORTEST)))?;
        match rustix::net::connect(connection, address) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(e) => return Err(e.into()),
        }
    }
}

/// Switches the thread's ids unless it has them. Marked unknown meanwhile: a failure half-way is made
/// good by the next call.
fn assume(identity: Identity) -> io::Result<()> {
    match THREAD.get() {
        Thread::Unprepared => {
            let text = "this thread is not prepared to connect as a role";
            Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
        }
        Thread::Prepared(Some(current)) if current == identity => Ok(()),
        Thread::Prepared(_) => {
            THREAD.set(Thread::Prepared(None));
            cred::set_effective(identity.uid, identity.gid)?;
            THREAD.set(Thread::Prepared(Some(identity)));
            Ok(())
        }
    }
}
