//! The trailer section behind a chunked body (RFC 9112 section 7.1.2).

use memchr::memchr;

use super::fields::read_field;
use super::names::{Name, forbidden_in_trailers};
use super::refusal::Refusal;
use crate::graph::Forwarded;

/// The trailers of one body: what may be there, and how much.
#[derive(Debug)]
pub struct Trailers {
    left: usize,
    forwarded: Forwarded,
}

/// One line of them.
pub(super) struct Line {
    /// With its CRLF; 2: the last one.
    pub(super) length: usize,
    pub(super) goes_on: bool,
}

impl Trailers {
    /// Trailers of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize, forwarded: Forwarded) -> Self {
        Self { left: limit, forwarded }
    }

    /// The next line; `None`: more is needed.
    pub(super) fn line(&mut self, bytes: &[u8]) -> Result<Option<Line>, Refusal> {
        let window = &bytes[..bytes.len().min(self.left)];
        let Some(end) = memchr(b'\n', window) else {
            return if window.len() == self.left {
                Err(Refusal::too_large("its trailers are too long"))
            } else {
                Ok(None)
            };
        };
        self.left -= end + 1;
        let line = window[..end].strip_suffix(b"\r").ok_or(Refusal::bad("a line does not end in CRLF"))?;
        if line.is_empty() {
            return Ok(Some(Line { length: 2, goes_on: true }));
        }
        let field = read_field(line, 0)?;
        let kept = field.name == Name::Forwarded && self.forwarded == Forwarded::Keep;
        let goes_on = kept || !forbidden_in_trailers(field.name_in(line), field.name);
        Ok(Some(Line { length: end + 1, goes_on }))
    }
}
