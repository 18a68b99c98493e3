//! How soon to try again: a back-off after failures, and a bound on how often a consumer can make the
//! mesh inject anew.

use std::time::{Duration, Instant};

/// Wait after the first failure, and the longest.
const FAILURE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// Waits that double with each failure in a row.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: FAILURE.0 }
    }

    /// The wait after one more failure.
    pub(super) fn next(&mut self) -> Duration {
        let wait = self.next;
        self.next = (self.next * 2).min(FAILURE.1);
        wait
    }

    /// The same wait once more, after a try that did not wait for its time.
    pub(super) fn again(&self) -> Duration {
        (self.next / 2).max(FAILURE.0)
    }

    pub(super) fn reset(&mut self) {
        self.next = FAILURE.0;
    }
}

/// Injections that may follow each other at once.
const BURST: u32 = 50;
/// Time after which one more is allowed.
const REFILL: Duration = Duration::from_millis(20);

/// A token bucket: a consumer that removes its socket in a loop costs a bounded share of the mesh.
#[derive(Debug)]
pub(super) struct Pace {
    tokens: u32,
    filled: Instant,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { tokens: BURST, filled: Instant::now() }
    }

    /// Takes a token, or says how long to wait for one.
    pub(super) fn wait(&mut self) -> Option<Duration> {
        self.wait_at(Instant::now())
    }

    fn wait_at(&mut self, now: Instant) -> Option<Duration> {
        let passed = now.saturating_duration_since(self.filled);
        let fresh = u32::try_from(passed.as_nanos() / REFILL.as_nanos()).unwrap_or(u32::MAX);
        if fresh > 0 {
            self.tokens = self.tokens.saturating_add(fresh).min(BURST);
            self.filled = now;
        }
        if self.tokens == 0 {
            return Some(REFILL);
        }
        self.tokens -= 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_a_bound_and_starts_anew() {
        let mut backoff = Backoff::new();
        assert_eq!(backoff.next(), Duration::from_millis(100));
        assert_eq!(backoff.next(), Duration::from_millis(200));
        for _ in 0..20 {
            backoff.next();
        }
        assert_eq!(backoff.next(), FAILURE.1);
        assert!(backoff.again() >= FAILURE.1 / 2);
        backoff.reset();
        assert_eq!(backoff.again(), Duration::from_millis(100));
        assert_eq!(backoff.next(), Duration::from_millis(100));
    }

    #[test]
    fn a_burst_is_free_and_then_there_is_a_wait() {
        let start = Instant::now();
        let mut pace = Pace { tokens: BURST, filled: start };
        for _ in 0..BURST {
            assert_eq!(pace.wait_at(start), None);
        }
        assert_eq!(pace.wait_at(start), Some(REFILL));
        assert_eq!(pace.wait_at(start + REFILL), None);
        assert_eq!(pace.wait_at(start + REFILL), Some(REFILL));
        assert_eq!(pace.wait_at(start + REFILL * 1000), None);
    }
}
