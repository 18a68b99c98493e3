//! One link's life, as one task: wait for both ends, plant the socket, keep it in place, carry the bytes,
//! clean up.
//!
//! The task owns everything that belongs to the link. It acts on four events only: another wish of the
//! graph, the end of the consumer, a change around the provider's socket, a change around the target.

mod lookout;
mod pace;
mod planted;

use std::sync::Arc;
use std::time::Duration;

use self::lookout::Lookout;
use self::pace::{Backoff, Pace};
use self::planted::Planted;
use super::board::{Board, Place};
use super::containers::Containers;
use super::edge::{FdBudget, RestThreads, Workers};
use super::fdstore::FdStore;
use super::inject::{self, Container, Placed, Watcher};
use super::latest::Latest;
use super::ledger::Ledger;
use super::leftovers::{self, Leftovers};
use super::limiter::limited;
use super::offload::Offload;
use super::own::{OwnSockets, Reach};
use super::providers::{Provider, Providers, Sight};
use crate::graph::wire::Status;
use crate::graph::{Link, ServiceType};

/// What all links share.
pub(super) struct Shared {
    pub(super) containers: Arc<Containers>,
    pub(super) providers: Providers,
    pub(super) own: Arc<OwnSockets>,
    pub(super) watcher: Arc<Watcher>,
    pub(super) ledger: Ledger,
    pub(super) leftovers: Leftovers,
    pub(super) fdstore: FdStore,
    pub(super) board: Arc<Board>,
    pub(super) workers: Workers,
    pub(super) rest: RestThreads,
    pub(super) offload: Arc<Offload>,
    pub(super) budget: Arc<FdBudget>,
    /// How long connections may go on after a request to stop.
    pub(super) drain: Duration,
}

/// What the graph wants of a link.
#[derive(Debug, Clone)]
pub(super) enum Wanted {
    /// That it is like this.
    Link(Arc<Link>),
    /// That it is gone: connections are cut.
    Removed,
    /// That the mesh stops: connections may end by themselves for a while.
    Stopped,
}

/// How a turn of serving ended.
enum Turn {
    /// Something else is wanted.
    Changed,
    /// Nothing more can be done until something else is wanted.
    Idle,
    /// It failed, for this reason; worth another try.
    Failed(String),
    /// Not to be tried again before this time is over.
    Pause(Duration),
}

/// How a link ends.
#[derive(Clone, Copy)]
enum Ending {
    Removed,
    Stopped,
}

/// Serves one link until it is removed or the mesh stops.
///
/// Most links are idle most of the time: what an idle one waits with is all that its task holds. Whatever
/// else is done, and needs much room for it, is boxed for that while.
pub(super) fn run(
    shared: Arc<Shared>,
    place: Arc<Place>,
    wanted: Arc<Latest<Wanted>>,
) -> impl Future<Output = ()> {
    let mut task =
        Task { shared, place, wanted, planted: None, provider: None, lookout: None, pace: Pace::new() };
    async move {
        let ending = task.live().await;
        Box::pin(task.end(ending)).await;
    }
}

struct Task {
    shared: Arc<Shared>,
    place: Arc<Place>,
    wanted: Arc<Latest<Wanted>>,
    planted: Option<Planted>,
    /// Held from turn to turn: a provider that nobody holds is forgotten, and looked for from the start.
    provider: Option<Arc<Provider>>,
    /// Where the socket could not be put to its target.
    lookout: Option<Lookout>,
    pace: Pace,
}

impl Task {
    async fn live(&mut self) -> Ending {
        let mut backoff = Backoff::new();
        let mut spurred = false;
        loop {
            let wish = self.wanted.get();
            let link = match wish {
                Wanted::Link(link) => link,
                Wanted::Removed => return Ending::Removed,
                Wanted::Stopped => return Ending::Stopped,
            };
            let ready = Box::pin(self.prepare(&link)).await;
            let turn = match ready {
                Ok((container, provider)) => self.attend(&container, &provider).await,
                Err(turn) => turn,
            };
            let pause = match turn {
                Turn::Changed => {
                    backoff.reset();
                    continue;
                }
                Turn::Idle => None,
                Turn::Pause(pause) => Some(pause),
                Turn::Failed(reason) => {
                    self.place.set(Status::Failed, Some(reason));
                    Some(if spurred { backoff.again() } else { backoff.next() })
                }
            };
            spurred = false;
            let Self { wanted, lookout, .. } = self;
            match pause {
                None => wanted.changed().await,
                Some(pause) => tokio::select! {
                    () = wanted.changed() => {}
                    () = tokio::time::sleep(pause) => {}
                    () = changes(lookout) => spurred = true,
                },
            }
        }
    }

    /// Puts the socket in place that `link` asks for. `Err`: there is nothing to attend to.
    async fn prepare(&mut self, link: &Arc<Link>) -> Result<(Arc<Container>, Arc<Provider>), Turn> {
        if let Some(reason) = cannot_serve(&self.shared.own, link) {
            self.pull_out().await;
            self.place.set(Status::Failed, Some(reason));
            return Err(Turn::Idle);
        }
        let container = match self.shared.containers.get(link.consumer).await {
            Ok(Some(container)) => container,
            Ok(None) => return Err(self.without_consumer("the consumer is not running").await),
            Err(error) if is_gone(&error) => {
                return Err(self.without_consumer("the consumer has ended").await);
            }
            Err(error) => return Err(Turn::Failed(super::chain(&error))),
        };
        if self.planted.as_ref().is_some_and(|planted| !planted.fits(link, &container)) {
            self.pull_out().await;
        }
        let provider = self.shared.providers.get(link.provider.presence, &link.socket, Reach::of(link));
        self.provider = Some(Arc::clone(&provider));
        if let Some(turn) = self.put_in(link, &container).await {
            return Err(turn);
        }
        Ok((container, provider))
    }

    async fn without_consumer(&mut self, reason: &str) -> Turn {
        self.pull_out().await;
        self.place.set(Status::Waiting, Some(reason.to_owned()));
        Turn::Idle
    }

    /// Makes sure that the socket is at its target. `Some`: that did not go well.
    async fn put_in(&mut self, link: &Arc<Link>, container: &Arc<Container>) -> Option<Turn> {
        if let Some(planted) = &self.planted {
            match container.check(&link.key.target, &planted.inode).await {
                Ok(Placed::Ours) => {
                    self.lookout = None;
                    return None;
                }
                Ok(Placed::Missing | Placed::Other) => {
                    limited!(info, self.place.limiter, "again", link = %link.key,
                        "the injected socket is gone from its place: injecting it again");
                }
                Err(error) if is_gone(&error) => {
                    return Some(self.without_consumer("the consumer has ended").await);
                }
                Err(error) => return Some(self.failed(link, container, &error)),
            }
            if let Some(pause) = self.pace.wait() {
                return Some(Turn::Pause(pause));
            }
        } else {
            self.place.set(Status::Injecting, None);
        }
        match Planted::plant(&self.shared, link, container, &self.place, self.planted.take()).await {
            Ok(planted) => {
                self.planted = Some(planted);
                self.lookout = None;
                None
            }
            Err((error, before)) => {
                self.planted = before;
                if is_gone(&error) {
                    return Some(self.without_consumer("the consumer has ended").await);
                }
                Some(self.failed(link, container, &error))
            }
        }
    }

    /// Looks out for the end of what is in the way.
    fn failed(&mut self, link: &Link, container: &Arc<Container>, error: &inject::Error) -> Turn {
        if !self.lookout.as_ref().is_some_and(|lookout| lookout.is_at(container)) {
            self.lookout = Some(Lookout::new(&self.shared.watcher, container, &link.key.target));
        }
        Turn::Failed(super::chain(error))
    }

    /// Waits for events while the socket is in place.
    async fn attend(&mut self, container: &Container, provider: &Provider) -> Turn {
        let Some(planted) = &mut self.planted else {
            return Turn::Changed;
        };
        let mut sight = provider.sight.clone();
        show(&self.place, planted, &sight.borrow_and_update());
        let mut looking = true;
        loop {
            tokio::select! {
                biased;
                () = self.wanted.changed() => return Turn::Changed,
                () = container.exited() => break,
                changed = sight.changed(), if looking => {
                    looking = changed.is_ok();
                    show(&self.place, planted, &sight.borrow_and_update());
                }
                () = planted.stale.notified() => provider.stale.notify_one(),
                () = planted.watch.changed() => return Turn::Changed,
            }
        }
        Box::pin(self.without_consumer("the consumer has ended")).await
    }

    /// Takes the socket out of the container and cuts what ran through it. Where this mesh has planted none,
    /// a former one may have.
    async fn pull_out(&mut self) {
        self.provider = None;
        self.lookout = None;
        match self.planted.take() {
            Some(planted) => planted.pull_out(&self.shared).await,
            None => leftovers::abandon(&self.shared, &self.place.link()).await,
        }
    }

    async fn end(&mut self, ending: Ending) {
        match ending {
            Ending::Removed => self.pull_out().await,
            Ending::Stopped => {
                self.place.set(Status::Draining, None);
                match self.planted.take() {
                    Some(planted) => planted.drain(&self.shared).await,
                    None => leftovers::abandon(&self.shared, &self.place.link()).await,
                }
            }
        }
        self.place.set(Status::Gone, None);
        self.shared.board.remove(&self.place.link().key, &self.place);
    }
}

/// Waits for a change that the lookout sees; for ever without one.
async fn changes(lookout: &mut Option<Lookout>) {
    match lookout {
        Some(lookout) => lookout.changed().await,
        None => std::future::pending().await,
    }
}

/// Tells the edge and the operator what is known about the provider's socket.
fn show(place: &Place, planted: &mut Planted, sight: &Sight) {
    planted.publish(sight.socket());
    match sight {
        Sight::Looking => place.set(Status::Injecting, None),
        Sight::There(_) => place.set(Status::Up, None),
        Sight::Missing(reason) => place.set(Status::Waiting, Some(reason.clone())),
        Sight::Refused(reason) => place.set(Status::Failed, Some(reason.clone())),
    }
}

/// Why a link cannot be served at all, if so.
pub(super) fn cannot_serve(own: &OwnSockets, link: &Link) -> Option<String> {
    if let Err(refusal) = &link.grant {
        return Some(refusal.to_string());
    }
    match link.kind {
        ServiceType::Unix | ServiceType::Rest => own.lacks(link),
        other => Some(format!("links of type {} are not served by this build", other.as_str())),
    }
}

/// True where the container itself is no more, so that there is nothing to clean up and nothing to retry.
pub(super) fn is_gone(error: &inject::Error) -> bool {
    matches!(error, inject::Error::Exited { .. } | inject::Error::Recycled { .. })
}
