//! The counters that only rest links have.

use serde::{Deserialize, Serialize};

/// Requests of a rest link, and what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Http {
    /// By method.
    pub requests: Requests,
    /// By their end. With `upgrades` they are as many as the requests that have ended.
    pub answers: Answers,
    /// Requests that have become something else than HTTP (101).
    pub upgrades: u64,
    /// Requests that were sent a second time.
    pub retried: u64,
    /// Requests that ended because a time was over.
    pub timeouts: u64,
    /// How long they took.
    pub latency_us: Latency,
    /// The connections to the provider.
    pub upstream: Upstream,
}

/// Requests by method.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "UPPERCASE")]
pub struct Requests {
    /// Under way.
    #[serde(rename = "open")]
    pub open: u64,
    /// Ended, of all methods.
    #[serde(rename = "total")]
    pub total: u64,
    /// GET.
    pub get: u64,
    /// HEAD.
    pub head: u64,
    /// POST.
    pub post: u64,
    /// PUT.
    pub put: u64,
    /// DELETE.
    pub delete: u64,
    /// PATCH.
    pub patch: u64,
    /// OPTIONS.
    pub options: u64,
    /// All other methods, and requests of which none could be read.
    #[serde(rename = "other")]
    pub other: u64,
}

/// Requests by their end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Answers {
    /// Answered with 2xx.
    #[serde(rename = "2xx")]
    pub ok: u64,
    /// Answered with 3xx.
    #[serde(rename = "3xx")]
    pub redirect: u64,
    /// Answered with 4xx.
    #[serde(rename = "4xx")]
    pub client_error: u64,
    /// Answered with 5xx.
    #[serde(rename = "5xx")]
    pub server_error: u64,
    /// The answer broke off, or never came.
    pub cut: u64,
    /// Refused by the mesh before anything reached the provider.
    pub refused: u64,
    /// Allowed by no rule of the role.
    pub denied: u64,
}

/// How long answered requests took, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// All together.
    pub sum: u64,
    /// Half took at most so long, as the bound of a bucket of the histogram.
    pub p50: u64,
    /// 90 % did.
    pub p90: u64,
    /// 99 % did.
    pub p99: u64,
}

/// Connections to the provider.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Upstream {
    /// Opened.
    pub opened: u64,
    /// Requests that used one that was open already.
    pub reused: u64,
    /// Open, and waiting for a request.
    pub idle: u64,
}
