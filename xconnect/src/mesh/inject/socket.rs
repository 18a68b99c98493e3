//! Sockets in a container: planted where its manifest asks for them, checked, removed; and found, where
//! a provider made them.

mod plant;
mod remove;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::OFlags;

pub use remove::Removed;

use super::error::Place;
use super::path::open_parent;
use super::{Container, Error, LIMITER, ProviderSocket};
use crate::graph::SocketType;
use crate::ids::InsidePath;
use crate::mesh::limiter::limited;
use crate::sys::fs::{self, FileKind, InodeId};
use plant::Order;

/// How a socket is to be planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketSpec {
    /// Stream or sequenced packets.
    pub socket_type: SocketType,
    /// Permission bits of the path.
    pub mode: u32,
    /// Owner in the container's numbers; `None`: the container's root.
    pub uid: Option<u32>,
    /// Group in the container's numbers; `None`: the container's root.
    pub gid: Option<u32>,
    /// Connections that wait to be accepted (`net.core.somaxconn` may be less).
    pub backlog: u32,
}

impl SocketSpec {
    /// Open to everybody in the container: the link's policy decides, not the file's mode.
    #[must_use]
    pub fn new(socket_type: SocketType) -> Self {
        Self { socket_type, mode: 0o666, uid: None, gid: None, backlog: 4096 }
    }
}

/// A socket that is in place.
#[derive(Debug)]
pub struct Planted {
    /// Listening, non-blocking, close-on-exec.
    pub listener: OwnedFd,
    /// What is at the path, to be remembered: with it the socket is checked, replaced and removed.
    pub inode: InodeId,
}

/// What is at a path where the mesh planted a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// That socket.
    Ours,
    /// Nothing.
    Missing,
    /// Something else.
    Other,
}

impl Container {
    /// Plants a listening socket at `target`, making its missing parents (mode 0755, owned by the
    /// container's root). Nobody sees it before it listens, where the file system can rename without
    /// replacing. `known`: the inodes at that path that the mesh put there and may replace.
    ///
    /// When the returned future is dropped, or times out, what is planted nevertheless is removed.
    ///
    /// # Errors
    /// [`Error::Occupied`] where something else is at `target`, which is left as it is;
    /// [`Error::DanglingLink`], [`Error::NotADirectory`], [`Error::LinkLoop`] for its parents,
    /// [`Error::Racing`] where the container keeps changing them; [`Error::UnmappedOwner`],
    /// [`Error::NameTooLong`], [`Error::Stuck`], [`Error::Exited`]; [`Error::Call`] for the rest.
    pub async fn plant(
        self: &Arc<Self>,
        target: &InsidePath,
        spec: &SocketSpec,
        known: &[InodeId],
    ) -> Result<Planted, Error> {
        let (uid, gid) = self.outside_ids(target, spec.uid, spec.gid)?;
        let order = Order { spec: *spec, uid, gid, known: known.to_vec() };
        let container = Arc::clone(self);
        let planted = self.run(target, move |place, root| {
            let made = plant::plant(place, root, &order)?;
            Ok(Unclaimed { container, made: Some(made), name: place.path.file_name().to_owned() })
        });
        Ok(planted.await?.claim())
    }

    /// Says whether the socket that the mesh planted is still what `target` leads to.
    ///
    /// # Errors
    /// [`Error::NotADirectory`], [`Error::LinkLoop`], [`Error::Racing`], [`Error::Stuck`],
    /// [`Error::Exited`]; [`Error::Call`] for the rest.
    pub async fn check(&self, target: &InsidePath, inode: &InodeId) -> Result<Placed, Error> {
        let inode = *inode;
        self.run(target, move |place, root| placed(place, root, &inode)).await
    }

    /// Removes the socket that the mesh planted, and nothing else.
    ///
    /// # Errors
    /// As [`Container::check`].
    pub async fn unplant(&self, target: &InsidePath, inode: &InodeId) -> Result<Removed, Error> {
        let inode = *inode;
        let removed = self.run(target, move |place, root| match open_parent(place, root) {
            Ok(parent) => {
                remove::remove(&parent, place.path.file_name(), &inode).map_err(place.call("remove"))
            }
            Err(Error::Missing { .. }) => Ok(Removed::Missing),
            Err(e) => Err(e),
        });
        removed.await
    }

    /// Finds a provider's socket. Symbolic links lead where they lead inside the container.
    ///
    /// # Errors
    /// [`Error::Missing`] where there is nothing, [`Error::NotASocket`] where there is something else,
    /// and those of [`Container::check`].
    pub async fn find_socket(&self, path: &InsidePath) -> Result<ProviderSocket, Error> {
        let found = self.run(path, |place, root| {
            let fd = fs::open_in_root(root, place.path.as_str(), OFlags::PATH)
                .map_err(|e| place.resolution("openat2", e))?;
            let entry = fs::entry_of(&fd).map_err(place.call("statx"))?;
            match entry.kind {
                FileKind::Socket => Ok(ProviderSocket { fd, inode: entry.inode }),
                what => Err(Error::NotASocket { pid: place.pid, path: place.path.clone(), what }),
            }
        });
        found.await
    }
}

fn placed(place: Place<'_>, root: &OwnedFd, inode: &InodeId) -> Result<Placed, Error> {
    let parent = match open_parent(place, root) {
        Err(Error::Missing { .. }) => return Ok(Placed::Missing),
        other => other?,
    };
    match fs::entry_at(&parent, place.path.file_name()).map_err(place.call("statx"))? {
        None => Ok(Placed::Missing),
        Some(entry) if entry.inode == *inode => Ok(Placed::Ours),
        Some(_) => Ok(Placed::Other),
    }
}

/// A socket that was planted, and that is removed again unless the caller takes it: the caller may
/// have given up waiting long before.
struct Unclaimed {
    container: Arc<Container>,
    made: Option<plant::Made>,
    name: String,
}

impl Unclaimed {
    fn claim(mut self) -> Planted {
        let made = self.made.take().unwrap_or_else(|| unreachable!("taken here and in drop only"));
        Planted { listener: made.listener, inode: made.inode }
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if let Some(made) = self.made.take() {
            let name = std::mem::take(&mut self.name);
            self.container.detach(move || {
                if let Err(error) = remove::remove(&made.parent, &name, &made.inode) {
                    limited!(warn, LIMITER, "late", name, %error, "cannot remove a socket that nobody waits for");
                }
            });
        }
    }
}
