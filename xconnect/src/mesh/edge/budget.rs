//! The process's descriptors, shared among links so that none can use up what the others need.
//!
//! A link may take more only while it holds no more than what is still free (a dynamic threshold, as
//! switches share their packet memory): alone it gets half, and whatever the rest take, some is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::sys::scm::MAX_FDS;

/// Descriptors of one relayed connection: one to the consumer, one to the provider.
const PER_CONNECTION: usize = 2;
/// Descriptors on their way that are kept room for at most.
const IN_FLIGHT_MAX: usize = 8192;

#[derive(Debug)]
struct Pool {
    capacity: usize,
    used: AtomicUsize,
}

impl Pool {
    fn new(capacity: usize) -> Self {
        Self { capacity, used: AtomicUsize::new(0) }
    }

    /// Takes `count` if `allowed(free)` says so, `free` counted before.
    fn take(&self, count: usize, allowed: impl Fn(usize) -> bool) -> bool {
        self.used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
                let free = self.capacity.saturating_sub(used);
                (free >= count && allowed(free)).then_some(used + count)
            })
            .is_ok()
    }

    fn give_back(&self, count: usize) {
        self.used.fetch_sub(count, Ordering::AcqRel);
    }
}

/// What the edges of this process may hold open.
#[derive(Debug)]
pub struct FdBudget {
    connections: Pool,
    in_flight: Pool,
}

impl FdBudget {
    /// A budget of `capacity` descriptors; a quarter, but room for one full message (253) at least, is
    /// for descriptors that are on their way from one end to the other.
    #[must_use]
    pub fn new(capacity: usize) -> Arc<Self> {
        let in_flight = (capacity / 4).clamp(MAX_FDS, IN_FLIGHT_MAX);
        Arc::new(Self {
            connections: Pool::new(capacity.saturating_sub(in_flight)),
            in_flight: Pool::new(in_flight),
        })
    }

    /// What `RLIMIT_NOFILE` (the soft limit) leaves after `reserved` descriptors for all else.
    #[must_use]
    pub fn from_limit(reserved: usize) -> Arc<Self> {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(1 << 20);
        Self::new(limit.saturating_sub(reserved))
    }

    /// Descriptors that are held for connections or are on their way.
    #[must_use]
    pub fn used(&self) -> usize {
        self.connections.used.load(Ordering::Relaxed) + self.in_flight.used.load(Ordering::Relaxed)
    }

    /// Descriptors that may be held in all.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.connections.capacity + self.in_flight.capacity
    }

    /// The share of one link.
    #[must_use]
    pub fn share(self: &Arc<Self>) -> Arc<LinkShare> {
        Arc::new(LinkShare {
            budget: self.clone(),
            connections: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
        })
    }
}

/// What one link holds.
#[derive(Debug)]
pub struct LinkShare {
    budget: Arc<FdBudget>,
    connections: AtomicUsize,
    in_flight: AtomicUsize,
}

impl LinkShare {
    /// Leave to hold one more connection, or `None` where that would be more than a fair share.
    #[must_use]
    pub fn connection(self: &Arc<Self>) -> Option<ConnectionPermit> {
        let own = self.connections.load(Ordering::Acquire);
        if !self.budget.connections.take(PER_CONNECTION, |free| own + PER_CONNECTION <= free) {
            return None;
        }
        self.connections.fetch_add(PER_CONNECTION, Ordering::AcqRel);
        Some(ConnectionPermit { share: self.clone() })
    }

    /// Room for the descriptors of one message, whose number is not known before it was read. `None`:
    /// wait until some have gone. The first message of a link needs no more than room.
    pub(crate) fn message(self: &Arc<Self>) -> Option<InFlight> {
        let own = self.in_flight.load(Ordering::Acquire);
        if !self.budget.in_flight.take(MAX_FDS, |free| own == 0 || own + MAX_FDS <= free) {
            return None;
        }
        self.in_flight.fetch_add(MAX_FDS, Ordering::AcqRel);
        Some(InFlight { share: self.clone(), count: MAX_FDS })
    }
}

/// Leave to hold a connection; dropped with it.
#[derive(Debug)]
pub struct ConnectionPermit {
    share: Arc<LinkShare>,
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.share.connections.fetch_sub(PER_CONNECTION, Ordering::AcqRel);
        self.share.budget.connections.give_back(PER_CONNECTION);
    }
}

/// Leave to hold descriptors that are on their way; dropped when they have gone.
#[derive(Debug)]
pub(crate) struct InFlight {
    share: Arc<LinkShare>,
    count: usize,
}

impl InFlight {
    /// The message turned out to carry `count`.
    pub(crate) fn shrink(&mut self, count: usize) {
        let surplus = self.count.saturating_sub(count);
        self.count -= surplus;
        self.share.in_flight.fetch_sub(surplus, Ordering::AcqRel);
        self.share.budget.in_flight.give_back(surplus);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_all(share: &Arc<LinkShare>) -> Vec<ConnectionPermit> {
        std::iter::from_fn(|| share.connection()).collect()
    }

    #[test]
    fn one_link_leaves_some_for_every_other() {
        let budget = FdBudget::new(896);
        let greedy = budget.share();
        let held = take_all(&greedy);
        assert!(held.len() > 100, "{}", held.len());
        for _ in 0..4 {
            let other = budget.share();
            assert!(take_all(&other).len() > 50);
        }
    }

    #[test]
    fn everything_comes_back() {
        let budget = FdBudget::new(896);
        let share = budget.share();
        let count = take_all(&share).len();
        assert_eq!(take_all(&share).len(), count);
        let mut message = share.message().unwrap();
        message.shrink(3);
        assert_eq!(share.in_flight.load(Ordering::Relaxed), 3);
        drop(message);
        assert_eq!(budget.in_flight.used.load(Ordering::Relaxed), 0);
        assert_eq!(budget.connections.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_smallest_budget_still_passes_a_full_message() {
        let budget = FdBudget::new(0);
        let share = budget.share();
        let message = share.message().unwrap();
        assert!(share.message().is_none() && share.connection().is_none());
        drop(message);
        assert!(share.message().is_some());
    }
}
