//! What a provider has seen.

use serde::{Deserialize, Serialize};

use super::reader::Head;
use crate::wait::OrFail;

/// So many bytes of a connection are kept.
pub(super) const RAW_KEPT: usize = 4 << 20;
/// So many bytes of a body are kept.
pub(super) const BODY_KEPT: usize = 1 << 20;

/// A request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Its connection.
    pub connection: u64,
    /// Its place among all requests of the provider.
    pub order: u64,
    /// Its head.
    pub head: Head,
    /// The first bytes of its body, as text with one character a byte.
    pub body: String,
    /// The length of the body so far.
    pub length: u64,
    /// Sizes of its chunks.
    pub chunks: Vec<u64>,
    /// Its trailers.
    pub trailers: Vec<(String, String)>,
    /// The body was read to its end.
    pub complete: bool,
}

impl Seen {
    /// The target's path, without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        let target = self.head.line.split(' ').nth(1).unwrap_or_default();
        target.split('?').next().unwrap_or_default()
    }
}

/// A connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Counted from 1 on by each provider.
    pub id: u64,
    /// `SO_PEERCRED`: user.
    pub uid: u32,
    /// `SO_PEERCRED`: group.
    pub gid: u32,
    /// Every byte that was received (the first ones, where there are very many), one character a byte.
    pub raw: String,
    /// The requests.
    pub requests: Vec<Seen>,
    /// What was wrong with what came.
    pub wrong: Option<String>,
    /// No more comes.
    pub ended: bool,
}

/// The connections of a provider, in their order.
#[derive(Debug, Clone, Default)]
pub struct Records(pub Vec<Connection>);

impl Records {
    /// All requests, in the order in which their heads came.
    pub fn requests(&self) -> impl Iterator<Item = &Seen> {
        let mut all: Vec<_> = self.0.iter().flat_map(|connection| &connection.requests).collect();
        all.sort_by_key(|seen| seen.order);
        all.into_iter()
    }

    /// What is not in older records (of the same provider): of each connection the bytes and requests since.
    #[must_use]
    pub fn since(&self, older: &Self) -> Self {
        let mut all = self.0.clone();
        for (now, before) in all.iter_mut().zip(&older.0) {
            now.raw = now.raw.get(before.raw.len()..).unwrap_or_default().to_owned();
            now.requests.drain(..before.requests.len());
            if now.wrong == before.wrong {
                now.wrong = None;
            }
        }
        Self(all)
    }

    /// True where nothing of a request is missing that can still come.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let settled = |connection: &Connection| {
            !connection.requests.is_empty() && connection.requests.iter().all(|seen| seen.complete)
        };
        self.0.iter().all(|connection| connection.ended || settled(connection))
    }

    /// The only request for this path.
    ///
    /// # Panics
    /// Where there is none or more than one.
    #[track_caller]
    #[must_use]
    pub fn only(&self, path: &str) -> &Seen {
        let all: Vec<_> = self.requests().filter(|seen| seen.path() == path).collect();
        assert_eq!(all.len(), 1, "requests for {path}: {:#?}", self.0);
        all[0]
    }

    /// What was wrong on any of them.
    #[must_use]
    pub fn wrong(&self) -> Vec<String> {
        self.0.iter().filter_map(|connection| connection.wrong.clone()).collect()
    }
}

/// As JSON, a connection a line.
#[track_caller]
#[must_use]
pub fn to_lines(records: &Records) -> String {
    let line = |connection: &Connection| serde_json::to_string(connection).or_fail("a record") + "\n";
    records.0.iter().map(line).collect()
}

/// The reverse.
///
/// # Panics
/// Where a line is something else.
#[track_caller]
#[must_use]
pub fn from_lines(text: &str) -> Records {
    Records(text.lines().map(|line| serde_json::from_str(line).or_fail(line)).collect())
}
