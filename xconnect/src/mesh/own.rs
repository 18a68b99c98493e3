//! The daemons' own sockets: what a container declares as its service must never lead to one of them.
//!
//! A container may have the control socket mounted, and name it as its service. The mesh would then connect
//! there as itself, with the role's ids, on behalf of whoever asked for that service.

use std::io;
use std::path::{Path, PathBuf};

use super::config::{Config, GraphFrom};
use crate::sys::fs::{InodeId, entry_at_path};

/// Where the mesh's and the engine's own sockets are.
#[derive(Debug, Default)]
pub struct OwnSockets {
    paths: Vec<PathBuf>,
}

impl OwnSockets {
    pub(super) fn of(config: &Config) -> Self {
        let mut paths: Vec<_> =
            ["pv-ctrl", "fdstore", "pv-xconnect"].map(|name| config.run_dir.join(name)).into();
        let control = match &config.graph {
            GraphFrom::ControlSocket { socket, .. } => Some(socket),
            GraphFrom::File(_) => None,
        };
        for path in [Some(&config.status_socket), config.fdstore.as_ref(), control].into_iter().flatten() {
            if !paths.contains(path) {
                paths.push(path.clone());
            }
        }
        Self { paths }
    }

    /// Which of them this inode is, if any. Looked up each time: they are bound anew whenever a daemon
    /// starts.
    #[must_use]
    pub fn find(&self, inode: &InodeId) -> Option<&Path> {
        // Without the time of birth: it is the inode that is connected to, and it exists.
        let same = |own: &InodeId| {
            (own.dev_major, own.dev_minor, own.ino) == (inode.dev_major, inode.dev_minor, inode.ino)
        };
        let is_it = |path: &&PathBuf| entry_at_path(path).is_ok_and(|entry| same(&entry.inode));
        self.paths.iter().find(is_it).map(PathBuf::as_path)
    }

    /// Refuses to connect to one of them.
    ///
    /// # Errors
    /// `PermissionDenied`, with the socket's name.
    pub fn refuse(&self, inode: &InodeId) -> io::Result<()> {
        match self.find(inode) {
            None => Ok(()),
            Some(path) => Err(io::Error::new(io::ErrorKind::PermissionDenied, refusal(path))),
        }
    }
}

/// Why a provider's socket is not connected to.
pub(super) fn refusal(own: &Path) -> String {
    format!("the provider's socket is {}, a socket of the daemons", own.display())
}
