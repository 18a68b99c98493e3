//! How fast links move, from two looks at their counters.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::view::{Key, Link};
use crate::cli::text;

/// What one link has moved.
#[derive(Debug, Clone, Copy)]
struct Moved {
    bytes: u64,
    requests: Option<u64>,
}

impl Moved {
    fn of(link: &Link) -> Option<Self> {
        let counters = link.counters?;
        Some(Self { bytes: counters.bytes, requests: counters.http.map(|http| http.requests) })
    }

    /// Counters that went back (another mesh counts) tell nothing.
    fn since(self, then: Self) -> Option<Self> {
        Some(Self {
            bytes: self.bytes.checked_sub(then.bytes)?,
            requests: match (self.requests, then.requests) {
                (Some(now), Some(then)) => Some(now.checked_sub(then)?),
                _ => None,
            },
        })
    }
}

/// What has moved between the last two looks.
#[derive(Debug, Default)]
pub(super) struct Rates {
    last: Option<(Instant, HashMap<Key, Moved>)>,
    moved: HashMap<Key, Moved>,
    elapsed: Duration,
}

impl Rates {
    /// Takes another look into account.
    pub(super) fn look(&mut self, links: &[Link], at: Instant) {
        let counted: HashMap<Key, Moved> =
            links.iter().filter_map(|link| Some((link.key(), Moved::of(link)?))).collect();
        self.moved.clear();
        if let Some((before, last)) = &self.last {
            self.elapsed = at.duration_since(*before);
            for (key, now) in &counted {
                if let Some(moved) = last.get(key).and_then(|then| now.since(*then)) {
                    self.moved.insert(key.clone(), moved);
                }
            }
        }
        self.last = Some((at, counted));
    }

    /// Bytes per second; nothing where it is not known.
    pub(super) fn bytes(&self, link: &Link) -> String {
        self.of(link).map(|moved| text::rate(moved.bytes, self.elapsed)).unwrap_or_default()
    }

    /// Requests per second; nothing where it is not known.
    pub(super) fn requests(&self, link: &Link) -> String {
        let requests = self.of(link).and_then(|moved| moved.requests);
        requests.map(|count| text::per_second(count, self.elapsed)).unwrap_or_default()
    }

    fn of(&self, link: &Link) -> Option<&Moved> {
        self.moved.get(&link.key())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn look(bytes: u64, requests: Option<u64>) -> Vec<Link> {
        let http = requests.map(|total| json!({"requests": {"total": total}}));
        let counters = json!({"bytes": {"to_provider": bytes, "to_consumer": 0}, "http": http});
        vec![Link::read(
            &json!({"name": "a", "consumer": "c", "provider": "p", "target": "/t", "counters": counters}),
        )]
    }

    fn rates(before: &[Link], after: &[Link]) -> (String, String) {
        let (mut rates, start) = (Rates::default(), Instant::now());
        rates.look(before, start);
        rates.look(after, start + Duration::from_millis(500));
        (rates.bytes(&after[0]), rates.requests(&after[0]))
    }

    #[test]
    fn of_bytes_and_requests() {
        let text = |bytes: &str, requests: &str| (bytes.to_owned(), requests.to_owned());
        assert_eq!(rates(&look(0, None), &look(1024, None)), text("2.0 KiB/s", ""));
        assert_eq!(rates(&look(7, Some(10)), &look(7, Some(11))), text("0 B/s", "2.0"));
        assert_eq!(rates(&look(7, None), &look(7, Some(11))), text("0 B/s", ""));
    }

    #[test]
    fn counters_that_went_back_have_none() {
        let none = (String::new(), String::new());
        assert_eq!(rates(&look(7, None), &look(0, None)), none);
        assert_eq!(rates(&look(7, Some(1)), &look(8, Some(0))), none);
    }
}
