//! Where the wanted graph comes from. Whatever goes wrong there, the last good graph stays.

mod file;
mod pvctrl;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::config::GraphFrom;
use crate::graph::Graph;
use crate::graph::wire::{self, About, EntryError, Parsed};

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
    taken: Arc<Mutex<Option<Taken>>>,
}

/// The text that the present graph was made of, by its digest: most texts of a server that is polled say
/// what the one before said, and need not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Taken {
    digest: [u8; 32],
    /// What is wrong with it.
    error: Option<String>,
}

impl Outlet {
    /// An outlet, with what the mesh reads: the graph (`None` before the first) and the source's health.
    pub(super) fn new() -> (Self, watch::Receiver<Option<Arc<Graph>>>, watch::Receiver<Health>) {
        let (graph, graphs) = watch::channel(None);
        let (health, healths) = watch::channel(Health::default());
        (Self { graph, health, taken: Arc::default() }, graphs, healths)
    }

    /// Takes in a graph as JSON. Entries that cannot be understood are named, and the links that they are
    /// about stay as they are; a text that is no graph changes nothing.
    fn take(&self, mode: &'static str, json: &[u8]) {
        let digest = Sha256::digest(json).into();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = taken.as_ref().filter(|taken| taken.digest == digest) {
            return self.received(mode, taken.error.clone());
        }
        match wire::parse_each(json) {
            Ok(mut parsed) => {
                let error = listed(&parsed.errors);
                let known = self.health.borrow().error == error;
                if let Some(error) = error.as_ref().filter(|_| !known) {
                    tracing::error!("the graph has entries that cannot be served: {error}");
                }
                self.graph.send_if_modified(|present| {
                    if let Some(present) = present {
                        spare(&mut parsed, present);
                    }
                    if present.as_deref() == Some(&parsed.graph) {
                        return false;
                    }
                    *present = Some(Arc::new(parsed.graph));
                    true
                });
                *taken = Some(Taken { digest, error: error.clone() });
                self.received(mode, error);
            }
            Err(error) => self.complain(mode, error.to_string()),
        }
    }

    fn received(&self, mode: &'static str, error: Option<String>) {
        self.health.send_modify(|health| {
            *health = Health { mode, error, received: health.received + 1 };
        });
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

/// Errors named in full.
const NAMED_MAX: usize = 20;

/// What is wrong with a graph, in one line.
fn listed(errors: &[EntryError]) -> Option<String> {
    let mut texts: Vec<_> = errors.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    if errors.len() > NAMED_MAX {
        texts.push(format!("and {} more", errors.len() - NAMED_MAX));
    }
    (!texts.is_empty()).then(|| texts.join("; "))
}

/// A mistake in an entry is no wish to end a link: the one that it is about stays as it is, and where it
/// does not say which, so does every one that the text leaves out.
fn spare(parsed: &mut Parsed, present: &Graph) {
    let about: HashSet<_> = parsed.errors.iter().map(EntryError::about).collect();
    let unclear = about.contains(&About::Unclear);
    let spared = present
        .links
        .iter()
        .filter(|(key, _)| unclear || about.contains(&About::Link(Box::new((*key).clone()))));
    for (key, link) in spared {
        parsed.graph.links.entry(key.clone()).or_insert_with(|| Arc::clone(link));
    }
    if parsed.graph.revision.is_none() && !about.is_empty() {
        parsed.graph.revision.clone_from(&present.revision);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(target: &str, pid: &str) -> String {
        format!(
            r#"{{"type":"unix","name":"n","consumer":"c","consumer_pid":{pid},"provider":"p",
                "target":"{target}","socket":"/s"}}"#
        )
    }

    /// The targets in the graph after these texts.
    fn after(texts: &[String]) -> (Vec<String>, Option<String>) {
        let (outlet, graphs, health) = Outlet::new();
        for text in texts {
            outlet.take("test", text.as_bytes());
        }
        let graph = graphs.borrow().clone().unwrap();
        let targets = graph.links.keys().map(|key| key.target.to_string()).collect();
        (targets, health.borrow().error.clone())
    }

    #[test]
    fn a_mistake_ends_only_links_that_it_cannot_be_about() {
        let good = format!("[{},{}]", entry("/a", "1"), entry("/b", "1"));
        let after = |text: String| after(&[good.clone(), text]);
        assert_eq!(after(format!("[{}]", entry("/a", "1"))).0, ["/a"]);
        assert_eq!(after(format!("[{},{}]", entry("/b", "true"), entry("/c", "1"))).0, ["/b", "/c"]);
        assert_eq!(after(format!("[{},{}]", entry("/a", "1"), entry("/../c", "1"))).0, ["/a"]);
        let (targets, error) = after("[17]".to_owned());
        assert_eq!(targets, ["/a", "/b"]);
        assert_eq!(error.unwrap(), "[0]: invalid type: integer `17`, expected struct LinkEntry");
        assert_eq!(after("[]".to_owned()), (vec![], None));
    }

    #[test]
    fn the_same_text_again_is_not_read_but_ends_a_complaint() {
        let (outlet, mut graphs, health) = Outlet::new();
        let text = format!("[{},17]", entry("/a", "1"));
        outlet.take("test", text.as_bytes());
        let before = graphs.borrow_and_update().clone().unwrap();
        let error = health.borrow().error.clone();
        outlet.complain("test", "the file is gone".to_owned());
        outlet.take("test", text.as_bytes());
        assert!(!graphs.has_changed().unwrap());
        assert!(Arc::ptr_eq(&before, graphs.borrow().as_ref().unwrap()));
        assert_eq!((health.borrow().received, health.borrow().error.clone()), (2, error));
        outlet.take("test", b"[]");
        outlet.take("test", text.as_bytes());
        assert_eq!(graphs.borrow().as_ref().unwrap().links.len(), 1, "another text came between");
    }

    #[test]
    fn many_mistakes_are_told_in_few_words() {
        let text = |count: usize| format!("[{}17]", "17,".repeat(count - 1));
        let (_, error) = after(&["[]".to_owned(), text(1000)]);
        assert!(error.unwrap().ends_with("; and 980 more"));
        let (_, error) = after(&["[]".to_owned(), text(2000)]);
        assert!(error.unwrap().starts_with("not a graph: more than 1000 mistakes, the first: [0]: invalid"));
    }
}
