//! What a former mesh left in containers: sockets that stand in the record, and listeners that the fd
//! store kept. A link takes over its own; all the rest is removed, for a socket that nobody serves and
//! whose listener is kept holds its consumers for ever.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;

use super::inject;
use super::ledger::{Ledger, Place};
use super::link::{self, Shared};
use crate::graph::{Graph, Link, Presence, ProcessId};
use crate::sys::fs::InodeId;

/// Sockets of a former mesh by the place where it put them. Only these very inodes are removed: what the
/// links of this mesh plant at the same places meanwhile is theirs.
#[derive(Debug)]
pub(super) struct Leftovers(Mutex<HashMap<Place, Vec<InodeId>>>);

impl Leftovers {
    /// All that stands in the record, which this mesh has not written to yet.
    pub(super) fn new(ledger: &Ledger) -> Self {
        Self(Mutex::new(ledger.all().into_iter().collect()))
    }

    /// Notes that a link has put its socket at a place, or found it there.
    pub(super) fn settle(&self, place: &Place) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(place);
    }

    /// Takes out what is at these places: the caller removes it.
    fn take(&self, which: impl Fn(&Place) -> bool) -> Vec<(Place, Vec<InodeId>)> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.extract_if(|place, _| which(place)).collect()
    }
}

/// Begins to remove what no link of the first graph will be served at: one task for each container, for one
/// whose file system does not answer must hold up nobody else. From the return on, no link can take over
/// what is not its own; and only sockets of the former mesh are removed, whatever links plant meanwhile.
pub(super) fn sweep(shared: &Arc<Shared>, graph: &Graph, tasks: &mut JoinSet<()>) {
    let served: Vec<_> =
        graph.links.values().filter(|link| link::cannot_serve(&shared.own, link).is_none()).collect();
    let names: HashSet<String> = served.iter().map(|link| link.key.id().to_string()).collect();
    shared.fdstore.drop_unwanted(names);
    let wanted: HashSet<_> = served
        .iter()
        .filter_map(|link| match link.consumer {
            Presence::Running(process) => Some((process.pid, &link.key.target)),
            Presence::Host | Presence::NotRunning => None,
        })
        .collect();
    let mut by_container: HashMap<(u32, u64), Vec<_>> = HashMap::new();
    for (place, inodes) in shared.leftovers.take(|place| !wanted.contains(&(place.pid, &place.target))) {
        by_container.entry((place.pid, place.start)).or_default().push((place, inodes));
    }
    for left in by_container.into_values() {
        let shared = Arc::clone(shared);
        tasks.spawn(async move {
            for (place, inodes) in left {
                remove(&shared, &place, &inodes).await;
            }
        });
    }
}

/// Removes what a former mesh left for a link that has no socket of this one, and will have none.
pub(super) async fn abandon(shared: &Shared, link: &Link) {
    let kept = shared.fdstore.discard(link.key.id());
    let consumer = match link.consumer {
        Presence::Running(process) => Some(process.pid),
        Presence::Host | Presence::NotRunning => None,
    };
    let mut left = shared.leftovers.take(|place| {
        kept.as_ref().is_some_and(|kept| kept.place == *place)
            || (Some(place.pid) == consumer && place.target == link.key.target)
    });
    // One that the record does not know: its last line was lost.
    if let Some(kept) = kept
        && !left.iter().any(|(place, inodes)| *place == kept.place && inodes.contains(&kept.inode))
    {
        left.push((kept.place, vec![kept.inode]));
    }
    for (place, inodes) in left {
        remove(shared, &place, &inodes).await;
    }
}

/// Removes sockets of a former mesh, and what the record says of them. What cannot be removed stays in
/// the record: a later mesh may.
async fn remove(shared: &Shared, place: &Place, inodes: &[InodeId]) {
    let process = ProcessId { pid: place.pid, start: Some(place.start) };
    let container = match shared.containers.get(Presence::Running(process)).await {
        Ok(Some(container)) if container.identity().mnt_ns == place.mnt_ns => Some(container),
        Ok(_) => None,
        Err(error) if link::is_gone(&error) => None,
        Err(error) => return complain(place, &error),
    };
    for inode in inodes {
        if let Some(container) = &container
            && let Err(error) = container.unplant(&place.target, inode).await
            && !link::is_gone(&error)
        {
            complain(place, &error);
            continue;
        }
        shared.ledger.forget_one(place, *inode);
    }
}

fn complain(place: &Place, error: &inject::Error) {
    tracing::warn!(pid = place.pid, target = %place.target, error = %super::chain(error),
        "cannot remove a socket that a former mesh left");
}
