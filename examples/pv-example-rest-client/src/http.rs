//! As much of an HTTP/1.1 client as the checks need; requests are written by hand, also wrong ones.

use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Longer than the mesh holds a connection whose provider is not there.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longest line, and largest body, in bytes.
const LINE_MAX: u64 = 64 << 10;
const BODY_MAX: usize = 1 << 20;

/// One connection, over which any number of requests go.
#[derive(Debug)]
pub(super) struct Connection(BufReader<UnixStream>);

/// An answer, whole.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
    /// True where the other side keeps the connection.
    pub(super) keeps: bool,
    /// From the first piece of the body to its end.
    pub(super) took: Duration,
}

impl Connection {
    /// # Errors
    /// Nobody listens there.
    pub(super) fn open(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends a request as it stands, and waits for its answer.
    ///
    /// # Errors
    /// The connection ended, or what came is no answer.
    pub(super) fn ask(&mut self, request: &str) -> io::Result<Answer> {
        self.0.get_ref().write_all(request.as_bytes())?;
        let first = self.line()?;
        let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| wrong(format_args!("no status line: {first:?}")))?;
        let mut answer = Answer { status, keeps: true, ..Answer::default() };
        let (mut length, mut chunked) = (None, false);
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) =
                line.split_once(':').ok_or_else(|| wrong(format_args!("no field: {line:?}")))?;
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().ok(),
                "transfer-encoding" => chunked = value == "chunked",
                "connection" => answer.keeps = !value.eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
        let body = match (chunked, length) {
            (true, _) => self.chunks(&mut answer.took)?,
            (false, Some(length)) => self.bytes(length)?,
            (false, None) => return Err(wrong(format_args!("an answer ({status}) without a length"))),
        };
        answer.body = String::from_utf8_lossy(&body).into_owned();
        Ok(answer)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.0.by_ref().take(LINE_MAX).read_until(b'\n', &mut line)?;
        let text = line.strip_suffix(b"\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    fn bytes(&mut self, length: usize) -> io::Result<Vec<u8>> {
        if length > BODY_MAX {
            return Err(wrong(format_args!("{length} bytes of body")));
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok(body)
    }

    fn chunks(&mut self, took: &mut Duration) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        let mut first = None;
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(&line, 16);
            let size = size.map_err(|_| wrong(format_args!("no size of a chunk: {line:?}")))?;
            let begin = *first.get_or_insert_with(Instant::now);
            if size > 0 {
                body.extend(self.bytes(size)?);
            }
            let end = self.line()?;
            match (end.is_empty(), size) {
                (false, _) => return Err(wrong(format_args!("no end of a chunk: {end:?}"))),
                (true, 0) => {
                    *took = begin.elapsed();
                    return Ok(body);
                }
                (true, _) if body.len() > BODY_MAX => return Err(wrong(format_args!("a large body"))),
                (true, _) => {}
            }
        }
    }
}

fn wrong(what: std::fmt::Arguments<'_>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}
