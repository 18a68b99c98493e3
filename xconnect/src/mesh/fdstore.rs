//! The client of the engine's fd store: the engine holds duplicates of our listeners, so that consumers
//! that connect while no mesh lives wait in the backlog instead of being refused.
//!
//! What is here is what the links see, and never waits; `keeper` is the task that makes the store say the
//! same, `wire` its packets.

mod keeper;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use self::keeper::Told;
use crate::ids::LinkId;

pub(super) use self::keeper::Keeper;
pub(super) use self::wire::Meta;

/// How long the links wait for the first list: what comes later is still taken over by those that have
/// not planted a socket of their own by then.
const LISTING: Duration = Duration::from_secs(2);

/// Listeners, as this mesh knows them.
#[derive(Debug, Default)]
struct State {
    /// Those of the links.
    saved: HashMap<LinkId, (Meta, Arc<OwnedFd>)>,
    /// Those that a former mesh left, by the names of their links.
    inherited: HashMap<String, (Meta, OwnedFd)>,
    /// Links that may take over one that is not listed yet; all of them while there is no graph.
    heirs: Option<HashSet<String>>,
}

impl State {
    fn may_inherit(&self, name: &str) -> bool {
        self.heirs.as_ref().is_none_or(|heirs| heirs.contains(name))
    }

    fn forget(&mut self, name: &str) -> Option<(Meta, OwnedFd)> {
        if let Some(heirs) = &mut self.heirs {
            heirs.remove(name);
        }
        self.inherited.remove(name)
    }
}

/// The state, shared with the keeper.
#[derive(Debug, Clone, Default)]
struct Held(Arc<Mutex<State>>);

impl Held {
    /// Every change is a single step, so that a panic elsewhere leaves the state whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The fd store, as the links see it: calls never wait.
#[derive(Debug)]
pub(super) struct FdStore {
    held: Held,
    /// Without it nothing is kept.
    tell: Option<mpsc::UnboundedSender<Told>>,
}

impl FdStore {
    /// A store that keeps nothing.
    pub(super) fn none() -> Self {
        Self { held: Held::default(), tell: None }
    }

    /// The store at `path`, and the task that talks to it.
    pub(super) fn at(path: &Path) -> (Self, Keeper, FirstList) {
        let (tell, told) = mpsc::unbounded_channel();
        let (listed, first) = watch::channel(false);
        let held = Held::default();
        let keeper = Keeper::new(path.to_owned(), held.clone(), told, listed);
        (Self { held, tell: Some(tell) }, keeper, FirstList(first))
    }

    /// The listener that a former mesh left for a link. Given out once.
    pub(super) fn adopt(&self, id: LinkId) -> Option<(Meta, OwnedFd)> {
        self.held.lock().inherited.remove(&id.to_string())
    }

    /// Takes back what [`FdStore::adopt`] gave out and could not be used yet.
    pub(super) fn give_back(&self, id: LinkId, meta: Meta, listener: OwnedFd) {
        self.held.lock().inherited.insert(id.to_string(), (meta, listener));
    }

    /// Closes the listener that a former mesh left for a link, here and in the store; what was said of it.
    pub(super) fn discard(&self, id: LinkId) -> Option<Meta> {
        let inherited = self.held.lock().forget(&id.to_string());
        // Also where none is known: its list may still be on its way.
        self.tell(Told::Del(id.to_string()));
        inherited.map(|(meta, _listener)| meta)
    }

    /// Saves a link's listener, in place of any former one.
    pub(super) fn put(&self, id: LinkId, meta: Meta, listener: OwnedFd) {
        if self.tell.is_none() {
            return;
        }
        {
            let mut state = self.held.lock();
            state.saved.insert(id, (meta, Arc::new(listener)));
            state.inherited.remove(&id.to_string());
        }
        self.tell(Told::Put(id));
    }

    /// Forgets a link's listener.
    pub(super) fn del(&self, id: LinkId) {
        let listener = self.held.lock().saved.remove(&id);
        drop(listener);
        self.discard(id);
    }

    /// Closes what a former mesh left, and will have left when that is listed, for other links than these.
    pub(super) fn drop_unwanted(&self, heirs: HashSet<String>) {
        let unwanted: Vec<_> = {
            let mut state = self.held.lock();
            let unwanted = state.inherited.extract_if(|name, _| !heirs.contains(name)).collect();
            state.heirs = Some(heirs);
            unwanted
        };
        for (name, _listener) in unwanted {
            self.tell(Told::Del(name));
        }
    }

    fn tell(&self, told: Told) {
        if let Some(tell) = &self.tell {
            // An error means that the mesh is ending.
            let _ = tell.send(told);
        }
    }
}

/// The store's first answer.
#[derive(Debug)]
pub(super) struct FirstList(watch::Receiver<bool>);

impl FirstList {
    /// Waits until the store has listed what it keeps, or cannot be reached, or is late.
    pub(super) async fn wait(mut self) {
        if tokio::time::timeout(LISTING, self.0.wait_for(|listed| *listed)).await.is_err() {
            tracing::warn!("the fd store does not answer: going on without what a former mesh left in it");
        }
    }
}
