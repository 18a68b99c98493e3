//! A worker's time: read at most once a round of events, and only where somebody asks.

use std::cell::Cell;
use std::time::Instant;

/// The time of the present round. Most rounds move bytes of connections that have no time-out.
#[derive(Debug, Default)]
pub(in crate::mesh::edge) struct Clock(Cell<Option<Instant>>);

impl Clock {
    /// The same in a whole round.
    pub(in crate::mesh::edge) fn now(&self) -> Instant {
        let now = self.0.get().unwrap_or_else(Instant::now);
        self.0.set(Some(now));
        now
    }

    /// A new round begins.
    pub(super) fn forget(&self) {
        self.0.set(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_still_in_a_round() {
        let clock = Clock::default();
        let first = clock.now();
        while Instant::now() == first {}
        assert_eq!(clock.now(), first);
        clock.forget();
        assert!(clock.now() > first);
    }
}
