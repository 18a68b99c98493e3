//! Answers of the mesh's own on HTTP/2.

use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use super::body::Answered;
use crate::mesh::edge::rest::reply::Reply;
use crate::mesh::edge::rest::shared::LinkShared;

/// How a consumer wants to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// By a status and JSON.
    Json,
    /// By gRPC's status in the head (gRPC over HTTP2: Responses, Trailers-Only): its clients take a body for a message.
    Grpc,
}

impl Manner {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        if kind.starts_with(b"application/grpc") { Self::Grpc } else { Self::Json }
    }

    /// An answer of the mesh's own.
    pub(super) fn reply(self, reply: &Reply, link: &LinkShared) -> Response<Answered> {
        match self {
            Self::Json => json(reply, link),
            Self::Grpc => grpc(reply),
        }
    }
}

fn json(reply: &Reply, link: &LinkShared) -> Response<Answered> {
    let mut response = Response::new(Answered::own(reply.body(link)));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(after) = reply.retry_after {
        headers.insert(RETRY_AFTER, after.into());
    }
    response
}

fn grpc(reply: &Reply) -> Response<Answered> {
    let mut response = Response::new(Answered::own(Vec::new()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", grpc_status(reply.status).into());
    if let Ok(message) = HeaderValue::try_from(percent(&reply.error)) {
        headers.insert("grpc-message", message);
    }
    response
}

/// gRPC's status for one of HTTP (google.rpc.Code).
fn grpc_status(status: u16) -> u16 {
    match status {
        403 => 7,
        408 | 504 => 4,
        413 | 431 => 8,
        501 => 12,
        502 | 503 => 14,
        _ => 13,
    }
}

/// Text as `grpc-message` has it: what is not printable ASCII, and `%`, percent-encoded.
fn percent(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_printable() {
        assert_eq!(percent("may not \"GET\" 100%\né"), "may not \"GET\" 100%25%0A%C3%A9");
    }
}
