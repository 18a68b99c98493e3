//! What a rest link counts beside its connections and bytes: requests, and what became of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets of a request's duration, in microseconds; one more bucket has no bound.
pub const REQUEST_BOUNDS_US: [u64; 19] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// The methods that are counted by name; all others together are `other`.
pub const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "other"];
const OTHER: usize = METHODS.len() - 1;

/// The classes of answers, from 2xx on.
pub const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// The counters of one rest link, written by the threads that relay it.
        ///
        /// Every request is counted once, at its end, by one of the methods [`finished`](Self::finished),
        /// [`cut`](Self::cut), [`refused`](Self::refused) and [`denied`](Self::denied); all else is counted
        /// directly.
        #[derive(Debug, Default)]
        pub struct HttpCounters {
            requests: [AtomicU64; METHODS.len()],
            answers: [AtomicU64; CLASSES.len()],
            cut: AtomicU64,
            refused: AtomicU64,
            denied: AtomicU64,
            upgrades: AtomicU64,
            latency: [AtomicU64; REQUEST_BOUNDS_US.len() + 1],
            latency_us: AtomicU64,
            $($(#[$doc])* pub $name: AtomicU64,)*
        }

        /// A copy of a rest link's counters.
        #[derive(Debug, Default, Clone, PartialEq, Eq)]
        pub struct HttpCounts {
            /// Requests that have ended, however they did, by [`METHODS`].
            pub requests: [u64; METHODS.len()],
            /// Of these, those that were answered in whole, by [`CLASSES`]: by the provider, or (502, 503, 504)
            /// in its place.
            pub answers: [u64; CLASSES.len()],
            /// Those of which the answer broke off, or never came since the consumer went away.
            pub cut: u64,
            /// Those that the mesh has refused before anything of them reached the provider.
            pub refused: u64,
            /// Those that no rule of the role allows.
            pub denied: u64,
            /// Those that have become something else than HTTP (101).
            pub upgrades: u64,
            /// Those that were answered by their duration, one count for each of [`REQUEST_BOUNDS_US`] and one
            /// for above (not cumulative).
            pub latency: [u64; REQUEST_BOUNDS_US.len() + 1],
            /// Microseconds that they took together.
            pub latency_us: u64,
            $($(#[$doc])* pub $name: u64,)*
        }

        impl HttpCounters {
            /// A copy of all counters.
            #[must_use]
            pub fn snapshot(&self) -> HttpCounts {
                HttpCounts {
                    requests: loaded(&self.requests),
                    answers: loaded(&self.answers),
                    cut: self.cut.load(Ordering::Relaxed),
                    refused: self.refused.load(Ordering::Relaxed),
                    denied: self.denied.load(Ordering::Relaxed),
                    upgrades: self.upgrades.load(Ordering::Relaxed),
                    latency: loaded(&self.latency),
                    latency_us: self.latency_us.load(Ordering::Relaxed),
                    $($name: self.$name.load(Ordering::Relaxed),)*
                }
            }
        }
    };
}

counts! {
    /// Requests under way: their head is complete, and the last byte of their answer is not sent.
    open,
    /// Requests that were sent a second time, because a pooled connection had ended before it brought an answer.
    retried,
    /// Requests that ended because one of the link's times was over (408, 503, 504, or cut).
    timeouts,
    /// Connections to the provider that were opened.
    upstream_opened,
    /// Requests that were sent over a connection to the provider that another one had left.
    upstream_reused,
    /// Connections to the provider that wait for a request.
    upstream_idle,
}

impl HttpCounters {
    /// A request has been answered. `after`: from its head being complete to the last byte of the answer.
    ///
    /// A status of 101 is counted as an upgrade, and has no duration; other informational ones end no request.
    pub fn finished(&self, method: &str, status: u16, after: Duration) {
        self.request(method);
        if status < 200 {
            add(&self.upgrades);
            return;
        }
        add(&self.answers[usize::from(status / 100 - 2).min(CLASSES.len() - 1)]);
        let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        add(&self.latency[REQUEST_BOUNDS_US.partition_point(|bound| *bound < micros)]);
        self.latency_us.fetch_add(micros, Ordering::Relaxed);
    }

    /// A request has reached the provider, and its answer broke off or never came.
    pub fn cut(&self, method: &str) {
        self.request(method);
        add(&self.cut);
    }

    /// The mesh has answered a request itself before anything of it reached the provider (400, 408, 413, 417, 431,
    /// 501, 505, or 503 for want of room or of a provider). `method`: where it could be read.
    pub fn refused(&self, method: Option<&str>) {
        self.request(method.unwrap_or_default());
        add(&self.refused);
    }

    /// No rule of the role allows a request (403). What is shown as denied on a rest link is this.
    pub fn denied(&self, method: &str) {
        self.request(method);
        add(&self.denied);
    }

    fn request(&self, method: &str) {
        let index = METHODS[..OTHER].iter().position(|name| *name == method);
        add(&self.requests[index.unwrap_or(OTHER)]);
    }
}

impl HttpCounts {
    /// Requests that have ended.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.requests.iter().sum()
    }

    /// The bound of the bucket in which a request lies that takes longer than `percent` of the others, in
    /// microseconds; the last bound for any that take longer. 0 where there was none.
    #[must_use]
    pub fn latency_below(&self, percent: u64) -> u64 {
        let count: u64 = self.latency.iter().sum();
        let wanted = count.saturating_mul(percent).div_ceil(100).max(1);
        let mut seen = 0;
        let bucket = self.latency.iter().position(|bucket| {
            seen += bucket;
            seen >= wanted
        });
        let last = REQUEST_BOUNDS_US.len() - 1;
        bucket.map_or(0, |bucket| REQUEST_BOUNDS_US[bucket.min(last)])
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn loaded<const N: usize>(counters: &[AtomicU64; N]) -> [u64; N] {
    std::array::from_fn(|index| counters[index].load(Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_counted_once_by_method_and_by_end() {
        let counters = HttpCounters::default();
        let micros = Duration::from_micros;
        counters.finished("GET", 200, micros(50));
        counters.finished("HEAD", 304, micros(51));
        counters.finished("POST", 404, micros(60_000_000));
        counters.finished("PATCH", 599, micros(60_000_001));
        counters.finished("BREW", 999, micros(0));
        counters.finished("GET", 101, micros(7));
        counters.cut("PUT");
        counters.refused(None);
        counters.refused(Some("OPTIONS"));
        counters.denied("DELETE");
        let counts = counters.snapshot();
        assert_eq!(counts.requests, [2, 1, 1, 1, 1, 1, 1, 2]);
        assert_eq!(counts.answers, [1, 1, 1, 2]);
        assert_eq!((counts.cut, counts.refused, counts.denied, counts.upgrades), (1, 2, 1, 1));
        let ended = counts.answers.iter().sum::<u64>() + counts.cut + counts.refused + counts.denied;
        assert_eq!(counts.total(), ended + counts.upgrades);
        assert_eq!((counts.latency[0], counts.latency[1]), (2, 1));
        assert_eq!((counts.latency[18], counts.latency[19]), (1, 1));
        assert_eq!(counts.latency_us, 120_000_102);
    }

    #[test]
    fn percentiles_are_bounds_of_buckets() {
        let counters = HttpCounters::default();
        assert_eq!(counters.snapshot().latency_below(99), 0);
        for _ in 0..98 {
            counters.finished("GET", 200, Duration::from_micros(80));
        }
        counters.finished("GET", 200, Duration::from_millis(20));
        counters.finished("GET", 200, Duration::from_secs(3600));
        let counts = counters.snapshot();
        let below = |percent| counts.latency_below(percent);
        assert_eq!((below(0), below(50), below(98), below(99)), (100, 100, 100, 25_000));
        assert_eq!(below(100), 60_000_000);
    }
}
