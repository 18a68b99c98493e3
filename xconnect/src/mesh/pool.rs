//! Something limited that all links share, so that none can use up what the others need.
//!
//! A link may take more only while it holds no more than what is still free (a dynamic threshold, as
//! switches share their packet memory): alone it gets half, and whatever the rest take, some is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What there is, and what is taken of it.
#[derive(Debug)]
pub(crate) struct Pool {
    capacity: usize,
    used: AtomicUsize,
}

impl Pool {
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self { capacity, used: AtomicUsize::new(0) })
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// The share of one link.
    pub(crate) fn share(self: &Arc<Self>) -> Arc<Share> {
        Arc::new(Share { pool: self.clone(), held: AtomicUsize::new(0) })
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
}

/// What one link holds.
#[derive(Debug)]
pub(crate) struct Share {
    pool: Arc<Pool>,
    held: AtomicUsize,
}

impl Share {
    /// So many more, or `None` where that would be more than a fair share.
    pub(crate) fn take(self: &Arc<Self>, count: usize) -> Option<Taken> {
        self.add(count).then(|| Taken { share: self.clone(), count })
    }

    /// As [`take`](Self::take), but the first ones of a link need no more than room.
    pub(crate) fn take_first(self: &Arc<Self>, count: usize) -> Option<Taken> {
        let first = self.held.load(Ordering::Acquire) == 0;
        self.add_if(count, |_| first)
            .then(|| Taken { share: self.clone(), count })
            .or_else(|| self.take(count))
    }

    fn add(&self, count: usize) -> bool {
        let held = self.held.load(Ordering::Acquire);
        self.add_if(count, |free| held + count <= free)
    }

    fn add_if(&self, count: usize, allowed: impl Fn(usize) -> bool) -> bool {
        let taken = self.pool.take(count, allowed);
        if taken {
            self.held.fetch_add(count, Ordering::AcqRel);
        }
        taken
    }
}

/// What was taken; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    share: Arc<Share>,
    count: usize,
}

impl Taken {
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Takes more, up to `count` in all. False: that would be more than a fair share, and nothing is changed.
    pub(crate) fn grow(&mut self, count: usize) -> bool {
        let more = count.saturating_sub(self.count);
        let taken = self.share.add(more);
        if taken {
            self.count += more;
        }
        taken
    }

    /// Gives back all but `count`.
    pub(crate) fn shrink(&mut self, count: usize) {
        let surplus = self.count.saturating_sub(count);
        self.count -= surplus;
        self.share.held.fetch_sub(surplus, Ordering::AcqRel);
        self.share.pool.used.fetch_sub(surplus, Ordering::AcqRel);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(share: &Arc<Share>, each: usize) -> Vec<Taken> {
        std::iter::from_fn(|| share.take(each)).collect()
    }

    #[test]
    fn alone_a_link_gets_half_and_the_others_find_some_left() {
        let pool = Pool::new(64);
        let greedy = pool.share();
        let held = all(&greedy, 2);
        assert_eq!(held.len() * 2, 32);
        let other = pool.share();
        assert_eq!(all(&other, 2).len() * 2, 16);
        drop(held);
        assert_eq!(pool.used(), 0);
    }

    #[test]
    fn growth_is_bounded_as_the_first_take_is_and_comes_back() {
        let pool = Pool::new(16);
        let share = pool.share();
        let mut taken = share.take(4).unwrap();
        assert!(taken.grow(8));
        assert!(!taken.grow(15));
        assert_eq!((taken.count(), pool.used()), (8, 8));
        assert!(taken.grow(3), "it has that much");
        taken.shrink(5);
        assert_eq!((taken.count(), pool.used()), (5, 5));
        drop(taken);
        assert_eq!(pool.used(), 0);
        assert!(share.take(17).is_none());
    }

    #[test]
    fn the_first_ones_need_room_only() {
        let pool = Pool::new(5);
        let share = pool.share();
        let first = share.take_first(4);
        assert!(first.is_some() && share.take_first(4).is_none());
    }
}
