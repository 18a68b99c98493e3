//! Log lines that a container can bring about as often as it likes: the first few are written, then ever
//! fewer, each with the number of those that were not. The log is one file, kept for years.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines of one kind that are written whenever they come.
const BURST: u32 = 5;
/// After those, the first and the longest time between two.
const INTERVAL: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3600));
/// After so long without any, it begins anew.
const CALM: Duration = Duration::from_secs(600);

/// Whether to write a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Say {
    /// Yes; so many of its kind were not written since the last one.
    Yes {
        /// How many; none in the usual case.
        unsaid: Option<u64>,
    },
    /// No, or for those who want to see everything.
    No,
}

#[derive(Debug)]
struct Kind {
    name: &'static str,
    burst: u32,
    interval: Duration,
    said: Instant,
    came: Instant,
    unsaid: u64,
}

impl Kind {
    fn new(name: &'static str, now: Instant) -> Self {
        Self { name, burst: BURST, interval: INTERVAL.0, said: now, came: now, unsaid: 0 }
    }

    fn ask(&mut self, now: Instant) -> Say {
        if now.saturating_duration_since(self.came) >= CALM {
            *self = Self { unsaid: self.unsaid, ..Self::new(self.name, now) };
        }
        self.came = now;
        if self.burst > 0 {
            self.burst -= 1;
        } else if now.saturating_duration_since(self.said) >= self.interval {
            self.interval = (self.interval * 2).min(INTERVAL.1);
        } else {
            self.unsaid += 1;
            return Say::No;
        }
        self.said = now;
        let unsaid = std::mem::take(&mut self.unsaid);
        Say::Yes { unsaid: (unsaid > 0).then_some(unsaid) }
    }
}

/// Limits the lines of one link, or of one place in the program.
#[derive(Debug, Default)]
pub struct Limiter(Mutex<Vec<Kind>>);

impl Limiter {
    /// One that has let nothing through yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Asks to write a line of this kind, of which there are few.
    pub fn ask(&self, kind: &'static str) -> Say {
        self.ask_at(kind, Instant::now())
    }

    fn ask_at(&self, kind: &'static str, now: Instant) -> Say {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kinds.iter_mut().find(|known| known.name == kind) {
            return known.ask(now);
        }
        let mut fresh = Kind::new(kind, now);
        let say = fresh.ask(now);
        kinds.push(fresh);
        say
    }
}

/// Writes a line at the level given where the limiter lets it through, else at debug level.
macro_rules! limited {
    ($level:ident, $limiter:expr, $kind:expr, $($line:tt)+) => {
        match $limiter.ask($kind) {
            $crate::mesh::limiter::Say::Yes { unsaid } => tracing::$level!(unsaid, $($line)+),
            $crate::mesh::limiter::Say::No => tracing::debug!($($line)+),
        }
    };
}
/// The same within a span.
macro_rules! limited_in {
    ($level:ident, $span:expr, $limiter:expr, $kind:expr, $($line:tt)+) => {
        match $limiter.ask($kind) {
            $crate::mesh::limiter::Say::Yes { unsaid } => {
                tracing::$level!(parent: $span, unsaid, $($line)+);
            }
            $crate::mesh::limiter::Say::No => tracing::debug!(parent: $span, $($line)+),
        }
    };
}
pub(in crate::mesh) use {limited, limited_in};

#[cfg(test)]
mod tests {
    use super::*;

    const YES: Say = Say::Yes { unsaid: None };

    #[test]
    fn the_first_lines_are_written_and_then_ever_fewer_with_a_count() {
        let start = Instant::now();
        let limiter = Limiter::new();
        for _ in 0..BURST {
            assert_eq!(limiter.ask_at("a", start), YES);
        }
        for _ in 0..7 {
            assert_eq!(limiter.ask_at("a", start), Say::No);
        }
        assert_eq!(limiter.ask_at("b", start), YES, "another kind");
        let later = start + INTERVAL.0;
        assert_eq!(limiter.ask_at("a", later), Say::Yes { unsaid: Some(7) });
        assert_eq!(limiter.ask_at("a", later + INTERVAL.0), Say::No);
        assert_eq!(limiter.ask_at("a", later + INTERVAL.0 * 2), Say::Yes { unsaid: Some(1) });
    }

    #[test]
    fn a_year_in_a_loop_is_some_thousand_lines() {
        let start = Instant::now();
        let limiter = Limiter::new();
        let minutes = 365 * 24 * 60;
        let said = (0..minutes)
            .filter(|minute| limiter.ask_at("a", start + Duration::from_secs(60) * *minute) != Say::No)
            .count();
        assert!((8_000..10_000).contains(&said), "{said}");
    }

    #[test]
    fn it_begins_anew_after_a_calm() {
        let start = Instant::now();
        let limiter = Limiter::new();
        for _ in 0..100 {
            limiter.ask_at("a", start);
        }
        assert_eq!(limiter.ask_at("a", start + CALM), Say::Yes { unsaid: Some(95) });
        assert_eq!(limiter.ask_at("a", start + CALM), YES);
    }
}
