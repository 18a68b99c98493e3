//! What came of the connections of one scenario.

use std::ops::AddAssign;

use serde::Serialize;

use super::checker::Tail;
use super::conn::{Conn, Cuts, End, Trouble};

/// Sums over connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Connections.
    pub connections: u64,
    /// Bytes that arrived.
    pub bytes: u64,
    /// Words that never came.
    pub lost: u64,
    /// Words that came again.
    pub duplicated: u64,
    /// Words that came late.
    pub reordered: u64,
    /// Words that nobody sent.
    pub alien: u64,
    /// Connections where something was not delivered in time.
    pub stalled: u64,
    /// Connections with an error that should not be.
    pub errors: u64,
    /// Connections that ended before their sender was done.
    pub cut: u64,
}

impl AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        self.connections += other.connections;
        self.bytes += other.bytes;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.alien += other.alien;
        self.stalled += other.stalled;
        self.errors += other.errors;
        self.cut += other.cut;
    }
}

impl Stats {
    /// Wrong words and connections; cut ones are judged apart.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.lost + self.duplicated + self.reordered + self.alien + self.stalled + self.errors
    }
}

/// A connection's sum, and where something is wrong, what.
pub(crate) fn settle(conn: &Conn) -> (Stats, Option<String>) {
    let mut stats = Stats { connections: 1, ..Stats::default() };
    let mut texts = Vec::new();
    let mut may_be = false;
    match conn.trouble() {
        None => {}
        Some(Trouble::Cut(text)) => {
            stats.cut = 1;
            may_be = conn.cuts == Cuts::Allowed;
            texts.push(format!("cut: {text}"));
        }
        Some(Trouble::Stalled(text)) => {
            stats.stalled = 1;
            texts.push(format!("stalled: {text}"));
        }
        Some(Trouble::Truncated(_)) => {}
        Some(Trouble::Error(text)) => {
            stats.errors = 1;
            texts.push(text.clone());
        }
    }
    for sender in [End::Consumer, End::Provider] {
        let flow = conn.flow(sender);
        let tail = match conn.trouble() {
            Some(Trouble::Truncated(end)) if *end == sender => Tail::Wanted,
            None if !conn.is_killed() => Tail::Wanted,
            _ => Tail::Open,
        };
        let found = flow.judge(tail);
        stats.bytes += flow.received();
        stats.lost += found.lost;
        stats.duplicated += found.duplicated;
        stats.reordered += found.reordered;
        stats.alien += found.alien;
        if let Some(first) = flow.checker().first() {
            let (way, at, what) = (sender.direction(), first.position, &first.what);
            texts.push(format!("{way}, at byte {at}: {what}; in all {found:?}"));
        }
    }
    let wrong = stats.faults() > 0 || (stats.cut > 0 && !may_be);
    (stats, wrong.then(|| texts.join("; ")))
}
