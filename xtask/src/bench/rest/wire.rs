//! As much of HTTP/1.1 as origin and client of the bench need: where a head ends, how its body is framed, and how
//! long that is. They are on our side of every proxy; what they do not expect is an error.

use std::io::{self, Read, Write};

/// Bytes of a chunk, and of a write.
pub(super) const BLOCK: usize = 64 * 1024;

/// How a body is framed. What has no body has one of the length 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// A whole head.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head<'a> {
    /// The request line, or the status line.
    pub(super) line: &'a str,
    /// Of the body that follows.
    pub(super) framing: Framing,
    /// Bytes up to the body.
    pub(super) length: usize,
}

/// The head at the beginning of these bytes; `None`: not all of it is there.
pub(super) fn head(bytes: &[u8]) -> io::Result<Option<Head<'_>>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| wrong("a head that is no text"))?;
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let mut framing = Framing::Length(0);
    for field in lines {
        let (name, value) = field.split_once(':').ok_or_else(|| wrong(field))?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            framing = Framing::Length(value.parse().map_err(|_| wrong(field))?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            framing = Framing::Chunked;
        }
    }
    Ok(Some(Head { line, framing, length: end + 4 }))
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Reads all of a body, of which these bytes are there already, and returns the length of what it carries.
pub(super) fn read_body(
    stream: &mut impl Read,
    framing: Framing,
    already: &[u8],
    buffer: &mut [u8],
) -> io::Result<u64> {
    let mut body = Body::new(framing);
    body.take(already)?;
    while !body.is_over() {
        // No more than the body has: another message may follow it.
        let most = body.most().map_or(buffer.len(), |left| left.min(buffer.len()));
        match stream.read(&mut buffer[..most])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => body.take(&buffer[..count])?,
        }
    }
    Ok(body.carried)
}

/// Writes a body that carries so many bytes.
pub(super) fn write_body(stream: &mut impl Write, framing: Framing, bytes: u64) -> io::Result<()> {
    let line = format!("{BLOCK:x}\r\n");
    let mut block = line.clone().into_bytes();
    block.resize(line.len() + BLOCK, b'x');
    block.extend_from_slice(b"\r\n");
    let plain = &block[line.len()..line.len() + BLOCK];
    let mut left = bytes;
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        match framing {
            Framing::Length(_) => stream.write_all(&plain[..count])?,
            Framing::Chunked if count == BLOCK => stream.write_all(&block)?,
            Framing::Chunked => {
                stream.write_all(format!("{count:x}\r\n").as_bytes())?;
                stream.write_all(&plain[..count])?;
                stream.write_all(b"\r\n")?;
            }
        }
        left -= count as u64;
    }
    if framing == Framing::Chunked {
        stream.write_all(b"0\r\n\r\n")?;
    }
    Ok(())
}

/// The field that announces this framing.
pub(super) fn field(framing: Framing) -> String {
    match framing {
        Framing::Length(length) => format!("Content-Length: {length}"),
        Framing::Chunked => "Transfer-Encoding: chunked".to_owned(),
    }
}

/// A body while it comes in.
#[derive(Debug)]
struct Body {
    at: At,
    /// Bytes that the body has carried, without its framing.
    carried: u64,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// So many bytes, and then nothing.
    Plain(u64),
    /// The rest of a chunk's size.
    Size(u64),
    /// The rest of a chunk's line, which nobody reads.
    Extension(u64),
    /// The end of the line.
    LineEnd(u64),
    /// So many bytes of a chunk.
    Data(u64),
    DataReturn,
    DataEnd,
    LastReturn,
    LastEnd,
    Over,
}

impl Body {
    fn new(framing: Framing) -> Self {
        let at = match framing {
            Framing::Length(0) => At::Over,
            Framing::Length(length) => At::Plain(length),
            Framing::Chunked => At::Size(0),
        };
        Self { at, carried: 0 }
    }

    fn is_over(&self) -> bool {
        self.at == At::Over
    }

    /// The most that may be read without reading beyond the end; `None`: the end is not known.
    fn most(&self) -> Option<usize> {
        match self.at {
            At::Plain(left) => Some(usize::try_from(left).unwrap_or(usize::MAX)),
            _ => None,
        }
    }

    fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let Some((&first, rest)) = bytes.split_first() {
            if let At::Plain(left) | At::Data(left) = self.at {
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                self.carried += count as u64;
                self.at = match (self.at, left - count as u64) {
                    (At::Plain(_), 0) => At::Over,
                    (At::Plain(_), left) => At::Plain(left),
                    (_, 0) => At::DataReturn,
                    (_, left) => At::Data(left),
                };
                bytes = &bytes[count..];
                continue;
            }
            self.at = match (self.at, first) {
                (At::Size(size) | At::Extension(size), b'\r') => At::LineEnd(size),
                (At::Size(size), b';') | (At::Extension(size), _) => At::Extension(size),
                (At::Size(size), digit) => At::Size(with_digit(size, digit)?),
                (At::LineEnd(0), b'\n') => At::LastReturn,
                (At::LineEnd(size), b'\n') => At::Data(size),
                (At::DataReturn, b'\r') => At::DataEnd,
                (At::DataEnd, b'\n') => At::Size(0),
                (At::LastReturn, b'\r') => At::LastEnd,
                (At::LastEnd, b'\n') => At::Over,
                (at, byte) => return Err(wrong(&format!("byte {byte:#x} at {at:?}"))),
            };
            bytes = rest;
        }
        Ok(())
    }
}

fn with_digit(size: u64, digit: u8) -> io::Result<u64> {
    let digit = char::from(digit).to_digit(16).ok_or_else(|| wrong("a chunk's size"))?;
    size.checked_mul(16).map(|size| size + u64::from(digit)).ok_or_else(|| wrong("a chunk's size"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_tells_where_it_ends_and_what_follows() {
        assert_eq!(head(b"GET / HTTP/1.1\r\nHost: a\r\n").unwrap(), None);
        let got = head(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest").unwrap().unwrap();
        assert_eq!(got, Head { line: "GET / HTTP/1.1", framing: Framing::Length(0), length: 27 });
        let framing = |text: &str| head(text.as_bytes()).unwrap().unwrap().framing;
        assert_eq!(framing("HTTP/1.1 200 OK\r\ncontent-LENGTH:7\r\n\r\n"), Framing::Length(7));
        assert_eq!(framing("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), Framing::Chunked);
        head(b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n").unwrap_err();
        head(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n").unwrap_err();
    }

    #[test]
    fn what_is_written_is_read_in_pieces_of_every_size() {
        for framing in [Framing::Chunked, Framing::Length(BLOCK as u64 + 5)] {
            let mut sent = Vec::new();
            write_body(&mut sent, framing, BLOCK as u64 + 5).unwrap();
            for size in [1, 7, 4096, 1 << 20] {
                let (mut stream, mut buffer) = (&sent[..], vec![0; size]);
                let carried = read_body(&mut stream, framing, b"", &mut buffer).unwrap();
                assert_eq!((carried, stream.len()), (BLOCK as u64 + 5, 0));
            }
            let (already, mut rest) = sent.split_at(100);
            assert_eq!(read_body(&mut rest, framing, already, &mut [0; 64]).unwrap(), BLOCK as u64 + 5);
        }
    }

    #[test]
    fn a_body_of_a_length_leaves_what_follows_it() {
        let mut stream = &b"bodyHTTP/1.1"[..];
        assert_eq!(read_body(&mut stream, Framing::Length(4), b"", &mut [0; 64]).unwrap(), 4);
        assert_eq!(stream, b"HTTP/1.1");
    }

    #[test]
    fn chunks_of_others_are_read_and_nonsense_is_not() {
        let read = |text: &[u8]| read_body(&mut &text[..], Framing::Chunked, b"", &mut [0; 3]);
        assert_eq!(read(b"A;x=y\r\n0123456789\r\n2\r\nab\r\n0\r\n\r\n").unwrap(), 12);
        for wrong in [&b"g\r\n"[..], b"1\r\nab", b"1\r\na\r\n0\r\nX", b"11111111111111111\r\n", b"5\r\nab"] {
            read(wrong).unwrap_err();
        }
        read(b"0\r\n\r\nmore").unwrap_err();
    }
}
