//! Connections to the provider: made as the role, kept for the next request of the same link.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::buffer::Buffer;
use super::local::Local;
use super::reply::Reply;
use super::stream::Stream;
use crate::mesh::edge::budget::ConnectionPermit;
use crate::mesh::edge::counters::LinkCounters;
use crate::mesh::edge::reach::{BackOff, Reached};

/// How long a connection may rest. A provider that closes idle ones mostly waits longer.
const REST: Duration = Duration::from_secs(15);

/// A connection to the provider that carries one request.
pub(super) struct Upstream {
    pub(super) stream: Stream,
    pub(super) buffer: Buffer,
    generation: u64,
    permit: ConnectionPermit,
}

/// Connections that rest, the latest last. They are of one link, so of one consumer and one role.
pub(super) struct Pool {
    resting: RefCell<Vec<Resting>>,
    /// A task looks after them.
    swept: Cell<bool>,
    counters: Arc<LinkCounters>,
}

struct Resting {
    stream: Stream,
    permit: ConnectionPermit,
    since: Instant,
}

impl Pool {
    pub(super) fn new(counters: Arc<LinkCounters>) -> Self {
        Self { resting: RefCell::default(), swept: Cell::new(false), counters }
    }

    pub(super) fn clear(&self) {
        self.shrink(0);
    }

    /// Keeps the `count` latest.
    pub(super) fn shrink(&self, count: usize) {
        let mut resting = self.resting.borrow_mut();
        let surplus = resting.len().saturating_sub(count);
        resting.drain(..surplus);
        self.left(surplus);
    }

    /// Closes what has rested for long, or what the provider has closed. True: there are others.
    pub(super) fn sweep(&self, now: Instant) -> bool {
        let mut resting = self.resting.borrow_mut();
        let before = resting.len();
        resting.retain(|one| now.duration_since(one.since) < REST && one.stream.is_quiet());
        self.left(before - resting.len());
        !resting.is_empty()
    }

    fn pop(&self) -> Option<Resting> {
        let resting = self.resting.borrow_mut().pop()?;
        self.left(1);
        Some(resting)
    }

    fn push(&self, resting: Resting) {
        self.resting.borrow_mut().push(resting);
        self.counters.http().upstream_idle.fetch_add(1, Ordering::Relaxed);
    }

    fn left(&self, count: usize) {
        self.counters.http().upstream_idle.fetch_sub(count as u64, Ordering::Relaxed);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Why there is no connection to the provider.
#[derive(Debug)]
pub(super) enum Unreachable {
    /// It did not come up in time.
    TimedOut {
        /// Whether its socket is there.
        exists: bool,
    },
    /// There are no descriptors left for the link.
    Full,
    /// It will not work.
    Never(io::Error),
}

impl Unreachable {
    /// What the consumer is told. `patience`: how long it was waited for.
    pub(super) fn reply(&self, patience: Duration) -> Reply {
        let after = patience.as_secs_f64();
        let error = match self {
            Self::TimedOut { exists: false } => {
                format!("the provider's socket did not appear within {after} s (connect_timeout)")
            }
            Self::TimedOut { exists: true } => {
                format!("the provider did not accept within {after} s (connect_timeout)")
            }
            Self::Full => "the other links need the descriptors that are left".to_owned(),
            Self::Never(error) => format!("the provider cannot be connected to: {error}"),
        };
        let timed_out = matches!(self, Self::TimedOut { .. });
        Reply { timed_out, ..Reply::new(503, error).retry_after(1) }
    }
}

impl Upstream {
    /// The bare connection, with what it holds and the provider's socket that it is of.
    pub(super) fn into_stream(self) -> (Stream, u64, ConnectionPermit) {
        (self.stream, self.generation, self.permit)
    }
}

impl Local {
    /// A connection that rests, if there is one that still lives. `surely`: asks the kernel, for a request that cannot
    /// be repeated.
    pub(super) fn take_resting(&self, surely: bool) -> Option<Upstream> {
        loop {
            let Resting { stream, permit, .. } = self.pool.pop()?;
            if stream.is_quiet() && (!surely || stream.is_quiet_now()) {
                let (buffer, generation) = (Buffer::default(), self.generation.get());
                return Some(Upstream { stream, buffer, generation, permit });
            }
        }
    }

    /// Puts a connection away for the next request.
    pub(super) fn rest(self: &Rc<Self>, upstream: Upstream, now: Instant) {
        let fits = upstream.generation == self.generation.get() && upstream.buffer.is_empty();
        let room = self.pool.resting.borrow().len() < self.connections().max(1);
        if !fits || !room || self.shared.is_cut() {
            return;
        }
        if !self.pool.swept.replace(true) {
            self.sweep_later();
        }
        self.pool.push(Resting { stream: upstream.stream, permit: upstream.permit, since: now });
    }

    /// Makes a connection as the role, waiting until `deadline` for the provider to come up.
    pub(super) async fn connect(&self, deadline: Instant) -> Result<Upstream, Unreachable> {
        let Some(permit) = self.shared.share.connection() else { return Err(Unreachable::Full) };
        let mut back_off = BackOff::default();
        loop {
            let changed = self.provider_changed.notified();
            let provider = self.provider.borrow().clone();
            let generation = self.generation.get();
            let exists = provider.is_some();
            let mut wait = None;
            if let Some(provider) = provider {
                match Reached::from(self.shared.connect(&provider)) {
                    Reached::Yes(socket) => {
                        let stream =
                            Stream::new(socket, Some(self.shared.sender)).map_err(Unreachable::Never)?;
                        let buffer = Buffer::default();
                        return Ok(Upstream { stream, buffer, generation, permit });
                    }
                    Reached::Never(error) => return Err(Unreachable::Never(error)),
                    Reached::Full => {}
                    Reached::NotYet { stale } if stale => self.stale.notify_one(),
                    Reached::NotYet { .. } => {}
                }
                back_off.grow(std::time::Instant::now());
                wait = back_off.until.map(Instant::from_std);
            }
            let until = wait.map_or(deadline, |until| until.min(deadline));
            if timeout_at(until, changed).await.is_err() && until == deadline {
                return Err(Unreachable::TimedOut { exists });
            }
        }
    }

    /// Looks after the connections that rest, while there are any.
    fn sweep_later(self: &Rc<Self>) {
        let local = Rc::downgrade(self);
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let Some(local) = local.upgrade() else { break };
                if !local.pool.sweep(Instant::now()) {
                    local.pool.swept.set(false);
                    break;
                }
            }
        });
    }

    /// Counts a connection that could not be made.
    pub(super) fn count_failed(&self) {
        self.shared.counters.failed.fetch_add(1, Ordering::Relaxed);
    }
}
