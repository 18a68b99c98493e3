//! What acts on paths that containers control: sockets planted, found, and connected to as a role.

pub mod role;

use std::os::fd::OwnedFd;

use crate::sys::fs::InodeId;

/// The socket of a provider, as found below its root.
#[derive(Debug)]
pub struct ProviderSocket {
    /// `O_PATH` descriptor of the socket's inode.
    pub fd: OwnedFd,
    /// Which inode.
    pub inode: InodeId,
}
