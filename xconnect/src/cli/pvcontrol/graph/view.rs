//! A link as the tables need it; every field but the names may be missing.

use serde_json::Value;

use crate::cli::pvcontrol::field::{count, string, text};
use crate::cli::table::Tint;

/// Consumer, service, target.
pub(super) type Key = (String, String, String);

#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) kind: String,
    pub(super) service: String,
    pub(super) consumer: String,
    pub(super) consumer_pid: String,
    pub(super) provider: String,
    pub(super) provider_pid: String,
    pub(super) role: String,
    pub(super) target: String,
    pub(super) socket: String,
    pub(super) status: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) path: String,
    pub(super) path_reason: Option<String>,
    pub(super) since: String,
    pub(super) counters: Option<Counters>,
}

/// What has moved over a link.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counters {
    pub(super) open: u64,
    pub(super) total: u64,
    pub(super) refused: u64,
    pub(super) failed: u64,
    pub(super) bytes: u64,
    pub(super) messages: u64,
    pub(super) kernel: u64,
    pub(super) user: u64,
    /// Bytes that the kernel could not forward.
    pub(super) errors: u64,
    /// Connections that had to be cut on the kernel path.
    pub(super) cut: u64,
    pub(super) fds: u64,
    pub(super) denied: u64,
    /// Of rest links.
    pub(super) http: Option<Http>,
}

/// The requests of a rest link.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Http {
    /// That have ended.
    pub(super) requests: u64,
    /// Answered with 5xx, cut, or refused by the mesh.
    pub(super) errors: u64,
    /// 99 % took at most so many microseconds; 0: none was answered.
    pub(super) p99: u64,
}

impl Link {
    pub(super) fn read(entry: &Value) -> Self {
        Self {
            kind: text(entry, "type"),
            service: text(entry, "name"),
            consumer: text(entry, "consumer"),
            consumer_pid: text(entry, "consumer_pid"),
            provider: text(entry, "provider"),
            provider_pid: text(entry, "provider_pid"),
            role: text(entry, "role"),
            target: text(entry, "target"),
            socket: text(entry, "socket"),
            status: string(entry, "status"),
            reason: string(entry, "reason"),
            path: text(entry, "path"),
            path_reason: string(entry, "path_reason"),
            since: text(entry, "since"),
            counters: entry.get("counters").filter(|counters| counters.is_object()).map(Counters::read),
        }
    }

    pub(super) fn key(&self) -> Key {
        (self.consumer.clone(), self.service.clone(), self.target.clone())
    }

    /// True where a second look can tell a rate: requests can come and go between two looks.
    pub(super) fn moves(&self) -> bool {
        let requests = |http: Http| http.requests > 0;
        self.counters.is_some_and(|counters| counters.open > 0 || counters.http.is_some_and(requests))
    }

    /// True for a rest link of which the requests are counted.
    pub(super) fn has_requests(&self) -> bool {
        self.counters.is_some_and(|counters| counters.http.is_some())
    }

    pub(super) fn is_up(&self) -> bool {
        self.status.as_deref() == Some("up")
    }

    /// Why the mesh moves the bytes where the kernel was asked to, by a link that is up, or of which connections.
    pub(super) fn not_in_kernel(&self) -> Option<&str> {
        self.path_reason.as_deref().filter(|_| self.is_up())
    }

    pub(super) fn tint(&self) -> Tint {
        match self.status.as_deref() {
            Some("up") => Tint::Good,
            Some("failed") => Tint::Bad,
            Some("draining" | "gone") | None => Tint::Faint,
            Some(_) => Tint::Busy,
        }
    }
}

impl Counters {
    fn read(counters: &Value) -> Self {
        let pair = |key| {
            count(counters, &[key, "to_provider"]).saturating_add(count(counters, &[key, "to_consumer"]))
        };
        Self {
            open: count(counters, &["connections", "open"]),
            total: count(counters, &["connections", "total"]),
            refused: count(counters, &["connections", "refused"]),
            failed: count(counters, &["connections", "failed"]),
            bytes: pair("bytes"),
            messages: pair("messages"),
            kernel: count(counters, &["kernel", "bytes"]),
            user: count(counters, &["user", "bytes"]),
            errors: count(counters, &["kernel", "errors"]),
            cut: count(counters, &["kernel", "cut"]),
            fds: count(counters, &["fds"]),
            denied: count(counters, &["denied"]),
            http: counters.get("http").filter(|http| http.is_object()).map(Http::read),
        }
    }
}

impl Http {
    fn read(http: &Value) -> Self {
        let errors = ["5xx", "cut", "refused"].map(|end| count(http, &["answers", end]));
        Self {
            requests: count(http, &["requests", "total"]),
            errors: errors.into_iter().fold(0, u64::saturating_add),
            p99: count(http, &["latency_us", "p99"]),
        }
    }
}
