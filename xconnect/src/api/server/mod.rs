//! A small HTTP/1.1 server over a Unix socket: who calls is known, bodies and connections are bounded,
//! answers can be streams of lines. Knows nothing of endpoints.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::{HeaderMap, Method, StatusCode};
use serde::Serialize;

use super::error::ApiError;

mod bind;
mod body;
mod guests;
mod peer;
mod serve;
mod stop;
#[cfg(test)]
mod tests;

pub use bind::{BindError, Bound};
pub use body::Body;
pub use peer::{NamespaceId, Peer};
pub use serve::serve;
pub use stop::{StopHandle, StopSignal, stop_channel};

/// Limits that keep one caller from harming the server.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a body; larger ones are answered with 413.
    pub max_body: usize,
    /// Open connections; guests get half of them.
    pub max_connections: usize,
    /// What a guest may have.
    pub guest: GuestLimits,
    /// How long a request's head may take, and how long a connection may idle.
    pub head_timeout: Duration,
    /// How long a body may take.
    pub body_timeout: Duration,
    /// How long requests under way may take when the server stops.
    pub stop_grace: Duration,
}

/// Limits of callers that are not trusted with the server's time and memory.
#[derive(Debug, Clone, Copy)]
pub struct GuestLimits {
    /// Open connections of all callers under the same name.
    pub max_connections: usize,
    /// Bytes of a body.
    pub max_body: usize,
    /// How long a connection may last, whatever happens on it: a guest that does not read its answers
    /// holds it no longer.
    pub lifetime: Duration,
}

impl Default for GuestLimits {
    fn default() -> Self {
        Self { max_connections: 16, max_body: 4096, lifetime: Duration::from_secs(30) }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body: 1024 * 1024,
            max_connections: 256,
            guest: GuestLimits::default(),
            head_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(10),
            stop_grace: Duration::from_secs(1),
        }
    }
}

/// A request, its body read.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path of the target, still percent-encoded.
    pub path: String,
    /// What follows `?`, without it.
    pub query: Option<String>,
    /// The fields of its head, as they came: whoever connects can write any.
    pub fields: HeaderMap,
    /// The body, empty when there is none.
    pub body: Bytes,
}

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// `Content-Type`; `None` for an empty body.
    pub content_type: Option<&'static str>,
    /// The body.
    pub body: Body,
}

impl Response {
    /// 200 without a body.
    #[must_use]
    pub fn empty() -> Self {
        Self { status: StatusCode::OK, content_type: None, body: Body::empty() }
    }

    /// 200 with text.
    #[must_use]
    pub fn text(content_type: &'static str, text: String) -> Self {
        Self { status: StatusCode::OK, content_type: Some(content_type), body: Body::full(text.into()) }
    }

    /// 200 with JSON.
    #[must_use]
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(json) => Self {
                status: StatusCode::OK,
                content_type: Some("application/json"),
                body: Body::full(json.into()),
            },
            Err(error) => Self::error(&ApiError::Internal(format!("Cannot write the answer: {error}"))),
        }
    }

    /// 200 with a stream of lines: the present one at once, then one on every change. Changes that come
    /// while the caller does not read are merged into one line, the newest.
    #[must_use]
    pub fn lines(content_type: &'static str, lines: tokio::sync::watch::Receiver<Bytes>) -> Self {
        Self { status: StatusCode::OK, content_type: Some(content_type), body: Body::lines(lines) }
    }

    /// An error.
    #[must_use]
    pub fn error(error: &ApiError) -> Self {
        let json = serde_json::to_vec(&error.body()).unwrap_or_default();
        Self { status: error.status(), content_type: Some("application/json"), body: Body::full(json.into()) }
    }
}

/// How far a caller is trusted with the server's resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// It manages this host.
    Operator,
    /// It has the limits of a guest, together with all others under the same name.
    Guest(String),
}

/// What the server asks for every connection and request.
pub trait Handler: Send + Sync + 'static {
    /// How far a caller is trusted. By itself: root is, and every other user is a guest.
    fn trust(&self, peer: &Peer) -> Trust {
        match peer.uid() {
            0 => Trust::Operator,
            uid => Trust::Guest(format!("uid {uid}")),
        }
    }

    /// How far one request is trusted, where an operator's connection carries those of others; asked before
    /// its body is read. A guest's connection ends with its request. By itself: as the connection.
    ///
    /// # Errors
    /// What is answered in place of the request.
    fn trust_request(&self, _peer: &Peer, _fields: &HeaderMap) -> Result<Trust, ApiError> {
        Ok(Trust::Operator)
    }

    /// Answers one request of `peer`.
    fn handle(&self, peer: Arc<Peer>, request: Request) -> impl Future<Output = Response> + Send;
}
