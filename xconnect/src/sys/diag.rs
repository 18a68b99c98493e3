//! Who is at the other end of a Unix socket, as the kernel tells it: sock_diag(7).
//!
//! A peer in another process has no descriptor here, so that only a look-up gives its cookie
//! (`SO_COOKIE`). Look-ups are within one network namespace, the one that the netlink socket was made in.

mod wire;

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::io::retry_on_intr;
use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use self::wire::{Answer, Socket};
use super::sockctl;

/// Longer than any answer: the header, the socket and one attribute.
const ANSWER: usize = 1024;
/// Answers to former requests that are skipped before something must be wrong.
const STALE: usize = 16;
/// Stack of the thread that makes a socket in another namespace; it does nothing else.
const STACK: usize = 64 * 1024;

/// A netlink socket in one network namespace. It keeps that namespace: drop it with its container.
#[derive(Debug)]
pub struct DiagSocket {
    netlink: OwnedFd,
    /// Number of the last request. Held from a request to its answer.
    sequence: Mutex<u32>,
}

impl DiagSocket {
    /// In our own network namespace.
    ///
    /// # Errors
    /// `EPROTONOSUPPORT` where the kernel has no sock_diag; those of socket(2).
    pub fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let netlink =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(SOCK_DIAG))?;
        // Connected to the kernel, it gets messages from nobody else (`netlink_getsockbyportid`).
        rustix::net::connect(&netlink, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self { netlink, sequence: Mutex::new(0) })
    }

    /// In another network namespace, by a descriptor of it. Made on a thread of its own: setns(2) is for one
    /// thread, and no other one may find itself there.
    ///
    /// # Errors
    /// `EPERM` without `CAP_SYS_ADMIN` over it; those of [`open`](Self::open).
    pub fn open_in(namespace: BorrowedFd<'_>) -> io::Result<Self> {
        std::thread::scope(|scope| {
            let open = || {
                move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?;
                Self::open()
            };
            let builder = std::thread::Builder::new().name("netns".to_owned()).stack_size(STACK);
            builder.spawn_scoped(scope, open)?.join().unwrap_or_else(|_| Err(ErrorKind::Other.into()))
        })
    }

    /// The cookie of a socket's peer; `None` where it has none any more, or one of another namespace.
    ///
    /// # Errors
    /// `NotFound` where the socket itself is in another namespace than this one, or the kernel has no
    /// `UNIX_DIAG`; `EPERM` and the like under a seccomp filter; `InvalidData` for odd answers.
    pub fn peer_cookie(&self, socket: BorrowedFd<'_>) -> io::Result<Option<u64>> {
        let inode = rustix::fs::fstat(socket)?.st_ino;
        let inode = u32::try_from(inode).map_err(|_| ErrorKind::InvalidData)?;
        let own = self.look_up(inode)?.ok_or(ErrorKind::NotFound)?;
        // Numbers of inodes are given again one day: the cookie says whether it is this socket.
        if own.cookie != super::socket::cookie(socket)? {
            return Err(ErrorKind::NotFound.into());
        }
        let Some(peer) = own.peer else { return Ok(None) };
        let peer = self.look_up(peer)?.filter(|peer| peer.peer == Some(inode));
        Ok(peer.map(|peer| peer.cookie))
    }

    fn look_up(&self, inode: u32) -> io::Result<Option<Socket>> {
        let mut last = self.sequence.lock().unwrap_or_else(PoisonError::into_inner);
        *last = last.wrapping_add(1);
        let sequence = *last;
        let request = wire::request(sequence, inode);
        retry_on_intr(|| rustix::net::send(&self.netlink, &request, SendFlags::empty()))?;
        // The kernel answers within the call (`netlink_unicast_kernel`), so that nothing has to be waited for.
        for _ in 0..STALE {
            let mut bytes = [0; ANSWER];
            let received =
                retry_on_intr(|| rustix::net::recv(&self.netlink, &mut bytes[..], RecvFlags::TRUNC));
            let (_, len) = match received {
                // An answer to a former request was lost for want of memory; ours comes after it.
                Err(rustix::io::Errno::NOBUFS) => continue,
                received => received?,
            };
            let Some(bytes) = bytes.get(..len) else { continue };
            match wire::parse(bytes, sequence)? {
                Answer::Found(socket) if socket.inode == inode => return Ok(Some(socket)),
                Answer::Found(_) => return Err(ErrorKind::InvalidData.into()),
                Answer::Failed(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Answer::Failed(error) => return Err(error),
                Answer::Stale => {}
            }
        }
        Err(ErrorKind::InvalidData.into())
    }
}

/// Device and inode of a namespace.
type Namespace = (u64, u64);

/// The netlink sockets in use, one for each network namespace however many containers share it.
#[derive(Debug, Default)]
pub struct DiagSockets(Mutex<HashMap<Namespace, Weak<DiagSocket>>>);

impl DiagSockets {
    /// The one for a Unix socket's namespace. An accepted socket is in the namespace of the one that
    /// connected (`unix_stream_connect`), so that no process has to be asked, whose number another one may have.
    /// To be kept while there may be more sockets of that namespace, and no longer.
    ///
    /// # Errors
    /// Those of [`sockctl::network_namespace`] and [`DiagSocket::open_in`].
    pub fn of(&self, socket: BorrowedFd<'_>) -> io::Result<Arc<DiagSocket>> {
        let namespace = sockctl::network_namespace(socket)?;
        let stat = rustix::fs::fstat(&namespace)?;
        let key = (stat.st_dev, stat.st_ino);
        let mut sockets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // While somebody holds the netlink socket the namespace lives, and so nobody else has its inode.
        if let Some(socket) = sockets.get(&key).and_then(Weak::upgrade) {
            return Ok(socket);
        }
        sockets.retain(|_, socket| socket.strong_count() > 0);
        let socket = Arc::new(DiagSocket::open_in(namespace.as_fd())?);
        sockets.insert(key, Arc::downgrade(&socket));
        Ok(socket)
    }
}

#[cfg(test)]
mod tests;
