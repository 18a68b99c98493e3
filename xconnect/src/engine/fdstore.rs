//! The fd store: duplicates of the mesh's listening sockets, kept for its successor, so that a crash of
//! the mesh refuses no connect (docs/decisions/0004-fd-store.md).
//!
//! SOCK_SEQPACKET, one JSON object a packet, at most one descriptor each. `{"op":"put","name":…,"meta":…}`
//! with a descriptor, `{"op":"del","name":…}`, and `{"op":"list"}`, which is answered by a packet
//! `{"name":…,"meta":…}` with its descriptor for each entry and `{"end":true}`. Nothing else is
//! answered. The sockets are only held: nothing here accepts or reads.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::SocketType;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinSet;

use crate::api::server::{BindError, Bound, Peer};
use crate::sys::register::register;
use crate::sys::{scm, socket};

/// Root only: who can list has every listener.
const MODE: u32 = 0o600;
/// Longest packet, bytes.
const PACKET: usize = 16 * 1024;
/// Most listeners that are kept.
const MAX_ENTRIES: usize = 32 * 1024;
/// Most connections: the mesh's one, its successor's, and an operator's look.
const MAX_CONNECTIONS: usize = 8;
/// Wait after an error that does not go away by itself (EMFILE).
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Request {
    Put { name: String, meta: Value },
    Del { name: String },
    List,
}

#[derive(Debug)]
struct Entry {
    meta: Value,
    fd: Arc<OwnedFd>,
}

/// What is kept, by link.
#[derive(Debug, Clone, Default)]
struct Kept(Arc<Mutex<BTreeMap<String, Entry>>>);

impl Kept {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, name: String, meta: Value, fd: OwnedFd) {
        let mut entries = self.lock();
        if entries.len() >= MAX_ENTRIES && !entries.contains_key(&name) {
            tracing::warn!(
                limit = MAX_ENTRIES,
                "the fd store is full: a listener does not survive a crash of the mesh"
            );
            return;
        }
        entries.insert(name, Entry { meta, fd: Arc::new(fd) });
    }
}

/// The bound store.
#[derive(Debug)]
pub(super) struct FdStore {
    bound: Bound,
    kept: Kept,
}

impl FdStore {
    /// Binds the store's socket; what a dead engine left there is replaced.
    pub(super) fn bind(path: &Path) -> Result<Self, BindError> {
        Ok(Self { bound: Bound::new(path, SocketType::SEQPACKET, MODE)?, kept: Kept::default() })
    }

    /// Serves callers that `admit` lets in, until it is dropped.
    pub(super) async fn run(self, admit: impl Fn(&Peer) -> bool) -> io::Result<()> {
        let listener = register(self.bound.listener().try_clone()?, Interest::READABLE)?;
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            match listener.async_io(Interest::READABLE, |listener| socket::accept(listener)).await {
                Ok(stream) => {
                    if connections.len() < MAX_CONNECTIONS
                        && let Some(stream) = admitted(stream, &admit)
                    {
                        connections.spawn(connection(stream, self.kept.clone()));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the fd store cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// The connection, if its peer may have all listeners.
fn admitted(stream: OwnedFd, admit: impl Fn(&Peer) -> bool) -> Option<AsyncFd<OwnedFd>> {
    let peer = Peer::of(&stream).ok()?;
    if !admit(&peer) {
        tracing::warn!(pid = peer.pid(), uid = peer.uid(), "refused a caller of the fd store");
        return None;
    }
    register(stream, Interest::READABLE | Interest::WRITABLE)
        .inspect_err(|error| tracing::warn!(%error, "the fd store cannot take a connection"))
        .ok()
}

async fn connection(stream: AsyncFd<OwnedFd>, kept: Kept) {
    if let Err(error) = serve(&stream, &kept).await {
        tracing::warn!(%error, "the fd store ended a connection");
    }
}

async fn serve(stream: &AsyncFd<OwnedFd>, kept: &Kept) -> io::Result<()> {
    let mut packet = vec![0; PACKET];
    let mut fds = Vec::new();
    loop {
        fds.clear();
        let received = stream
            .async_io(Interest::READABLE, |socket| scm::receive(socket.as_fd(), &mut packet, &mut fds))
            .await?;
        if received.len == 0 {
            return Ok(());
        }
        let request: Request = serde_json::from_slice(&packet[..received.len])?;
        match (request, fds.pop()) {
            (Request::Put { name, meta }, Some(fd)) if !received.control_lost => kept.put(name, meta, fd),
            // No room for the descriptor in this process, which nothing here can mend.
            (Request::Put { name, .. }, _) => {
                kept.lock().remove(&name);
                tracing::warn!(
                    link = name,
                    "no descriptor arrived: this listener does not survive a crash of the mesh"
                );
            }
            (Request::Del { name }, _) => drop(kept.lock().remove(&name)),
            (Request::List, _) => list(stream, kept).await?,
        }
    }
}

async fn list(stream: &AsyncFd<OwnedFd>, kept: &Kept) -> io::Result<()> {
    let entries: Vec<_> = {
        let entries = kept.lock();
        entries
            .iter()
            .map(|(name, it)| (json!({"name": name, "meta": it.meta}), Arc::clone(&it.fd)))
            .collect()
    };
    for (answer, fd) in entries {
        // The duplicate lives for the call only.
        send(stream, &answer, &[fd.try_clone()?]).await?;
    }
    send(stream, &json!({"end": true}), &[]).await
}

async fn send(stream: &AsyncFd<OwnedFd>, answer: &Value, fds: &[OwnedFd]) -> io::Result<()> {
    let bytes = serde_json::to_vec(answer)?;
    stream.async_io(Interest::WRITABLE, |socket| scm::send(socket.as_fd(), &bytes, fds, None)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;
    use std::path::PathBuf;

    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags};

    use super::*;

    fn connect(path: &PathBuf) -> AsyncFd<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        rustix::net::connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
        register(socket, Interest::READABLE | Interest::WRITABLE).unwrap()
    }

    fn inode(fd: &OwnedFd) -> u64 {
        std::fs::File::from(fd.try_clone().unwrap()).metadata().unwrap().ino()
    }

    /// All entries by name: their meta data and inode.
    async fn all(store: &AsyncFd<OwnedFd>) -> BTreeMap<String, (Value, u64)> {
        send(store, &json!({"op": "list"}), &[]).await.unwrap();
        let mut found = BTreeMap::new();
        loop {
            let (mut bytes, mut fds) = (vec![0; PACKET], Vec::new());
            let receive = |socket: &OwnedFd| scm::receive(socket.as_fd(), &mut bytes, &mut fds);
            let received = store.async_io(Interest::READABLE, receive).await.unwrap();
            let answer: Value = serde_json::from_slice(&bytes[..received.len]).unwrap();
            if answer["end"] == true {
                return found;
            }
            let name = answer["name"].as_str().unwrap().to_owned();
            found.insert(name, (answer["meta"].clone(), inode(&fds[0])));
        }
    }

    #[tokio::test]
    async fn what_one_mesh_puts_the_next_one_finds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fdstore");
        let store = FdStore::bind(&path).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(store.run(|_| true));
        let first = connect(&path);
        assert!(all(&first).await.is_empty());
        let (one, two) = std::os::unix::net::UnixStream::pair().unwrap();
        let (one, two): (OwnedFd, OwnedFd) = (one.into(), two.into());
        let (a, b) = (inode(&one), inode(&two));
        send(&first, &json!({"op": "put", "name": "a", "meta": {"x": 1}}), &[one]).await.unwrap();
        send(&first, &json!({"op": "put", "name": "b", "meta": 7}), &[two]).await.unwrap();
        assert_eq!(all(&first).await.len(), 2);
        drop(first);

        let next = connect(&path);
        let found = all(&next).await;
        assert_eq!(found["a"], (json!({"x": 1}), a));
        assert_eq!(found["b"], (json!(7), b));
        send(&next, &json!({"op": "del", "name": "a"}), &[]).await.unwrap();
        // Without its descriptor a new entry is worth nothing, and the old one is outdated.
        send(&next, &json!({"op": "put", "name": "b", "meta": 8}), &[]).await.unwrap();
        assert!(all(&next).await.is_empty());
    }

    #[tokio::test]
    async fn strangers_get_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fdstore");
        let mut tasks = JoinSet::new();
        tasks.spawn(FdStore::bind(&path).unwrap().run(|peer| peer.pid() != Some(std::process::id())));
        let stranger = connect(&path);
        let (mut bytes, mut fds) = (vec![0; 16], Vec::new());
        let receive = |socket: &OwnedFd| scm::receive(socket.as_fd(), &mut bytes, &mut fds);
        assert_eq!(stranger.async_io(Interest::READABLE, receive).await.unwrap().len, 0);
    }

    #[tokio::test]
    async fn nonsense_ends_its_connection_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fdstore");
        let mut tasks = JoinSet::new();
        tasks.spawn(FdStore::bind(&path).unwrap().run(|_| true));
        let (bad, good) = (connect(&path), connect(&path));
        send(&bad, &json!({"op": "burn"}), &[]).await.unwrap();
        let (mut bytes, mut fds) = (vec![0; 16], Vec::new());
        let receive = |socket: &OwnedFd| scm::receive(socket.as_fd(), &mut bytes, &mut fds);
        assert_eq!(bad.async_io(Interest::READABLE, receive).await.unwrap().len, 0);
        assert!(all(&good).await.is_empty());
    }
}
