//! The daemons' own sockets: what a container declares as its service must never lead to one of them.
//!
//! A container may have the control socket mounted, and name it as its service. The mesh would then connect
//! there as itself, with the role's ids, on behalf of whoever asked for that service. Links to the control
//! socket itself lead to a socket that the engine has for them: only there it asks whose a request is.

use std::io;
use std::path::{Path, PathBuf};

use super::config::{Config, GraphFrom};
use crate::graph::{CONTROL_LINKS, Link};
use crate::sys::fs::{InodeId, entry_at_path};

/// What a link may connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Sockets that are none of the daemons'.
    Services,
    /// The control socket for links, and nothing else.
    Control,
}

impl Reach {
    /// Where this link may go.
    #[must_use]
    pub fn of(link: &Link) -> Self {
        if link.is_to_control() { Self::Control } else { Self::Services }
    }
}

/// Why a socket is not connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Objection {
    /// It never will be, as long as it is this one.
    Never(String),
    /// It is not the one that is awaited: an engine that starts may be about to put that one in its place.
    NotYet(String),
}

/// Where the mesh's and the engine's own sockets are.
#[derive(Debug, Default)]
pub struct OwnSockets {
    paths: Vec<PathBuf>,
    /// The one for links to the control socket: beside the control socket that the graph comes from.
    links: Option<PathBuf>,
}

impl OwnSockets {
    pub(super) fn of(config: &Config) -> Self {
        let mut paths: Vec<_> =
            ["pv-ctrl", CONTROL_LINKS, "fdstore", "pv-xconnect"].map(|name| config.run_dir.join(name)).into();
        let control = match &config.graph {
            GraphFrom::ControlSocket { socket, .. } => Some(socket),
            GraphFrom::File(_) => None,
        };
        let links = control.map(|control| control.with_file_name(CONTROL_LINKS));
        let others = [Some(&config.status_socket), config.fdstore.as_ref(), control, links.as_ref()];
        for path in others.into_iter().flatten() {
            if !paths.contains(path) {
                paths.push(path.clone());
            }
        }
        Self { paths, links }
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

    /// What speaks against connecting to this inode.
    pub(super) fn objection(&self, inode: &InodeId, reach: Reach) -> Option<Objection> {
        match (reach, self.find(inode)) {
            (Reach::Services, None) => None,
            (Reach::Control, Some(own)) if self.links.as_deref() == Some(own) => None,
            (_, Some(own)) => {
                let own = own.display();
                let text = format!("the provider's socket is {own}, a socket of the daemons");
                Some(Objection::Never(text))
            }
            (Reach::Control, None) => {
                let links = self.links.as_deref().unwrap_or(Path::new(CONTROL_LINKS)).display();
                Some(Objection::NotYet(format!(
                    "the socket is not {links} of the engine that the graph comes from"
                )))
            }
        }
    }

    /// Refuses to connect to what a link must not reach.
    ///
    /// # Errors
    /// `PermissionDenied`, with the socket's name; `ConnectionRefused` where another one is awaited.
    pub fn refuse(&self, inode: &InodeId, reach: Reach) -> io::Result<()> {
        match self.objection(inode, reach) {
            None => Ok(()),
            Some(Objection::Never(why)) => Err(io::Error::new(io::ErrorKind::PermissionDenied, why)),
            Some(Objection::NotYet(why)) => Err(io::Error::new(io::ErrorKind::ConnectionRefused, why)),
        }
    }

    /// Why there can be no such link, where it is one to a control socket that has no socket for links:
    /// those of a file, and of another engine than ours.
    #[must_use]
    pub fn lacks(&self, link: &Link) -> Option<String> {
        if !link.is_to_control() {
            return None;
        }
        let why = match &self.links {
            Some(_) if link.socket.file_name() == CONTROL_LINKS => return None,
            Some(links) => format!("{} is not {}, which only pv-appengine has", link.socket, links.display()),
            None => "the graph comes from a file, and no engine is behind it".to_owned(),
        };
        Some(format!("no link to the control socket: {why}; bind-mount pv-ctrl into the container instead"))
    }
}

#[cfg(test)]
#[path = "own/tests.rs"]
mod tests;
