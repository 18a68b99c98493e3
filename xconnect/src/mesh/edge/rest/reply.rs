//! Answers that the mesh gives itself.

use serde_json::{Map, Value, json};

use super::shared::LinkShared;

/// An answer of the mesh's own.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// What is wrong, and what to do about it.
    pub(super) error: String,
    /// The rule that denies it.
    pub(super) rule: Option<String>,
    /// When to try again, in seconds.
    pub(super) retry_after: Option<u32>,
    /// One of the link's times is over.
    pub(super) timed_out: bool,
}

impl Reply {
    pub(super) fn new(status: u16, error: impl Into<String>) -> Self {
        let timed_out = matches!(status, 408 | 504);
        Self { status, error: error.into(), rule: None, retry_after: None, timed_out }
    }

    pub(super) fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// The body: JSON that names the link.
    pub(super) fn body(&self, link: &LinkShared) -> Vec<u8> {
        let mut body = Map::new();
        body.insert("error".to_owned(), json!(self.error));
        let (key, provider) = (&link.key, &link.provider);
        body.insert("link".to_owned(), json!(format!("{}/{}@{provider}", key.consumer, key.service)));
        body.insert("link_id".to_owned(), json!(link.id.to_string()));
        body.insert("role".to_owned(), json!(link.grant.role().as_str()));
        if let Some(rule) = &self.rule {
            body.insert("rule".to_owned(), json!(rule));
        }
        let mut body = Value::Object(body).to_string().into_bytes();
        body.push(b'\n');
        body
    }

    /// Writes all of it. `to_head`: without the body.
    pub(super) fn write(&self, link: &LinkShared, to_head: bool, connection: &str, out: &mut Vec<u8>) {
        let body = self.body(link);
        let (status, reason) = (self.status, reason(self.status));
        let retry = self.retry_after.map(|after| format!("Retry-After: {after}\r\n")).unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             {retry}{connection}\r\n",
            body.len()
        );
        out.extend_from_slice(head.as_bytes());
        if !to_head {
            out.extend_from_slice(&body);
        }
    }
}

/// The reason phrases of the statuses that are given here (RFC 9110 section 15).
fn reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        403 => "Forbidden",
        408 => "Request Timeout",
        413 => "Content Too Large",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
