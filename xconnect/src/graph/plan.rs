//! The difference of two graphs as an ordered plan: first what goes, then what changes, then what comes.

use std::sync::Arc;

use super::link::{Graph, Link};
use crate::ids::LinkKey;

/// One step from a graph to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The link goes: its target becomes free for another one.
    Remove(LinkKey),
    /// The link stays, but something of it differs: an end that runs elsewhere, an identity, a limit.
    Replace(Arc<Link>),
    /// The link comes.
    Add(Arc<Link>),
}

impl Step {
    /// The link that the step is about.
    #[must_use]
    pub fn key(&self) -> &LinkKey {
        match self {
            Self::Remove(key) => key,
            Self::Replace(link) | Self::Add(link) => &link.key,
        }
    }
}

/// The steps from one graph to another, in the order in which they must be taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    steps: Vec<Step>,
    revision: Option<String>,
}

impl Plan {
    /// The steps, in order: removals, replacements, additions, each in the order of their keys.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The revision of the graph that the plan leads to.
    #[must_use]
    pub fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    /// True where no link changes; the revision may.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The graph after all steps.
    #[must_use]
    pub fn apply(&self, graph: &Graph) -> Graph {
        let mut links = graph.links.clone();
        for step in &self.steps {
            match step {
                Step::Remove(key) => {
                    links.remove(key);
                }
                Step::Replace(link) | Step::Add(link) => {
                    links.insert(link.key.clone(), Arc::clone(link));
                }
            }
        }
        Graph { revision: self.revision.clone(), links }
    }
}

impl IntoIterator for Plan {
    type Item = Step;
    type IntoIter = std::vec::IntoIter<Step>;
    fn into_iter(self) -> Self::IntoIter {
        self.steps.into_iter()
    }
}

/// The plan that leads from `old` to `new`.
#[must_use]
pub fn diff(old: &Graph, new: &Graph) -> Plan {
    let gone = old.links.keys().filter(|key| !new.links.contains_key(key)).cloned().map(Step::Remove);
    let changed = new
        .links
        .iter()
        .filter(|(key, link)| old.links.get(key).is_some_and(|before| before != *link))
        .map(|(_, link)| Step::Replace(Arc::clone(link)));
    let come = new.links.iter().filter(|(key, _)| !old.links.contains_key(key));
    let come = come.map(|(_, link)| Step::Add(Arc::clone(link)));
    Plan { steps: gone.chain(changed).chain(come).collect(), revision: new.revision.clone() }
}
