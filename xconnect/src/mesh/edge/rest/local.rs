//! A rest link on one edge thread: where the provider is, connections to it that rest, and the tasks.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::http1::{Fields, Seed};
use super::shared::LinkShared;
use super::upstream::Pool;
use crate::mesh::inject::ProviderSocket;

/// What the connections of one thread use in turn, never across an await.
pub(super) struct Scratch {
    pub(super) fields: Fields,
    pub(super) seed: Seed,
}

/// A rest link on one edge thread.
pub(super) struct Local {
    pub(super) shared: Arc<LinkShared>,
    pub(super) scratch: Rc<RefCell<Scratch>>,
    pub(super) provider: RefCell<Option<Arc<ProviderSocket>>>,
    /// Grows with each other socket of the provider's.
    pub(super) generation: Cell<u64>,
    pub(super) provider_changed: Notify,
    /// Notified when nobody listens on the provider's socket.
    pub(super) stale: Arc<Notify>,
    pub(super) pool: Pool,
    tasks: RefCell<Tasks>,
    /// Tells connections with many requests at once that no new ones are wanted.
    pub(super) drained: Notify,
}

/// The tasks of the link's connections on this thread.
#[derive(Default)]
struct Tasks {
    places: Vec<Option<Task>>,
    free: Vec<usize>,
}

impl Tasks {
    fn live(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

struct Task {
    handle: AbortHandle,
    rests: Rests,
}

/// Where a connection between two requests waits, to be woken when no further one is wanted.
#[derive(Clone, Default)]
pub(super) struct Rests(Rc<RefCell<Option<Waker>>>);

impl Rests {
    pub(super) fn wait(&self, cx: &Context<'_>) {
        let mut waker = self.0.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    fn wake(&self) {
        if let Some(waker) = &*self.0.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl Local {
    pub(super) fn new(
        shared: Arc<LinkShared>,
        scratch: Rc<RefCell<Scratch>>,
        provider: Option<Arc<ProviderSocket>>,
        stale: Arc<Notify>,
    ) -> Rc<Self> {
        Rc::new(Self {
            pool: Pool::new(shared.counters.clone()),
            shared,
            scratch,
            provider: RefCell::new(provider),
            generation: Cell::new(0),
            provider_changed: Notify::new(),
            stale,
            tasks: RefCell::default(),
            drained: Notify::new(),
        })
    }

    /// The provider's socket is another one, or gone.
    pub(super) fn set_provider(&self, socket: Option<Arc<ProviderSocket>>) {
        *self.provider.borrow_mut() = socket;
        self.generation.set(self.generation.get() + 1);
        self.pool.clear();
        self.provider_changed.notify_waiters();
    }

    /// Runs a connection's task until it ends or the link is cut.
    pub(super) fn spawn(self: &Rc<Self>, rests: Rests, task: impl Future<Output = ()> + 'static) {
        let mut tasks = self.tasks.borrow_mut();
        let place = tasks.free.pop().unwrap_or_else(|| {
            tasks.places.push(None);
            tasks.places.len() - 1
        });
        let leave = Leave { local: self.clone(), place };
        let handle = tokio::task::spawn_local(async move {
            let _leave = leave;
            task.await;
        });
        tasks.places[place] = Some(Task { handle: handle.abort_handle(), rests });
    }

    /// Connections on this thread.
    pub(super) fn connections(&self) -> usize {
        self.tasks.borrow().live()
    }

    /// Wakes what rests between two requests, to end; the others end with the answer that they wait for.
    pub(super) fn drain(&self) {
        for task in self.tasks.borrow().places.iter().flatten() {
            task.rests.wake();
        }
        self.drained.notify_waiters();
    }

    /// Closes everything; the tasks are gone with the thread's next turn.
    pub(super) fn cut(&self) {
        for task in self.tasks.borrow().places.iter().flatten() {
            task.handle.abort();
        }
        self.pool.clear();
    }
}

/// Takes a task off the list when it is dropped.
struct Leave {
    local: Rc<Local>,
    place: usize,
}

impl Drop for Leave {
    fn drop(&mut self) {
        {
            let mut tasks = self.local.tasks.borrow_mut();
            tasks.places[self.place] = None;
            tasks.free.push(self.place);
        }
        self.local.pool.shrink(self.local.connections().max(1));
    }
}
