//! Acts on containers from outside: sockets planted below their roots, providers' sockets found there,
//! paths watched, connections made as a role.
//!
//! Rules that hold for everything here:
//! - A container is held by pidfd, `/proc/PID` and root descriptors, never by a bare number.
//! - Paths resolve as the container itself would resolve them and cannot leave its root. Only entries
//!   of the very name asked for are made or removed, and nothing that somebody else made is replaced.
//!   There is no unlink by inode in Linux: a container that races against us in its own directory can
//!   lose its own entry of that name, and nothing else.
//! - Namespaces are never entered. A container's file system may block for ever, so every access runs
//!   on that container's own few threads, with a deadline.

mod container;
mod error;
mod path;
mod pool;
pub mod role;
mod socket;
mod watch;

use std::os::fd::OwnedFd;

pub use container::{Container, ContainerIdentity};
pub use error::Error;
pub use socket::{Placed, Planted, Removed, SocketSpec};
pub use watch::{Watch, Watcher};

use super::limiter::Limiter;
use crate::graph::SocketType;
use crate::sys::fs::InodeId;

/// A provider's socket: a descriptor that names the inode, whatever the path comes to mean.
#[derive(Debug)]
pub struct ProviderSocket {
    /// `O_PATH`; to be connected to by [`role::connect`].
    pub fd: OwnedFd,
    /// Which inode, to tell a restarted provider's socket from the old one.
    pub inode: InodeId,
}

/// For what is logged here, of which a container that races against us can bring about any number.
static LIMITER: Limiter = Limiter::new();

/// The kernel's number of a socket's type.
fn kernel_type(socket_type: SocketType) -> rustix::net::SocketType {
    match socket_type {
        SocketType::Stream => rustix::net::SocketType::STREAM,
        SocketType::Seqpacket => rustix::net::SocketType::SEQPACKET,
    }
}

#[cfg(test)]
mod tests;
