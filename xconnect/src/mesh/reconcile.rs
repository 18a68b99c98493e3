//! Makes the world what the graph wants: one task per link, started, told and ended by the plan.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::board::Place;
use super::latest::Latest;
use super::link::{self, Shared, Wanted};
use crate::graph::plan::{self, Step};
use crate::graph::{Graph, Link};
use crate::ids::LinkKey;

/// A running link task, and what tells it what is wanted.
struct Running {
    wanted: Arc<Latest<Wanted>>,
    place: Arc<Place>,
}

/// The link tasks, and the graph that they serve.
pub(super) struct Reconciler {
    shared: Arc<Shared>,
    present: Arc<Graph>,
    links: HashMap<LinkKey, Running>,
    tasks: JoinSet<()>,
}

impl Reconciler {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, present: Arc::default(), links: HashMap::new(), tasks: JoinSet::new() }
    }

    /// Carries out the difference between the present graph and `wanted`. Returns how many steps that took;
    /// an unchanged graph takes none.
    pub(super) fn apply(&mut self, wanted: Arc<Graph>) -> usize {
        while self.tasks.try_join_next().is_some() {}
        let plan = plan::diff(&self.present, &wanted);
        for step in plan.steps() {
            match step {
                Step::Remove(key) => self.remove(key),
                Step::Replace(link) => self.replace(link),
                Step::Add(link) => self.add(link),
            }
        }
        self.shared.board.set_revision(wanted.revision.clone());
        self.present = wanted;
        if !plan.is_empty() {
            self.shared.providers.prune();
            self.shared.containers.prune();
        }
        plan.steps().len()
    }

    fn add(&mut self, link: &Arc<Link>) {
        let place = self.shared.board.add(link);
        let key = link.key.clone();
        let wanted = Arc::new(Latest::new(Wanted::Link(Arc::clone(link))));
        self.tasks.spawn(link::run(Arc::clone(&self.shared), Arc::clone(&place), Arc::clone(&wanted)));
        self.links.insert(key, Running { wanted, place });
    }

    fn replace(&mut self, link: &Arc<Link>) {
        let Some(running) = self.links.get(&link.key) else {
            return self.add(link);
        };
        running.place.set_link(Arc::clone(link));
        running.wanted.set(Wanted::Link(Arc::clone(link)));
    }

    fn remove(&mut self, key: &LinkKey) {
        if let Some(running) = self.links.remove(key) {
            tracing::info!(link = %key, "link removed from the graph");
            running.wanted.set(Wanted::Removed);
        }
    }

    /// Tells every link that the mesh stops, and waits until all have ended.
    pub(super) async fn stop(mut self) {
        for running in self.links.values() {
            running.wanted.set(Wanted::Stopped);
        }
        while self.tasks.join_next().await.is_some() {}
    }
}
