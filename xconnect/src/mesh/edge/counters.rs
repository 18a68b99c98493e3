//! What a link counts.

mod http;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use http::{CLASSES, HttpCounters, HttpCounts, METHODS, REQUEST_BOUNDS_US};

/// Upper bounds of the connect latency's buckets, in microseconds; one more bucket has no bound.
pub const LATENCY_BOUNDS_US: [u64; 10] =
    [50, 100, 250, 500, 1_000, 5_000, 25_000, 100_000, 1_000_000, 10_000_000];

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// The counters of one link, written by the threads that relay it. Each is exact; two read at the
        /// same time may differ by what happened between.
        #[derive(Debug, Default)]
        pub struct LinkCounters {
            $($(#[$doc])* pub $name: AtomicU64,)*
            latency: [AtomicU64; LATENCY_BOUNDS_US.len() + 1],
            // Most links are not rest links, and many are idle: the room is taken by the first use.
            http: OnceLock<Box<HttpCounters>>,
        }

        /// A copy of a link's counters.
        #[derive(Debug, Default, Clone, PartialEq, Eq)]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64,)*
            /// Connections by the time from accepting the consumer to having the provider, one count for
            /// each of [`LATENCY_BOUNDS_US`] and one for above (not cumulative).
            pub latency: [u64; LATENCY_BOUNDS_US.len() + 1],
            /// Requests, of a rest link.
            pub http: Option<Box<HttpCounts>>,
        }

        impl LinkCounters {
            /// A copy of all counters.
            #[must_use]
            pub fn snapshot(&self) -> Counts {
                Counts {
                    $($name: self.$name.load(Ordering::Relaxed),)*
                    latency: std::array::from_fn(|index| self.latency[index].load(Ordering::Relaxed)),
                    http: self.http.get().map(|http| Box::new(http.snapshot())),
                }
            }
        }
    };
}

counts! {
    /// Consumers' connections that are open or held.
    open,
    /// Connections ever accepted, refused ones not counted.
    total,
    /// Connections closed at once because of a limit.
    refused,
    /// Connections that never reached the provider, or were closed because they could not be relayed exactly.
    failed,
    /// Bytes from consumers to the provider.
    bytes_to_provider,
    /// Bytes from the provider to consumers.
    bytes_to_consumer,
    /// Messages (on a stream: reads, or socket buffers in the kernel) from consumers to the provider.
    messages_to_provider,
    /// Messages (on a stream: reads, or socket buffers in the kernel) from the provider to consumers.
    messages_to_consumer,
    /// Of the bytes, those that the kernel forwarded.
    kernel_bytes,
    /// Of the messages, those that the kernel forwarded (socket buffers).
    kernel_messages,
    /// Bytes that the kernel could not forward: we did, or the connection was cut.
    kernel_errors,
    /// Connections on the kernel path that had to be cut, because not all could be kept exactly in order.
    kernel_cut,
    /// Bytes that the send buffers of the connections may hold that are in the kernel.
    kernel_send_buffers,
    /// How often one could not grow: there was no memory left for the link.
    kernel_growth_refused,
    /// Open connections that stay in user space though the link goes through the kernel: because both ends share
    /// a processor (`auto` has picked that),
    stay_picked,
    /// for want of flows,
    stay_flows,
    /// of memory for send buffers,
    stay_send_buffers,
    /// of descriptors,
    stay_descriptors,
    /// or because the kernel would not have them.
    stay_refused,
    /// Directions of connections that lived for longer than 100 ms, and have ended; without those that `auto` has
    /// kept in user space.
    long_flows,
    /// Of these, the ones that the kernel forwarded for.
    long_flows_kernel,
    /// Descriptors passed, both ways.
    fds,
    /// Messages that a policy denied (no unix link has one); a rest link's are counted by [`HttpCounters`].
    denied,
    /// Microseconds that all connections together waited for the provider.
    latency_us,
}

impl LinkCounters {
    /// The counters of requests. Only for rest links: from the first call on the link has them.
    #[must_use]
    pub fn http(&self) -> &HttpCounters {
        self.http.get_or_init(Box::default)
    }

    /// Adds one connection to the histogram.
    pub(crate) fn connected(&self, after: Duration) {
        let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS_US.partition_point(|bound| *bound < micros);
        self.latency[bucket].fetch_add(1, Ordering::Relaxed);
        self.latency_us.fetch_add(micros, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_rest_link_counts_requests() {
        let counters = LinkCounters::default();
        assert_eq!(counters.snapshot().http, None);
        counters.http().denied("GET");
        assert_eq!(counters.snapshot().http.unwrap().denied, 1);
    }

    #[test]
    fn latencies_fall_into_their_buckets() {
        let counters = LinkCounters::default();
        for micros in [0, 50, 51, 20_000_000] {
            counters.connected(Duration::from_micros(micros));
        }
        let counts = counters.snapshot();
        assert_eq!(counts.latency[0], 2);
        assert_eq!(counts.latency[1], 1);
        assert_eq!(counts.latency[10], 1);
        assert_eq!(counts.latency_us, 20_000_101);
    }
}
