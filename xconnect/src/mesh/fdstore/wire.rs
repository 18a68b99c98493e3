//! The packets of the fd store: SOCK_SEQPACKET, one JSON object each, at most one descriptor
//! (docs/control-api.md).

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
    SocketType as RawType, sendmsg,
};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::graph::SocketType;
use crate::mesh::ledger::Place;
use crate::sys::fs::InodeId;
use crate::sys::register::register;
use crate::sys::{scm, socket};

/// Longest packet.
const PACKET: usize = 16 * 1024;
/// How long the engine may take for one packet: one that is stopped must not stop the mesh's listeners
/// from being kept by the next one.
const ANSWER: Duration = Duration::from_secs(5);

/// What is stored beside a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::mesh) struct Meta {
    /// Where it was put.
    pub(in crate::mesh) place: Place,
    /// As which inode.
    pub(in crate::mesh) inode: InodeId,
    /// What kind of socket it is.
    pub(in crate::mesh) socket_type: SocketType,
}

#[derive(Debug, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Request<'a> {
    Put { name: &'a str, meta: &'a Meta },
    Del { name: &'a str },
    List,
}

#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    meta: Option<serde_json::Value>,
    #[serde(default)]
    end: bool,
}

/// What the store keeps.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// Listeners by the names of their links.
    pub(super) entries: Vec<(String, Meta, OwnedFd)>,
    /// Names of what is of no use: another version's, or without its descriptor.
    pub(super) useless: Vec<String>,
}

/// A connection to the store. Of no more use after an error.
#[derive(Debug)]
pub(super) struct Connection(AsyncFd<OwnedFd>);

impl Connection {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, RawType::SEQPACKET, flags, None)?;
        socket::connect(&socket, path)?;
        Ok(Self(register(socket, Interest::READABLE | Interest::WRITABLE)?))
    }

    pub(super) async fn put(&self, name: &str, meta: &Meta, listener: &OwnedFd) -> io::Result<()> {
        self.send(&Request::Put { name, meta }, Some(listener)).await
    }

    pub(super) async fn del(&self, name: &str) -> io::Result<()> {
        self.send(&Request::Del { name }, None).await
    }

    pub(super) async fn list(&self) -> io::Result<Listed> {
        self.send(&Request::List, None).await?;
        let mut listed = Listed::default();
        loop {
            let (bytes, fd) = self.receive().await?;
            let answer: Answer = serde_json::from_slice(&bytes)?;
            if answer.end {
                return Ok(listed);
            }
            let (Some(name), Some(meta)) = (answer.name, answer.meta) else { continue };
            match (serde_json::from_value(meta), fd) {
                (Ok(meta), Some(fd)) => listed.entries.push((name, meta, fd)),
                _ => listed.useless.push(name),
            }
        }
    }

    /// Waits for the end of the engine: the store never speaks unasked.
    pub(super) async fn gone(&self) {
        // A look is needed: what was read before may have left the descriptor marked as readable.
        let look =
            |socket: &OwnedFd| rustix::net::recv(socket, &mut [0; 1], RecvFlags::PEEK).map_err(Into::into);
        // Whatever comes, an end, an error or a message, the connection is of no more use.
        let _: io::Result<_> = self.0.async_io(Interest::READABLE, look).await;
    }

    async fn send(&self, request: &Request<'_>, fd: Option<&OwnedFd>) -> io::Result<()> {
        let bytes = serde_json::to_vec(request)?;
        let send = self.0.async_io(Interest::WRITABLE, |socket| {
            let fds: Vec<_> = fd.iter().map(|fd| fd.as_fd()).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&fds)) {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
            Ok(())
        });
        in_time(send).await
    }

    pub(super) async fn receive(&self) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
        let mut bytes = vec![0; PACKET];
        let mut fds = Vec::new();
        let receive =
            self.0.async_io(Interest::READABLE, |socket| scm::receive(socket.as_fd(), &mut bytes, &mut fds));
        let received = in_time(receive).await?;
        if received.len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.truncate(received.len);
        Ok((bytes, fds.pop()))
    }

    /// The store's end, for tests.
    #[cfg(test)]
    pub(super) fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }

    /// The store's end, for tests.
    #[cfg(test)]
    pub(super) fn accepted(socket: OwnedFd) -> Self {
        Self(register(socket, Interest::READABLE | Interest::WRITABLE).unwrap())
    }
}

async fn in_time<T>(act: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(ANSWER, act).await.unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer for {} s", ANSWER.as_secs())))
    })
}
