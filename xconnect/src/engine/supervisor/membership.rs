//! Which container a process is in: by its mount namespace, else by its ancestors.

use super::{Supervisor, lock};
use crate::engine::container::mount_namespace;
use crate::ids::ContainerName;
use crate::sys::process;

/// Where a container lives.
struct Home<'a> {
    name: &'a ContainerName,
    /// Its first process and its shim, the ancestor of all its processes: while a container is being
    /// made, only the shim is known.
    pids: [Option<u32>; 2],
    mount_namespace: Option<u64>,
}

/// Longest chain of ancestors looked at.
const DEPTH: usize = 256;

impl Supervisor {
    /// The container that a process of this host is in.
    #[must_use]
    pub fn container_of(&self, pid: u32) -> Option<ContainerName> {
        let entries = lock(&self.shared.entries);
        let homes = entries.all.iter().map(|(name, entry)| {
            let view = entry.handle.view();
            let pids = [view.process.map(|process| process.pid), view.shim];
            Home { name, pids, mount_namespace: view.mount_namespace }
        });
        find(pid, &homes.collect::<Vec<_>>()).cloned()
    }
}

/// The container of `pid`. The mount namespace tells for everything that joined the container, by
/// whatever way; the ancestors tell for what made itself another namespace inside.
fn find<'a>(pid: u32, homes: &[Home<'a>]) -> Option<&'a ContainerName> {
    let host = mount_namespace(std::process::id());
    let mut at = pid;
    for _ in 0..DEPTH {
        if let Some(home) = homes.iter().find(|home| home.pids.contains(&Some(at))) {
            return Some(home.name);
        }
        let namespace = mount_namespace(at).filter(|namespace| Some(*namespace) != host);
        if let Some(home) = homes.iter().find(|home| namespace.is_some() && home.mount_namespace == namespace)
        {
            return Some(home.name);
        }
        at = process::parent(at).ok().filter(|parent| *parent > 1)?;
    }
    None
}
