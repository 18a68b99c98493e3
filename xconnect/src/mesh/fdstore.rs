//! The client of the engine's fd store: the engine holds duplicates of our listeners, so that consumers
//! that connect while no mesh lives wait in the backlog instead of being refused.
//!
//! SOCK_SEQPACKET, one JSON object a packet, at most one descriptor each (docs/control-api.md). All is
//! told again to a new engine: the store is empty after its death.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType as RawType, sendmsg,
};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use super::ledger::Place;
use crate::graph::SocketType;
use crate::ids::LinkId;
use crate::sys::fs::InodeId;
use crate::sys::register::register;
use crate::sys::scm;

/// What is stored beside a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    /// Where it was put.
    pub(super) place: Place,
    /// As which inode.
    pub(super) inode: InodeId,
    /// What kind of socket it is.
    pub(super) socket_type: SocketType,
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

/// Wait between two attempts to reach the engine's store.
const RETRY: Duration = Duration::from_secs(1);
/// How long the first listing may take before the mesh goes on without.
const LISTING: Duration = Duration::from_secs(2);
/// Longest packet.
const PACKET: usize = 16 * 1024;

enum Told {
    Put(LinkId),
    Del(String),
}

/// Listeners by link.
type Saved = HashMap<LinkId, (Meta, Arc<OwnedFd>)>;

/// The fd store, as the links see it: calls never wait.
#[derive(Debug)]
pub(super) struct FdStore {
    saved: Arc<Mutex<Saved>>,
    inherited: Mutex<HashMap<String, (Meta, OwnedFd)>>,
    tell: Option<mpsc::UnboundedSender<Told>>,
}

/// The task that talks to the engine.
pub(super) struct Keeper {
    path: PathBuf,
    saved: Arc<Mutex<Saved>>,
    told: mpsc::UnboundedReceiver<Told>,
    store: Option<AsyncFd<OwnedFd>>,
    obsolete: Vec<String>,
}

impl FdStore {
    /// A store that keeps nothing.
    pub(super) fn none() -> Self {
        Self { saved: Arc::default(), inherited: Mutex::default(), tell: None }
    }

    /// Connects to the store at `path` and takes over what a former mesh left there. Where the store
    /// cannot be reached, the returned keeper goes on trying.
    pub(super) async fn connect(path: &Path) -> (Self, Keeper) {
        let (tell, told) = mpsc::unbounded_channel();
        let saved = Arc::default();
        let mut keeper = Keeper {
            path: path.to_owned(),
            saved: Arc::clone(&saved),
            told,
            store: None,
            obsolete: Vec::new(),
        };
        let inherited = match tokio::time::timeout(LISTING, keeper.open()).await {
            Ok(Ok(inherited)) => inherited,
            Ok(Err(error)) => {
                tracing::debug!(%error, path = %path.display(), "no fd store: listeners do not survive a crash of the mesh");
                HashMap::new()
            }
            Err(_) => {
                keeper.store = None;
                tracing::warn!(path = %path.display(), "the fd store does not answer: going on without");
                HashMap::new()
            }
        };
        (Self { saved, inherited: Mutex::new(inherited), tell: Some(tell) }, keeper)
    }

    /// The listener that a former mesh left for a link. Given out once.
    pub(super) fn adopt(&self, id: LinkId) -> Option<(Meta, OwnedFd)> {
        self.inherited.lock().unwrap_or_else(PoisonError::into_inner).remove(&id.to_string())
    }

    /// Closes the listener that a former mesh left for a link, here and in the store; what was said of it.
    pub(super) fn discard(&self, id: LinkId) -> Option<Meta> {
        let (meta, _listener) = self.adopt(id)?;
        self.del(id);
        Some(meta)
    }

    /// Saves a link's listener, in place of any former one.
    pub(super) fn put(&self, id: LinkId, meta: Meta, listener: OwnedFd) {
        let Some(tell) = &self.tell else { return };
        self.saved.lock().unwrap_or_else(PoisonError::into_inner).insert(id, (meta, Arc::new(listener)));
        // An error means that the mesh is ending.
        let _ = tell.send(Told::Put(id));
    }

    /// Forgets a link's listener.
    pub(super) fn del(&self, id: LinkId) {
        let Some(tell) = &self.tell else { return };
        self.saved.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        let _ = tell.send(Told::Del(id.to_string()));
    }

    /// Closes what a former mesh left and no link of `wanted` takes over.
    pub(super) fn drop_unwanted(&self, wanted: impl Fn(&str) -> bool) {
        let mut inherited = self.inherited.lock().unwrap_or_else(PoisonError::into_inner);
        inherited.retain(|name, _| {
            let keep = wanted(name);
            if let (false, Some(tell)) = (keep, &self.tell) {
                let _ = tell.send(Told::Del(name.clone()));
            }
            keep
        });
    }
}

impl Keeper {
    /// Keeps the store up to date until the mesh ends.
    pub(super) async fn run(mut self) {
        loop {
            if self.store.is_none() && self.open().await.is_ok() {
                tracing::info!(path = %self.path.display(), "connected to the fd store");
            }
            let step = match &self.store {
                Some(store) => tokio::select! {
                    told = self.told.recv() => told.map(Some),
                    () = gone(store) => {
                        self.store = None;
                        Some(None)
                    }
                },
                None => tokio::select! {
                    told = self.told.recv() => told.map(Some),
                    () = tokio::time::sleep(RETRY) => Some(None),
                },
            };
            match step {
                None => return,
                Some(None) => {}
                Some(Some(told)) => self.tell(&told).await,
            }
        }
    }

    async fn tell(&mut self, told: &Told) {
        let Some(store) = &self.store else { return };
        let done = match told {
            Told::Put(id) => match self.saved(*id) {
                Some((meta, fd)) => put(store, &id.to_string(), &meta, &fd).await,
                None => Ok(()),
            },
            Told::Del(name) => send(store, &Request::Del { name }, None).await,
        };
        if let Err(error) = done {
            tracing::warn!(%error, "lost the fd store");
            self.store = None;
        }
    }

    fn saved(&self, id: LinkId) -> Option<(Meta, Arc<OwnedFd>)> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Connects, lists what is there, and puts all that the mesh has.
    async fn open(&mut self) -> io::Result<HashMap<String, (Meta, OwnedFd)>> {
        let store = connect(&self.path)?;
        send(&store, &Request::List, None).await?;
        let mut inherited = HashMap::new();
        loop {
            let (bytes, fd) = receive(&store).await?;
            let answer: Answer = serde_json::from_slice(&bytes)?;
            if answer.end {
                break;
            }
            let (Some(name), Some(meta)) = (answer.name, answer.meta) else { continue };
            match (serde_json::from_value::<Meta>(meta), fd) {
                (Ok(meta), Some(fd)) => {
                    inherited.insert(name, (meta, fd));
                }
                _ => self.obsolete.push(name),
            }
        }
        for name in std::mem::take(&mut self.obsolete) {
            send(&store, &Request::Del { name: &name }, None).await?;
        }
        let all: Vec<_> = {
            let saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
            saved.iter().map(|(id, (meta, fd))| (*id, meta.clone(), Arc::clone(fd))).collect()
        };
        for (id, meta, fd) in all {
            put(&store, &id.to_string(), &meta, &fd).await?;
        }
        self.store = Some(store);
        Ok(inherited)
    }
}

/// Waits for the end of the engine: the store never speaks unasked.
async fn gone(store: &AsyncFd<OwnedFd>) {
    // A look is needed: what was read before may have left the descriptor marked as readable.
    let look = |socket: &OwnedFd| rustix::net::recv(socket, &mut [0; 1], RecvFlags::PEEK).map_err(Into::into);
    // Whatever comes, an end, an error or a message, the connection is of no more use.
    let _: io::Result<_> = store.async_io(Interest::READABLE, look).await;
}

fn connect(path: &Path) -> io::Result<AsyncFd<OwnedFd>> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        RawType::SEQPACKET,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    register(socket, Interest::READABLE | Interest::WRITABLE)
}

async fn put(store: &AsyncFd<OwnedFd>, name: &str, meta: &Meta, fd: &OwnedFd) -> io::Result<()> {
    send(store, &Request::Put { name, meta }, Some(fd)).await
}

async fn send(store: &AsyncFd<OwnedFd>, request: &Request<'_>, fd: Option<&OwnedFd>) -> io::Result<()> {
    let bytes = serde_json::to_vec(request)?;
    store
        .async_io(Interest::WRITABLE, |socket| {
            let fds: Vec<_> = fd.iter().map(|fd| fd.as_fd()).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&fds)) {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
            Ok(())
        })
        .await
}

async fn receive(store: &AsyncFd<OwnedFd>) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut bytes = vec![0; PACKET];
    let mut fds = Vec::new();
    let received = store
        .async_io(Interest::READABLE, |socket| scm::receive(socket.as_fd(), &mut bytes, &mut fds))
        .await?;
    if received.len == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    bytes.truncate(received.len);
    Ok((bytes, fds.pop()))
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;
    use crate::api::server::Bound;
    use crate::graph::SocketType;
    use crate::ids::{ContainerName, InsidePath, LinkKey, ServiceName};
    use crate::sys::socket::accept;

    async fn request(store: &AsyncFd<OwnedFd>) -> serde_json::Value {
        let (bytes, _fd) = receive(store).await.unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[tokio::test]
    async fn one_connection_to_the_store_serves_as_long_as_the_engine_lives() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fdstore");
        let bound = Bound::new(&path, RawType::SEQPACKET, 0o600).unwrap();
        let listener = register(bound.listener().try_clone().unwrap(), Interest::READABLE).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn({
            let path = path.clone();
            async move {
                let (store, keeper) = FdStore::connect(&path).await;
                let key = LinkKey {
                    consumer: ContainerName::new("web").unwrap(),
                    service: ServiceName::new("a").unwrap(),
                    target: InsidePath::new("/a").unwrap(),
                };
                let place = Place { pid: 1, start: 2, mnt_ns: 3, target: key.target.clone() };
                let inode = InodeId { dev_major: 0, dev_minor: 1, ino: 2, btime_ns: 3 };
                let meta = Meta { place, inode, socket_type: SocketType::Stream };
                // Put only when the keeper has had its turns.
                let late = async {
                    for _ in 0..100 {
                        tokio::task::yield_now().await;
                    }
                    store.put(key.id(), meta, std::fs::File::open("/dev/null").unwrap().into());
                    std::future::pending::<()>().await;
                };
                tokio::join!(keeper.run(), late);
            }
        });
        let first = listener.async_io(Interest::READABLE, |listener| accept(listener)).await.unwrap();
        let first = register(first, Interest::READABLE | Interest::WRITABLE).unwrap();
        assert_eq!(request(&first).await["op"], "list");
        let end = |socket: &OwnedFd| scm::send(socket.as_fd(), br#"{"end":true}"#, &[], None);
        first.async_io(Interest::WRITABLE, end).await.unwrap();
        assert_eq!(request(&first).await["op"], "put");
        assert!(accept(bound.listener()).is_err(), "nobody connects a second time");
    }
}
