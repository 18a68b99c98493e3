//! Provider sockets: each is found once, watched, and shared by all links to it.
//!
//! A socket that is not there yet is awaited by inotify, and a connection that was refused makes it be
//! looked up again. While one is missing it is looked for now and then, too: should an event be lost, that
//! is a short delay and not a link that is dead.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::containers::Containers;
use super::inject::{self, Container, ProviderSocket, Watch, Watcher};
use super::own::{Objection, OwnSockets, Reach};
use crate::graph::Presence;
use crate::ids::InsidePath;

/// What is known about a provider's socket.
#[derive(Debug, Clone)]
pub(super) enum Sight {
    /// Not looked yet.
    Looking,
    /// It is there.
    There(Arc<ProviderSocket>),
    /// It is not, for this reason.
    Missing(String),
    /// It is there, and not to be connected to, for this reason.
    Refused(String),
}

impl Sight {
    /// The socket, if it is there.
    pub(super) fn socket(&self) -> Option<Arc<ProviderSocket>> {
        match self {
            Self::There(socket) => Some(Arc::clone(socket)),
            Self::Looking | Self::Missing(_) | Self::Refused(_) => None,
        }
    }
}

/// A provider's socket that a link holds on to. Watching ends when the last holder lets go.
#[derive(Debug)]
pub(super) struct Provider {
    /// What is known, as it changes.
    pub(super) sight: watch::Receiver<Sight>,
    /// To be notified when a connection was refused: the socket is looked up again.
    pub(super) stale: Arc<Notify>,
    lookout: AbortHandle,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.lookout.abort();
    }
}

type Key = (Presence, InsidePath, Reach);

/// All provider sockets that some link needs.
pub(super) struct Providers {
    containers: Arc<Containers>,
    watcher: Arc<Watcher>,
    own: Arc<OwnSockets>,
    known: Mutex<HashMap<Key, Weak<Provider>>>,
    tasks: Mutex<JoinSet<()>>,
}

impl Providers {
    pub(super) fn new(containers: Arc<Containers>, watcher: Arc<Watcher>, own: Arc<OwnSockets>) -> Self {
        Self { containers, watcher, own, known: Mutex::default(), tasks: Mutex::new(JoinSet::new()) }
    }

    /// The socket at `path` of the provider at `presence`, for links of this reach.
    pub(super) fn get(&self, presence: Presence, path: &InsidePath, reach: Reach) -> Arc<Provider> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (presence, path.clone(), reach);
        if let Some(provider) = known.get(&key).and_then(Weak::upgrade) {
            return provider;
        }
        let (tell, sight) = watch::channel(Sight::Looking);
        let stale = Arc::new(Notify::new());
        let lookout = Lookout {
            containers: Arc::clone(&self.containers),
            watcher: Arc::clone(&self.watcher),
            own: Arc::clone(&self.own),
            presence,
            path: path.clone(),
            reach,
            sight: tell,
            stale: Arc::clone(&stale),
        };
        let lookout = {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            while tasks.try_join_next().is_some() {}
            tasks.spawn(lookout.run())
        };
        let provider = Arc::new(Provider { sight, stale, lookout });
        known.insert(key, Arc::downgrade(&provider));
        provider
    }

    /// Forgets sockets that no link needs any more.
    pub(super) fn prune(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, provider| provider.strong_count() > 0);
    }
}

/// How often a socket that is not there is looked for though nothing happened: a link that waits for an event
/// which is lost somewhere would wait for years.
const SLOW: Duration = Duration::from_secs(2);

/// The task that keeps one socket in sight.
struct Lookout {
    containers: Arc<Containers>,
    watcher: Arc<Watcher>,
    own: Arc<OwnSockets>,
    presence: Presence,
    path: InsidePath,
    reach: Reach,
    sight: watch::Sender<Sight>,
    stale: Arc<Notify>,
}

/// First and longest wait before a failed look is repeated.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

impl Lookout {
    async fn run(self) {
        let mut wait = RETRY.0;
        loop {
            let container = match self.containers.get(self.presence).await {
                Ok(Some(container)) => container,
                Ok(None) => {
                    self.missing("the provider is not running".to_owned());
                    return;
                }
                Err(error) => {
                    self.missing(format!("the provider cannot be looked into: {}", super::chain(&error)));
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(RETRY.1);
                    continue;
                }
            };
            self.keep_in_sight(&container).await;
            self.missing("the provider has ended".to_owned());
            return;
        }
    }

    /// Looks again whenever something may have changed, until the container ends.
    async fn keep_in_sight(&self, container: &Arc<Container>) {
        let watch: Watch = self.watcher.watch(container, &self.path);
        self.look(container).await;
        loop {
            tokio::select! {
                biased;
                () = container.exited() => return,
                () = watch.changed() => {}
                () = self.stale.notified() => {}
                () = tokio::time::sleep(SLOW), if self.is_missing() => {
                    self.look(container).await;
                    if !self.is_missing() {
                        tracing::debug!(path = %self.path, "a provider's socket was found without an event");
                    }
                    continue;
                }
            }
            self.look(container).await;
        }
    }

    fn is_missing(&self) -> bool {
        matches!(*self.sight.borrow(), Sight::Missing(_))
    }

    async fn look(&self, container: &Container) {
        match container.find_socket(&self.path).await {
            Ok(found) => {
                match self.own.objection(&found.inode, self.reach) {
                    None => {}
                    Some(Objection::Never(why)) => return self.tell(Sight::Refused(why)),
                    Some(Objection::NotYet(why)) => return self.missing(why),
                }
                self.sight.send_if_modified(|sight| {
                    if matches!(sight, Sight::There(socket) if socket.inode == found.inode) {
                        return false;
                    }
                    *sight = Sight::There(Arc::new(found));
                    true
                });
            }
            Err(inject::Error::Missing { .. }) => {
                self.missing(format!("the provider has no socket {} yet", self.path));
            }
            Err(error) => self.missing(super::chain(&error)),
        }
    }

    fn missing(&self, reason: String) {
        self.tell(Sight::Missing(reason));
    }

    fn tell(&self, seen: Sight) {
        self.sight.send_if_modified(|sight| {
            let same = match (&*sight, &seen) {
                (Sight::Missing(old), Sight::Missing(new)) | (Sight::Refused(old), Sight::Refused(new)) => {
                    old == new
                }
                _ => false,
            };
            if !same {
                *sight = seen;
            }
            !same
        });
    }
}
