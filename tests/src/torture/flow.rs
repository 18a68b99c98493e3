//! One direction of a connection: what was written, what came, and what the two ends know of each other.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::checker::{Checker, Found, Tail};
use super::words::{THREADS, WORD};

/// How many words a thread writes, while that is not decided.
const OPEN: u64 = u64::MAX;

/// One direction.
#[derive(Debug)]
pub(crate) struct Flow {
    /// The number of the first sending thread.
    pub(crate) base: u16,
    checker: Mutex<Checker>,
    /// Bytes of writes that have begun, counted before each.
    begun: AtomicU64,
    received: AtomicU64,
    /// Words that each thread has written in all.
    sent: [AtomicU64; THREADS],
    /// Words that each thread will have written; set before its last write.
    totals: [AtomicU64; THREADS],
    done: AtomicBool,
    closed: AtomicBool,
}

impl Flow {
    /// A direction with one sending thread.
    pub(crate) fn new(base: u16) -> Self {
        let flow = Self {
            base,
            checker: Mutex::new(Checker::new(base)),
            begun: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: Default::default(),
            totals: Default::default(),
            done: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        };
        flow.set_threads(1);
        flow
    }

    /// So many threads send; to be said before any does.
    pub(crate) fn set_threads(&self, count: usize) {
        for (index, total) in self.totals.iter().enumerate() {
            total.store(if index < count { OPEN } else { 0 }, Ordering::SeqCst);
        }
    }

    /// A write begins.
    pub(crate) fn begin(&self, bytes: usize) {
        self.begun.fetch_add(bytes as u64, Ordering::SeqCst);
    }

    /// A thread has written so many words more.
    pub(crate) fn wrote(&self, thread: usize, words: u64) {
        self.sent[thread].fetch_add(words, Ordering::SeqCst);
    }

    /// A thread's last write is about to begin.
    pub(crate) fn set_total(&self, thread: usize, words: u64) {
        self.totals[thread].store(words, Ordering::SeqCst);
    }

    /// Words of all threads together, once all have decided.
    pub(crate) fn total(&self) -> Option<u64> {
        let totals = self.totals.each_ref().map(|total| total.load(Ordering::SeqCst));
        totals.iter().all(|total| *total != OPEN).then(|| totals.iter().sum())
    }

    /// The sender has written all that it wants to.
    pub(crate) fn finish_sending(&self) {
        self.done.store(true, Ordering::SeqCst);
    }

    /// Whether the sender has written all that it wants to.
    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Ordering::SeqCst)
    }

    /// The sender's end is closed, or shut down for writing: the end of the stream is on its way.
    pub(crate) fn set_closed(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// True where the reader has a right to expect bytes, or the end.
    pub(crate) fn is_pending(&self) -> bool {
        self.closed.load(Ordering::SeqCst) || self.begun.load(Ordering::SeqCst) > self.received()
    }

    /// Bytes that came.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::SeqCst)
    }

    /// Words that came.
    pub(crate) fn received_words(&self) -> u64 {
        self.received() / WORD as u64
    }

    /// True where less came than was written.
    pub(crate) fn is_short(&self) -> bool {
        self.received() < self.sent_words().iter().sum::<u64>() * WORD as u64
    }

    /// The next bytes came.
    pub(crate) fn feed(&self, bytes: &[u8]) {
        let mut checker = self.checker();
        checker.feed(bytes);
        self.received.store(checker.received(), Ordering::SeqCst);
    }

    fn sent_words(&self) -> [u64; THREADS] {
        self.sent.each_ref().map(|sent| sent.load(Ordering::SeqCst))
    }

    /// The judgement; to be asked for once.
    pub(crate) fn judge(&self, tail: Tail) -> Found {
        self.checker().finish(&self.sent_words(), tail)
    }

    /// The judge.
    pub(crate) fn checker(&self) -> MutexGuard<'_, Checker> {
        self.checker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
