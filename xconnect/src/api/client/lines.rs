//! A stream of lines as the body of an answer that does not end.

use std::path::PathBuf;

use http_body_util::BodyExt as _;
use hyper::Method;

use super::{Asked, Error, Exchange};

/// Lines of a running answer.
pub struct Lines {
    exchange: Exchange,
    target: String,
    limit: usize,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that hold no newline.
    searched: usize,
}

impl Lines {
    pub(super) fn new(exchange: Exchange, target: String, limit: usize) -> Self {
        Self { exchange, target, limit, buffer: Vec::new(), searched: 0 }
    }

    /// The socket that answers.
    #[must_use]
    pub fn socket(&self) -> &PathBuf {
        &self.exchange.socket
    }

    /// The `Content-Type` of the answer, empty where there is none.
    #[must_use]
    pub fn content_type(&self) -> &str {
        let value = self.exchange.response.headers().get(hyper::header::CONTENT_TYPE);
        value.and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The next line without its newline; `None` when the server has ended the stream. A last line without
    /// a newline counts. Cancel-safe.
    ///
    /// # Errors
    /// When the connection breaks, or a line exceeds the bound.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            if let Some(at) = self.buffer[self.searched..].iter().position(|&byte| byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=self.searched + at).collect();
                line.pop();
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            let asked = Asked { socket: &self.exchange.socket, method: &Method::GET, target: &self.target };
            if self.buffer.len() > self.limit {
                return Err(asked.too_large(self.limit));
            }
            match self.exchange.response.body_mut().frame().await {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
                Some(Err(source)) => return Err(asked.broken(source)),
                None if self.buffer.is_empty() => return Ok(None),
                None => {
                    self.searched = 0;
                    return Ok(Some(std::mem::take(&mut self.buffer)));
                }
            }
        }
    }
}
