//! The requests of one HTTP/2 connection, counted: when it rests, and for how long.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The requests of one connection.
pub(super) struct Streams {
    open: Cell<usize>,
    /// There has been one.
    any: Cell<bool>,
    /// Since when there is none, where there is none.
    since: Cell<Instant>,
}

/// One request, until its answer is over.
pub(super) struct Stream(Rc<Streams>);

impl Streams {
    pub(super) fn new() -> Self {
        Self { open: Cell::new(0), any: Cell::new(false), since: Cell::new(Instant::now()) }
    }

    pub(super) fn open(self: &Rc<Self>) -> Stream {
        self.open.set(self.open.get() + 1);
        self.any.set(true);
        Stream(self.clone())
    }

    /// Waits until there has been no request for too long: `first` for the first one, `between` after that. Zero is no
    /// limit.
    pub(super) async fn idle(&self, first: Duration, between: Option<Duration>) {
        loop {
            let first = Some(first).filter(|_| !self.any.get()).filter(|first| !first.is_zero());
            let Some(limit) = first.or(between).filter(|limit| !limit.is_zero()) else {
                return std::future::pending().await;
            };
            let busy = self.open.get() > 0;
            let since = if busy { Instant::now() } else { self.since.get() };
            if !busy && since + limit <= Instant::now() {
                return;
            }
            sleep_until(since + limit).await;
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let streams = &self.0;
        streams.open.set(streams.open.get() - 1);
        streams.since.set(Instant::now());
    }
}
