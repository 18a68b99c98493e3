//! Sockets of a test: stream and seqpacket alike, descriptors in messages, and a timeout on all, so
//! that a fault fails a test instead of hanging it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::net::sockopt::{self, Timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, UCred,
};
use serde::{Deserialize, Serialize};

use crate::wait::{DEADLINE, OrFail, patient};

/// The most descriptors that one message can carry (`SCM_MAX_FD`, unix(7)).
pub const SCM_MAX_FD: usize = 253;

/// The type of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// `SOCK_STREAM`.
    Stream,
    /// `SOCK_SEQPACKET`.
    Seqpacket,
}

impl Kind {
    /// A new, unconnected socket.
    ///
    /// # Errors
    /// Those of socket(2).
    pub fn socket(self) -> io::Result<OwnedFd> {
        let kind = match self {
            Self::Stream => SocketType::STREAM,
            Self::Seqpacket => SocketType::SEQPACKET,
        };
        Ok(rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?)
    }
}

/// What a message brought.
#[derive(Debug)]
pub struct Message {
    /// The bytes; empty at the end of the stream.
    pub bytes: Vec<u8>,
    /// The descriptors that came with them.
    pub fds: Vec<OwnedFd>,
    /// Credentials, where `SO_PASSCRED` is on.
    pub credentials: Option<UCred>,
    /// Descriptors or bytes were cut off.
    pub truncated: bool,
}

/// A connected socket.
#[derive(Debug)]
pub struct Socket(OwnedFd);

impl From<OwnedFd> for Socket {
    #[track_caller]
    fn from(fd: OwnedFd) -> Self {
        let socket = Self(fd);
        socket.set_timeout(patient(DEADLINE));
        socket
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> Self {
        socket.0
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Socket {
    /// Connects on the host.
    ///
    /// # Errors
    /// Those of socket(2) and connect(2).
    #[track_caller]
    pub fn connect(kind: Kind, path: &Path) -> io::Result<Self> {
        let socket = kind.socket()?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(Self::from(socket))
    }

    /// A connected pair.
    #[track_caller]
    #[must_use]
    pub fn pair(kind: Kind) -> (Self, Self) {
        let kind = match kind {
            Kind::Stream => SocketType::STREAM,
            Kind::Seqpacket => SocketType::SEQPACKET,
        };
        let (a, b) = rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
            .or_fail("socketpair");
        (Self::from(a), Self::from(b))
    }

    /// How long a send or a receive may block.
    #[track_caller]
    pub fn set_timeout(&self, timeout: Duration) {
        for id in [Timeout::Recv, Timeout::Send] {
            sockopt::set_socket_timeout(&self.0, id, Some(timeout)).or_fail("socket timeout");
        }
    }

    /// A second descriptor of the same socket, for another thread.
    #[track_caller]
    #[must_use]
    pub fn dup(&self) -> Self {
        Self(self.0.try_clone().or_fail("dup"))
    }

    /// Sends once, as much as goes.
    ///
    /// # Errors
    /// Those of sendmsg(2); `EAGAIN` when blocked for longer than the timeout.
    pub fn try_send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SCM_MAX_FD))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::Error::from_raw_os_error(libc::E2BIG));
        }
        let sent = rustix::net::sendmsg(&self.0, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(sent)
    }

    /// Sends all bytes; the descriptors go with the first of them.
    #[track_caller]
    pub fn send_with(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
        let mut sent = self.try_send(bytes, fds).or_fail("send");
        while sent < bytes.len() {
            sent += self.try_send(&bytes[sent..], &[]).or_fail("send the rest");
        }
    }

    /// Sends all bytes.
    #[track_caller]
    pub fn send(&self, bytes: &[u8]) {
        self.send_with(bytes, &[]);
    }

    /// Receives once.
    ///
    /// # Errors
    /// Those of recvmsg(2); `EAGAIN` when nothing comes within the timeout.
    pub fn try_recv(&self, limit: usize) -> io::Result<Message> {
        let mut bytes = vec![0; limit];
        let mut space =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SCM_MAX_FD), ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::net::recvmsg(
            &self.0,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        let (mut fds, mut credentials) = (Vec::new(), None);
        for message in control.drain() {
            match message {
                RecvAncillaryMessage::ScmRights(rights) => fds.extend(rights),
                RecvAncillaryMessage::ScmCredentials(who) => credentials = Some(who),
                _ => {}
            }
        }
        bytes.truncate(received.bytes);
        let cut = rustix::net::ReturnFlags::CTRUNC | rustix::net::ReturnFlags::TRUNC;
        Ok(Message { bytes, fds, credentials, truncated: received.flags.intersects(cut) })
    }

    /// Receives once.
    #[track_caller]
    #[must_use]
    pub fn recv(&self, limit: usize) -> Message {
        self.try_recv(limit).or_fail("receive")
    }

    /// Receives exactly so many bytes of a stream, and what descriptors come with them.
    #[track_caller]
    #[must_use]
    pub fn recv_exact(&self, length: usize) -> Message {
        let mut all = Message { bytes: Vec::new(), fds: Vec::new(), credentials: None, truncated: false };
        while all.bytes.len() < length {
            let part = self.recv(length - all.bytes.len());
            assert!(!part.bytes.is_empty(), "end of stream after {} of {length} bytes", all.bytes.len());
            all.bytes.extend(part.bytes);
            all.fds.extend(part.fds);
            all.truncated |= part.truncated;
        }
        all
    }

    /// Receives to the end of the stream.
    #[track_caller]
    #[must_use]
    pub fn recv_to_end(&self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let part = self.recv(65536).bytes;
            if part.is_empty() {
                return all;
            }
            all.extend(part);
        }
    }

    /// True once the other side is gone: end of stream or a reset; bytes before it are dropped.
    /// False where the timeout passes first.
    #[must_use]
    pub fn ends(&self) -> bool {
        loop {
            match self.try_recv(65536) {
                Ok(part) if part.bytes.is_empty() => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
            }
        }
    }

    /// Sends `bytes` and expects them back.
    #[track_caller]
    pub fn echo(&self, bytes: &[u8]) {
        self.send(bytes);
        assert_eq!(self.recv_exact(bytes.len()).bytes, bytes, "the echo");
    }

    /// shutdown(2) of the sending side.
    #[track_caller]
    pub fn shutdown_write(&self) {
        rustix::net::shutdown(&self.0, rustix::net::Shutdown::Write).or_fail("shutdown");
    }

    /// Who is at the other end (`SO_PEERCRED`).
    #[track_caller]
    #[must_use]
    pub fn peer(&self) -> UCred {
        sockopt::socket_peercred(&self.0).or_fail("SO_PEERCRED")
    }
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl From<OwnedFd> for Listener {
    #[track_caller]
    fn from(fd: OwnedFd) -> Self {
        sockopt::set_socket_timeout(&fd, Timeout::Recv, Some(patient(DEADLINE))).or_fail("accept timeout");
        Self(fd)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Listener {
    /// Listens on the host.
    ///
    /// # Errors
    /// Those of bind(2).
    #[track_caller]
    pub fn bind(kind: Kind, path: &Path, backlog: i32) -> io::Result<Self> {
        let socket = kind.socket()?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        rustix::net::listen(&socket, backlog)?;
        Ok(Self::from(socket))
    }

    /// Takes the next connection.
    #[track_caller]
    #[must_use]
    pub fn accept(&self) -> Socket {
        self.try_accept().or_fail("accept")
    }

    /// Takes the next connection.
    ///
    /// # Errors
    /// Those of accept(2); `EAGAIN` when none comes within [`DEADLINE`] ([`patient`]).
    #[track_caller]
    pub fn try_accept(&self) -> io::Result<Socket> {
        let fd = rustix::net::accept_with(&self.0, SocketFlags::CLOEXEC)?;
        Ok(Socket::from(fd))
    }

    /// True where no connection waits at this moment.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let mut poll = [rustix::event::PollFd::new(&self.0, rustix::event::PollFlags::IN)];
        matches!(rustix::event::poll(&mut poll, Some(&rustix::event::Timespec::default())), Ok(0))
    }

    /// Ends it for everybody. Dropping it may leave it alive for a moment, and taking connections: what
    /// another test's thread forks meanwhile has a copy until execve(2).
    pub fn close(self) {
        let _ = rustix::net::shutdown(&self.0, rustix::net::Shutdown::Both);
    }

    /// Serves every connection in a thread of its own by sending back what comes, until the listener
    /// is shut down (which also removes it from the world).
    #[track_caller]
    #[must_use]
    pub fn echo(self) -> EchoServer {
        let other = self.0.try_clone().or_fail("dup");
        sockopt::set_socket_timeout(&self.0, Timeout::Recv, None).or_fail("no accept timeout");
        let thread = std::thread::spawn(move || {
            while let Ok(connection) = rustix::net::accept_with(&self.0, SocketFlags::CLOEXEC) {
                std::thread::spawn(move || echo(&Socket(connection)));
            }
        });
        EchoServer { listener: other, thread: Some(thread) }
    }
}

fn echo(connection: &Socket) {
    while let Ok(message) = connection.try_recv(65536) {
        let fds: Vec<_> = message.fds.iter().map(AsFd::as_fd).collect();
        let mut rest = message.bytes.as_slice();
        if rest.is_empty() {
            let _ = rustix::net::shutdown(connection, rustix::net::Shutdown::Write);
            return;
        }
        let mut fds = fds.as_slice();
        while !rest.is_empty() {
            let Ok(sent) = connection.try_send(rest, fds) else { return };
            rest = &rest[sent..];
            fds = &[];
        }
    }
}

/// A server that echoes; ends when dropped. Its connections go on until their clients close.
#[derive(Debug)]
pub struct EchoServer {
    listener: OwnedFd,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        // Wakes accept(2) with EINVAL (unix_shutdown in net/unix/af_unix.c).
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
