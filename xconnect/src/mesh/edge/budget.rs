//! The process's descriptors, shared among links so that none can use up what the others need
//! ([`Pool`] has the rule).

use std::sync::Arc;

use crate::mesh::pool::{Pool, Share, Taken};
use crate::sys::scm::MAX_FDS;

/// Descriptors of one relayed connection: one to the consumer, one to the provider. The hold pair of one that
/// is in the kernel are as many again. Of one end of a rest link: the socket, and its duplicate while it is full.
const PER_CONNECTION: usize = 2;
/// Descriptors on their way that are kept room for at most.
const IN_FLIGHT_MAX: usize = 8192;

/// What the edges of this process may hold open.
#[derive(Debug)]
pub struct FdBudget {
    connections: Arc<Pool>,
    in_flight: Arc<Pool>,
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
        self.connections.used() + self.in_flight.used()
    }

    /// Descriptors that may be held in all.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.connections.capacity() + self.in_flight.capacity()
    }

    /// The share of one link.
    #[must_use]
    pub fn share(&self) -> Arc<LinkShare> {
        Arc::new(LinkShare { connections: self.connections.share(), in_flight: self.in_flight.share() })
    }
}

/// What one link holds.
#[derive(Debug)]
pub struct LinkShare {
    connections: Arc<Share>,
    in_flight: Arc<Share>,
}

impl LinkShare {
    /// Leave to hold one more connection, or `None` where that would be more than a fair share.
    #[must_use]
    pub fn connection(&self) -> Option<ConnectionPermit> {
        self.connections.take(PER_CONNECTION).map(|_taken| ConnectionPermit { _taken })
    }

    /// Leave to hold the hold pair of a connection that goes through the kernel; as [`connection`](Self::connection).
    pub(crate) fn hold_pair(&self) -> Option<ConnectionPermit> {
        self.connection()
    }

    /// Room for the descriptors of one message, whose number is not known before it was read. `None`:
    /// wait until some have gone. The first message of a link needs no more than room.
    pub(crate) fn message(&self) -> Option<InFlight> {
        self.in_flight.take_first(MAX_FDS).map(InFlight)
    }
}

/// Leave to hold a connection, or its hold pair; dropped with it.
#[derive(Debug)]
pub struct ConnectionPermit {
    _taken: Taken,
}

/// Leave to hold descriptors that are on their way; dropped when they have gone.
#[derive(Debug)]
pub(crate) struct InFlight(Taken);

impl InFlight {
    /// The message turned out to carry `count`.
    pub(crate) fn shrink(&mut self, count: usize) {
        self.0.shrink(count);
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
        assert_eq!(budget.used(), 3);
        drop(message);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_hold_pair_counts_as_a_connection_does() {
        let budget = FdBudget::new(896);
        let share = budget.share();
        let held = (share.connection().unwrap(), share.hold_pair().unwrap());
        assert_eq!(budget.used(), 4);
        drop(held);
        assert_eq!(budget.used(), 0);
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
