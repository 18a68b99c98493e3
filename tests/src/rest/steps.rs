//! What a provider does for a request, step by step.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::reader::latin1;

/// One step. Bytes are [`latin1`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Reads the body to its end.
    Body,
    /// Reads so many bytes of the connection, framing or not, at least one.
    Some(usize),
    /// Sends bytes.
    Send(String),
    /// Sends so many bytes of [`crate::payload::bytes`] of this seed, again and again the same 64 KiB.
    Generate(u64, u64),
    /// Sends the same as chunks of 64 KiB at most, without a last one.
    GenerateChunked(u64, u64),
    /// Answers 200 with who the provider saw: connection, user, the fields of identity, target.
    Report,
    /// Sends the body back as it comes, framed as it came.
    Echo,
    /// Sends back all that comes, without looking at it, to its end, and ends its side then.
    Relay,
    /// Waits until the test opens this gate.
    Gate(String),
    /// Waits so many milliseconds.
    Wait(u64),
    /// Waits until the other side is gone.
    Hang,
    /// Ends the sending side.
    Shutdown,
    /// Closes the connection.
    Close,
}

/// What is done for which path (without the query); for all others [`Step::Report`].
pub type Plan = BTreeMap<String, Vec<Step>>;

/// Reads the body, then sends these bytes.
#[must_use]
pub fn answer(bytes: impl AsRef<[u8]>) -> Vec<Step> {
    vec![Step::Body, Step::Send(latin1(bytes.as_ref()))]
}

/// Reads the body, then answers with a body of known length; `fields` are whole lines with CRLF.
#[must_use]
pub fn fixed(status: &str, fields: &str, body: &str) -> Vec<Step> {
    answer(format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len()))
}

/// Reads the body, then answers 200 with these chunks and trailers (whole lines with CRLF).
#[must_use]
pub fn chunked(chunks: &[&str], trailers: &str) -> Vec<Step> {
    let mut text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    for chunk in chunks {
        text += &format!("{:x}\r\n{chunk}\r\n", chunk.len());
    }
    answer(text + "0\r\n" + trailers + "\r\n")
}

/// Reads the body, then answers 200 with so many bytes of this seed.
#[must_use]
pub fn generated(seed: u64, length: u64) -> Vec<Step> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    vec![Step::Body, Step::Send(head), Step::Generate(seed, length)]
}
