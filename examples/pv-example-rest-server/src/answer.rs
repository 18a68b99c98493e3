//! Writing answers.

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;

use super::Peer;
use super::request::{Field, Request};

#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    kind: &'static str,
    body: String,
}

impl Answer {
    pub(super) fn json(status: u16, body: String) -> Self {
        Self { status, kind: "application/json", body }
    }

    pub(super) fn text(status: u16, body: &str) -> Self {
        Self { status, kind: "text/plain", body: body.to_owned() }
    }

    /// Sends it in one piece; to a HEAD without the body.
    pub(super) fn write(&self, mut stream: &UnixStream, is_head: bool, keeps: bool) -> io::Result<()> {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            _ => "Method Not Allowed",
        };
        let Self { status, kind, body } = self;
        let (length, keeps) = (body.len(), if keeps { "keep-alive" } else { "close" });
        let body = if is_head { "" } else { body };
        let text = format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: {keeps}\r\n\r\n{body}"
        );
        stream.write_all(text.as_bytes())
    }
}

/// All that the server knows of a request, as JSON.
pub(super) fn describe(request: &Request, peer: Peer, number: u64) -> String {
    let list = |fields: &[Field]| {
        let lines = fields.iter().map(|(name, value)| quoted(&format!("{name}: {value}")));
        lines.collect::<Vec<_>>().join(",")
    };
    format!(
        r#"{{"client":{},"role":{},"link_id":{},"uid":{},"gid":{},"request":{number},"fields":[{}],"trailers":[{}],"body":{}}}"#,
        quoted(&request.all("X-PV-Client")),
        quoted(&request.all("X-PV-Role")),
        quoted(&request.all("X-PV-Link-Id")),
        peer.uid,
        peer.gid,
        list(&request.fields),
        list(&request.trailers),
        quoted(&String::from_utf8_lossy(&request.body)),
    )
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}
