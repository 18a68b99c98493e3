//! A small HTTP/1.1 client over Unix sockets, which also says what no proper client would.

use std::path::Path;

use serde_json::Value;

use crate::socket::{Kind, Socket};
use crate::wait::OrFail;

/// A response.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The header lines, in lower case.
    pub head: String,
    /// The body, chunks put together.
    pub body: String,
}

impl Response {
    /// The body as JSON.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).or_fail(format_args!("JSON of {self:?}"))
    }

    /// The `Error` of the body.
    #[track_caller]
    #[must_use]
    pub fn error(&self) -> String {
        self.json()["Error"].as_str().or_fail(format_args!("no Error in {self:?}")).to_owned()
    }
}

/// One request, one response.
///
/// # Errors
/// Where there is no connection, or no response comes.
#[track_caller]
pub fn request(socket: &Path, method: &str, path: &str, body: &[u8]) -> Result<Response, String> {
    let connection = Socket::connect(Kind::Stream, socket).map_err(|e| format!("connect: {e}"))?;
    over(&connection, method, path, body)
}

/// One request over a connection that is there.
///
/// # Errors
/// Where no response comes.
pub fn over(connection: &Socket, method: &str, path: &str, body: &[u8]) -> Result<Response, String> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    if !body.is_empty() || method == "PUT" || method == "POST" {
        request += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    }
    request += "\r\n";
    raw(connection, &[request.as_bytes(), body].concat())
}

/// Sends bytes, whatever they mean, and reads what comes back until the end or a whole response. A
/// server may answer and close before it has read all of a body.
///
/// # Errors
/// Where no response comes.
pub fn raw(connection: &Socket, bytes: &[u8]) -> Result<Response, String> {
    let writer = connection.dup();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut rest = bytes;
            while !rest.is_empty() {
                let Ok(sent) = writer.try_send(rest, &[]) else { return };
                rest = &rest[sent..];
            }
        });
        let mut got = Vec::new();
        loop {
            match connection.try_recv(65536) {
                Ok(part) if part.bytes.is_empty() => break,
                Ok(part) => got.extend(part.bytes),
                // A reset after the response, as the body was not read to its end.
                Err(_) if !got.is_empty() => break,
                Err(error) => return Err(format!("receive: {error}")),
            }
        }
        // Frees the writer where the server closed without reading on.
        let _ = rustix::net::shutdown(connection, rustix::net::Shutdown::Both);
        parse(&got)
    })
}

fn parse(bytes: &[u8]) -> Result<Response, String> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| format!("no response: {text:?}"))?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| format!("no status: {head:?}"))?;
    let head = head.to_lowercase();
    let body = if head.contains("transfer-encoding: chunked") { unchunk(body)? } else { body.to_owned() };
    Ok(Response { status, head, body })
}

fn unchunk(mut rest: &str) -> Result<String, String> {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n").ok_or("a chunk without size")?;
        let size = usize::from_str_radix(size.trim(), 16).map_err(|e| format!("size {size:?}: {e}"))?;
        if size == 0 {
            return Ok(body);
        }
        body += after.get(..size).ok_or("a short chunk")?;
        rest = after.get(size + 2..).ok_or("a chunk without end")?;
    }
}
