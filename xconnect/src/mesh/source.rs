//! Where the wanted graph comes from. Whatever goes wrong there, the last good graph stays.

mod file;
mod pvctrl;

use std::sync::Arc;

use tokio::sync::watch;

use super::config::GraphFrom;
use crate::graph::{Graph, wire};

/// What the operator can see of the source.
#[derive(Debug, Clone, Default)]
pub(super) struct Health {
    /// How the graph is got: `stream`, `poll` or `file`; empty before the first attempt.
    pub(super) mode: &'static str,
    /// What went wrong last, if the graph is not up to date.
    pub(super) error: Option<String>,
    /// Graphs received.
    pub(super) received: u64,
}

/// The writing end of the wanted graph.
#[derive(Debug, Clone)]
pub(super) struct Outlet {
    graph: watch::Sender<Option<Arc<Graph>>>,
    health: watch::Sender<Health>,
}

impl Outlet {
    /// An outlet, with what the mesh reads: the graph (`None` before the first) and the source's health.
    pub(super) fn new() -> (Self, watch::Receiver<Option<Arc<Graph>>>, watch::Receiver<Health>) {
        let (graph, graphs) = watch::channel(None);
        let (health, healths) = watch::channel(Health::default());
        (Self { graph, health }, graphs, healths)
    }

    /// Takes in a graph as JSON. Entries that cannot be understood are left out and named; a text that is
    /// no graph changes nothing.
    fn take(&self, mode: &'static str, json: &[u8]) {
        match wire::parse_each(json) {
            Ok(parsed) => {
                let error = (!parsed.errors.is_empty()).then(|| {
                    let texts: Vec<_> = parsed.errors.iter().map(ToString::to_string).collect();
                    texts.join("; ")
                });
                if let Some(error) = &error {
                    tracing::error!("the graph has entries that cannot be served: {error}");
                }
                self.graph.send_if_modified(|present| {
                    if present.as_deref() == Some(&parsed.graph) {
                        return false;
                    }
                    *present = Some(Arc::new(parsed.graph));
                    true
                });
                self.health.send_modify(|health| {
                    *health = Health { mode, error, received: health.received + 1 };
                });
            }
            Err(error) => self.complain(mode, error.to_string()),
        }
    }

    /// Notes a failure; logs it unless it is the same as before.
    fn complain(&self, mode: &'static str, error: String) {
        self.health.send_if_modified(|health| {
            if health.error.as_ref() == Some(&error) {
                return false;
            }
            tracing::warn!("no new graph; going on with the last one: {error}");
            health.mode = mode;
            health.error = Some(error);
            true
        });
    }
}

/// Follows the source until the mesh ends.
pub(super) async fn follow(from: GraphFrom, outlet: Outlet) {
    match from {
        GraphFrom::ControlSocket { socket, poll_interval } => {
            pvctrl::follow(&socket, poll_interval, &outlet).await;
        }
        GraphFrom::File(path) => file::follow(&path, &outlet).await,
    }
}
