//! HTTP/1 as its grammar says and no more: what both ends of a test read with. It shares nothing with the
//! programs, so that one mistake is not made on both sides.

use std::io;

use serde::{Deserialize, Serialize};

use crate::socket::Socket;

/// Bytes as text, one character a byte: nothing is lost, and text compares and prints.
#[must_use]
pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// The reverse of [`latin1`].
#[must_use]
pub fn to_bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
}

/// Why there is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The connection ended between two messages.
    End,
    /// It ended within one.
    Cut,
    /// Nothing came in time.
    Silent,
    /// What came is no proper HTTP/1.
    Wrong(String),
}

fn wrong<T>(why: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble::Wrong(why.into()))
}

/// A start line with its fields, as [`latin1`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Request line or status line.
    pub line: String,
    /// Names as they were written, values without space around.
    pub fields: Vec<(String, String)>,
}

impl Head {
    /// All values of a field.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        let name = name.to_owned();
        let same = move |field: &&(String, String)| field.0.eq_ignore_ascii_case(&name);
        self.fields.iter().filter(same).map(|(_, value)| value.as_str())
    }

    /// The value of a field that is there once.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut all = self.all(name);
        all.next().filter(|_| all.next().is_none())
    }

    /// How the body is framed.
    ///
    /// # Errors
    /// Where that is not beyond doubt.
    pub fn framing(&self) -> Result<Framing, Trouble> {
        let lengths: Vec<_> = self.all("content-length").collect();
        let codings: Vec<_> = self.all("transfer-encoding").collect();
        match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => Ok(Framing::None),
            ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
            ([length], []) if !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()) => {
                length.parse().map_or_else(|_| wrong("a length beyond numbers"), |n| Ok(Framing::Length(n)))
            }
            _ => wrong(format!("framing by {lengths:?} and {codings:?}")),
        }
    }
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// The head says nothing.
    None,
    /// After so many bytes.
    Length(u64),
    /// After the last chunk.
    Chunked,
}

/// A part of a chunked body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A chunk.
    Chunk(Vec<u8>),
    /// The end, with its trailers.
    Last(Vec<(String, String)>),
}

/// Sees every byte that comes.
pub type Tap = Box<dyn FnMut(&[u8]) + Send>;

/// Reads one side of a connection.
pub struct Reader {
    socket: Socket,
    buffer: Vec<u8>,
    tap: Tap,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Reader {
    /// Reads from this socket; `tap` sees every byte that comes.
    #[must_use]
    pub fn new(socket: Socket, tap: Tap) -> Self {
        Self { socket, buffer: Vec::new(), tap }
    }

    /// What it reads from.
    #[must_use]
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// What was read ahead.
    #[must_use]
    pub fn take_buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    /// Reads more; false at the end.
    ///
    /// # Errors
    /// [`Trouble::Silent`] or [`Trouble::Cut`].
    pub fn fill(&mut self) -> Result<bool, Trouble> {
        match self.socket.try_recv(65536) {
            Ok(message) => {
                (self.tap)(&message.bytes);
                self.buffer.extend(&message.bytes);
                Ok(!message.bytes.is_empty())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Trouble::Silent),
            Err(_) => Err(Trouble::Cut),
        }
    }

    /// Takes what is there, at least a byte; nothing at the end.
    ///
    /// # Errors
    /// [`Trouble::Silent`] or [`Trouble::Cut`].
    pub fn some(&mut self, most: usize) -> Result<Vec<u8>, Trouble> {
        if self.buffer.is_empty() {
            self.fill()?;
        }
        let most = most.min(self.buffer.len());
        Ok(self.buffer.drain(..most).collect())
    }

    /// Takes so many bytes.
    ///
    /// # Errors
    /// Where they do not come.
    pub fn exact(&mut self, length: usize) -> Result<Vec<u8>, Trouble> {
        while self.buffer.len() < length {
            if !self.fill()? {
                return Err(Trouble::Cut);
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }

    /// A line without its CRLF.
    fn line(&mut self) -> Result<String, Trouble> {
        let mut seen = 0;
        loop {
            if let Some(at) = self.buffer[seen..].iter().position(|b| *b == b'\n').map(|at| at + seen) {
                let line: Vec<u8> = self.buffer.drain(..=at).collect();
                let Some(text) = line.strip_suffix(b"\r\n") else {
                    return wrong(format!("a line that ends in LF alone: {:?}", latin1(&line)));
                };
                if text.iter().any(|b| *b == 0x7f || (*b < 0x20 && *b != b'\t')) {
                    return wrong(format!("a control character in {:?}", latin1(&line)));
                }
                return Ok(latin1(text));
            }
            seen = self.buffer.len();
            if !self.fill()? {
                return Err(Trouble::Cut);
            }
        }
    }

    /// The next head.
    ///
    /// # Errors
    /// [`Trouble::End`] where the connection ends instead.
    pub fn head(&mut self) -> Result<Head, Trouble> {
        if self.buffer.is_empty() && !self.fill()? {
            return Err(Trouble::End);
        }
        let line = self.line()?;
        if line.is_empty() {
            return wrong("an empty line instead of a head");
        }
        Ok(Head { line, fields: self.fields()? })
    }

    fn fields(&mut self) -> Result<Vec<(String, String)>, Trouble> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let Some((name, value)) = line.split_once(':') else {
                return wrong(format!("a field without colon: {line:?}"));
            };
            if name.is_empty() || !name.bytes().all(is_token) {
                return wrong(format!("a field's name: {line:?}"));
            }
            fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
        }
    }

    /// The next part of a chunked body.
    ///
    /// # Errors
    /// Where it is not what it should be.
    pub fn part(&mut self) -> Result<Part, Trouble> {
        let line = self.line()?;
        let digits = line.split(';').next().unwrap_or_default();
        if digits.is_empty() || digits.len() > 16 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return wrong(format!("the size of a chunk: {line:?}"));
        }
        let Ok(size) = usize::from_str_radix(digits, 16) else {
            return wrong(format!("the size of a chunk: {line:?}"));
        };
        if size == 0 {
            return Ok(Part::Last(self.fields()?));
        }
        let chunk = self.exact(size)?;
        match self.exact(2)?.as_slice() {
            b"\r\n" => Ok(Part::Chunk(chunk)),
            other => wrong(format!("{:?} after a chunk", latin1(other))),
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
