//! What is known about every link, for the operator: status, reason, since when, and counters.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::edge::LinkCounters;
use super::limiter::{Limiter, limited};
use crate::graph::wire::Status;
use crate::graph::{Link, ServiceType};
use crate::ids::LinkKey;

/// A link's status with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    /// Where in its life the link is.
    pub(super) status: Status,
    /// Why, where it is not up.
    pub(super) reason: Option<String>,
    /// Since when.
    pub(super) since: SystemTime,
}

/// One link's place on the board.
#[derive(Debug)]
pub(super) struct Place {
    link: Mutex<Arc<Link>>,
    standing: Mutex<Standing>,
    /// What its edge has counted, across all its connections.
    pub(super) counters: Arc<LinkCounters>,
    /// For all that is logged about it: its containers can make it come and go in a loop.
    pub(super) limiter: Arc<Limiter>,
}

impl Place {
    fn new(link: Arc<Link>) -> Self {
        let standing = Standing { status: Status::Declared, reason: None, since: SystemTime::now() };
        let counters = LinkCounters::default();
        if link.kind == ServiceType::Rest {
            // Zeros, rather than nothing until the first request.
            let _ = counters.http();
        }
        Self {
            link: Mutex::new(link),
            standing: Mutex::new(standing),
            counters: Arc::new(counters),
            limiter: Arc::default(),
        }
    }

    /// The link as it is wanted.
    pub(super) fn link(&self) -> Arc<Link> {
        Arc::clone(&self.link.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes that another link with the same key is wanted.
    pub(super) fn set_link(&self, link: Arc<Link>) {
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = link;
    }

    /// Status, reason and since when.
    pub(super) fn standing(&self) -> Standing {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes and logs a status. Saying the same again does nothing.
    pub(super) fn set(&self, status: Status, reason: Option<String>) {
        {
            let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
            if standing.status == status && standing.reason == reason {
                return;
            }
            *standing = Standing { status, reason: reason.clone(), since: SystemTime::now() };
        }
        let link = self.link();
        let reason = reason.unwrap_or_default();
        let (key, provider) = (&link.key, &link.provider.name);
        match status {
            Status::Failed => {
                limited!(warn, self.limiter, "failed", link = %key, %provider, "link failed: {reason}");
            }
            Status::Up => limited!(info, self.limiter, "up", link = %key, %provider, "link up"),
            Status::Waiting => {
                limited!(info, self.limiter, "waiting", link = %key, %provider, "link waiting: {reason}");
            }
            _ => tracing::debug!(link = %link.key, ?status, %reason, "link"),
        }
    }
}

/// All links.
#[derive(Debug, Default)]
pub(super) struct Board {
    places: Mutex<BTreeMap<LinkKey, Arc<Place>>>,
    revision: Mutex<Option<String>>,
}

impl Board {
    /// The revision of the graph that is being served, where it has one.
    pub(super) fn revision(&self) -> Option<String> {
        self.revision.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes which revision is being served.
    pub(super) fn set_revision(&self, revision: Option<String>) {
        *self.revision.lock().unwrap_or_else(PoisonError::into_inner) = revision;
    }

    /// A place for a new link.
    pub(super) fn add(&self, link: &Arc<Link>) -> Arc<Place> {
        let place = Arc::new(Place::new(Arc::clone(link)));
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.insert(link.key.clone(), Arc::clone(&place));
        place
    }

    /// Takes a link off the board, unless a later one with the same key has its place.
    pub(super) fn remove(&self, key: &LinkKey, place: &Arc<Place>) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.get(key).is_some_and(|there| Arc::ptr_eq(there, place)) {
            places.remove(key);
        }
    }

    /// Every link, in the order of their keys.
    pub(super) fn all(&self) -> Vec<Arc<Place>> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.values().map(Arc::clone).collect()
    }
}
