//! The desired state: the manifests of the directory and of registered containers, the graph that
//! follows from them and from where containers run, and everybody who wants to hear of it.

mod registered;
mod revise;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::body::Bytes;
use tokio::sync::watch;

use super::audit::AuditLog;
use super::state::Applied;
use super::supervisor::Supervisor;
use crate::api::types::{RefusedRevision, RevisionStatus};
use crate::graph::{self, Graph, HostServices, Presence, wire};
use crate::ids::ContainerName;
use crate::manifest::Revision;

use registered::Registered;
pub(super) use registered::{RegisterError, restore_registered};
pub(super) use revise::valid;

/// The desired state, shared by whoever changes it and whoever asks for it.
pub(super) struct Hub {
    state_dir: PathBuf,
    data_dir: PathBuf,
    registry: PathBuf,
    host: HostServices,
    supervisor: Supervisor,
    audit: AuditLog,
    inner: Mutex<Inner>,
    /// The graph as one line of the stream; empty, which is no line, while no revision is in force: a mesh
    /// that runs on would take a graph without links for the end of all links.
    line: watch::Sender<Bytes>,
}

struct Inner {
    /// The state of the directory that is in force; `None` before the first.
    applied: Option<Applied>,
    /// Its manifests.
    revision: Revision,
    /// Whether the supervisor has it.
    supervised: bool,
    refused: Option<RefusedRevision>,
    registered: BTreeMap<ContainerName, Registered>,
    /// Manifests of the directory and of registered containers.
    effective: Arc<Revision>,
    presence: BTreeMap<ContainerName, Presence>,
    graph: Arc<Graph>,
}

/// What a hub is made of.
pub(super) struct Setup {
    pub(super) state_dir: PathBuf,
    /// Where the state that was applied last is kept.
    pub(super) data_dir: PathBuf,
    /// Where registered containers are kept for the next engine.
    pub(super) registry: PathBuf,
    pub(super) host: HostServices,
    pub(super) supervisor: Supervisor,
    pub(super) audit: AuditLog,
}

impl Hub {
    /// Begins with what was applied last, which is not in force before [`Self::resume`] or the first
    /// good look at the directory.
    pub(super) fn new(setup: Setup) -> Self {
        let applied = Applied::load(&setup.data_dir);
        let revision = Revision::default();
        let inner = Inner {
            applied,
            effective: Arc::new(revision.clone()),
            revision,
            supervised: false,
            refused: None,
            registered: BTreeMap::new(),
            presence: BTreeMap::new(),
            graph: Arc::default(),
        };
        Self {
            state_dir: setup.state_dir,
            data_dir: setup.data_dir,
            registry: setup.registry,
            host: setup.host,
            supervisor: setup.supervisor,
            audit: setup.audit,
            inner: Mutex::new(inner),
            line: watch::Sender::new(Bytes::new()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory whose manifests are in force.
    pub(super) fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// The audit log.
    pub(super) fn audit(&self) -> &AuditLog {
        &self.audit
    }

    /// The containers.
    pub(super) fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// The graph, a line for each change of it.
    pub(super) fn lines(&self) -> watch::Receiver<Bytes> {
        self.line.subscribe()
    }

    /// The present graph; `None` while no revision is in force.
    pub(super) fn graph(&self) -> Option<Arc<Graph>> {
        let inner = self.lock();
        inner.supervised.then(|| Arc::clone(&inner.graph))
    }

    /// All manifests that are in force.
    pub(super) fn manifests(&self) -> Arc<Revision> {
        Arc::clone(&self.lock().effective)
    }

    /// Which state of the directory is in force, and which one was refused.
    pub(super) fn revision(&self) -> RevisionStatus {
        let inner = self.lock();
        let applied = inner.applied.as_ref().filter(|_| inner.supervised);
        RevisionStatus {
            revision: applied.map(|applied| applied.revision.clone()),
            since: applied.map(|applied| applied.since.clone()),
            refused: inner.refused.clone(),
        }
    }

    /// Makes the graph anew where a container came up or went away.
    pub(super) fn refresh(&self) {
        self.remake(&mut self.lock(), Remake::IfContainersMoved);
    }

    /// Follows the containers until it is dropped.
    pub(super) async fn follow_containers(&self) {
        let mut changed = self.supervisor.subscribe();
        loop {
            // First of all: what moved before the subscription would not be told.
            self.refresh();
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    fn remake(&self, inner: &mut Inner, how: Remake) {
        let names = inner.effective.containers().keys();
        let presence: BTreeMap<_, _> =
            names.map(|name| (name.clone(), self.supervisor.presence(name))).collect();
        if how == Remake::IfContainersMoved && presence == inner.presence {
            return;
        }
        inner.presence = presence;
        let at = |name: &ContainerName| inner.presence.get(name).copied().unwrap_or(Presence::NotRunning);
        let mut graph = graph::resolve_with(&self.host, &inner.effective, &at);
        graph.revision = inner.applied.as_ref().filter(|_| inner.supervised).map(|it| it.revision.clone());
        let first = self.line.borrow().is_empty();
        if inner.supervised && (first || graph != *inner.graph) {
            inner.graph = Arc::new(graph);
            self.line.send_replace(line(&inner.graph));
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Remake {
    Always,
    IfContainersMoved,
}

/// One line of the stream: the desired state of the whole graph.
fn line(graph: &Graph) -> Bytes {
    let mut line = serde_json::to_vec(&wire::desired(graph)).unwrap_or_else(|error| {
        tracing::error!(%error, "cannot write the graph");
        b"[]".to_vec()
    });
    line.push(b'\n');
    line.into()
}

/// The manifests of a revision with those of registered containers. One that does not fit is left
/// out: what is in the state directory counts more.
fn effective(revision: &Revision, registered: &BTreeMap<ContainerName, Registered>) -> Revision {
    let manifests: Vec<_> = registered.values().filter_map(|it| it.manifest.as_ref()).collect();
    let all = manifests.iter().fold(revision.clone(), |united, manifest| united.with((*manifest).clone()));
    if graph::check(&all).is_ok() {
        return all;
    }
    // One by one, which costs a check each: only where something is wrong.
    let mut united = revision.clone();
    for manifest in manifests {
        let next = united.with(manifest.clone());
        match graph::check(&next) {
            Ok(()) => united = next,
            Err(errors) => {
                let container = manifest.name();
                tracing::error!(%container, %errors, "a registered container does not fit: it gets no links");
            }
        }
    }
    united
}

/// Names of a revision's links, with what they are apart from where their ends run.
fn links(host: &HostServices, revision: &Revision) -> BTreeMap<String, Arc<graph::Link>> {
    let graph = graph::resolve_with(host, revision, &|_| Presence::NotRunning);
    graph.links.into_iter().map(|(key, link)| (key.to_string(), link)).collect()
}
