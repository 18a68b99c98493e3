//! The framing of an answer's body (RFC 9112, section 6.3), decoded from bytes that arrive in pieces.

use super::error::Error;
use super::head::Head;

/// How the body ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many more bytes.
    Length(u64),
    /// With a chunk of length 0.
    Chunked(Chunk),
    /// With the connection.
    Close,
}

/// Where in a chunked body the next byte is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Chunk {
    /// In the line with a chunk's length.
    Size(Vec<u8>),
    /// In a chunk with so many more bytes.
    Data(u64),
    /// In the line end after a chunk.
    DataEnd,
    /// In a trailer line of this length so far.
    Trailer(usize),
    /// Behind the body.
    End,
}

/// Whether the body has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    More,
    Done,
}

const MAX_LINE: usize = 64 * 1024;
const MALFORMED: Error = Error::Weird("its chunks are malformed");

impl Framing {
    /// The framing that a head announces, for the answer to this method.
    pub(super) fn of(head: &Head, method: &str) -> Result<Self, Error> {
        if method == "HEAD" || matches!(head.status, 100..=199 | 204 | 304) {
            return Ok(Self::Length(0));
        }
        if let Some(coding) = head.values("transfer-encoding").last() {
            let last = coding.rsplit(',').next().unwrap_or_default().trim();
            return Ok(match last.eq_ignore_ascii_case("chunked") {
                true => Self::Chunked(Chunk::Size(Vec::new())),
                false => Self::Close,
            });
        }
        let mut lengths = head.values("content-length").flat_map(|value| value.split(',')).map(str::trim);
        let Some(first) = lengths.next() else { return Ok(Self::Close) };
        let digits = !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit());
        match first.parse() {
            Ok(length) if digits && lengths.all(|other| other == first) => Ok(Self::Length(length)),
            _ => Err(Error::Weird("its Content-Length is malformed")),
        }
    }

    /// Takes bytes and appends the body's part of them to `out`. Bytes behind the end are dropped.
    pub(super) fn feed(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<Progress, Error> {
        match self {
            Self::Close => out.extend_from_slice(input),
            Self::Length(left) => {
                *left -= take(&mut input, *left, out);
            }
            Self::Chunked(chunk) => {
                while !input.is_empty() && *chunk != Chunk::End {
                    chunk.step(&mut input, out)?;
                }
            }
        }
        Ok(self.progress())
    }

    pub(super) fn progress(&self) -> Progress {
        match self {
            Self::Length(0) | Self::Chunked(Chunk::End) => Progress::Done,
            _ => Progress::More,
        }
    }

    /// Judges the end of the connection.
    pub(super) fn closed(&self) -> Result<(), Error> {
        match self {
            Self::Close | Self::Length(0) | Self::Chunked(Chunk::End) => Ok(()),
            Self::Length(left) => Err(Error::Partial(format!("{left} bytes are missing"))),
            Self::Chunked(_) => Err(Error::Partial("its last chunk is missing".to_owned())),
        }
    }
}

impl Chunk {
    fn step(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        if let Self::Data(left) = self {
            *left -= take(input, *left, out);
            if *left == 0 {
                *self = Self::DataEnd;
            }
            return Ok(());
        }
        let Some((&byte, rest)) = input.split_first() else { return Ok(()) };
        *input = rest;
        match self {
            Self::Size(line) if byte == b'\n' => {
                *self = match size(line).ok_or(MALFORMED)? {
                    0 => Self::Trailer(0),
                    size => Self::Data(size),
                };
            }
            Self::Size(line) if line.len() < MAX_LINE => line.push(byte),
            Self::DataEnd if byte == b'\r' => {}
            Self::DataEnd if byte == b'\n' => *self = Self::Size(Vec::new()),
            Self::Trailer(length) => match byte {
                b'\n' if *length == 0 => *self = Self::End,
                b'\n' => *length = 0,
                b'\r' => {}
                _ => *length += 1,
            },
            _ => return Err(MALFORMED),
        }
        Ok(())
    }
}

/// Moves up to `limit` bytes, and says how many.
fn take(input: &mut &[u8], limit: u64, out: &mut Vec<u8>) -> u64 {
    let count = usize::try_from(limit).unwrap_or(usize::MAX).min(input.len());
    out.extend_from_slice(&input[..count]);
    *input = &input[count..];
    count as u64
}

/// The length of a chunk, before extensions.
fn size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|&byte| byte == b';').next()?.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::head::{Parsed, parse};
    use super::*;

    fn framing(fields: &str, method: &str) -> Result<Framing, u8> {
        let Parsed::Done(head) = parse(format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes()) else {
            panic!("bad head")
        };
        Framing::of(&head, method).map_err(|error| error.code())
    }

    #[test]
    fn framings() {
        assert_eq!(framing("Content-Length: 3\r\n", "GET"), Ok(Framing::Length(3)));
        assert_eq!(framing("Content-Length: 3\r\n", "HEAD"), Ok(Framing::Length(0)));
        assert_eq!(framing("Content-Length: 3, 3\r\nContent-Length: 3\r\n", "GET"), Ok(Framing::Length(3)));
        assert_eq!(framing("Content-Length: 3\r\nContent-Length: 4\r\n", "GET"), Err(8));
        assert_eq!(framing("Content-Length: +3\r\n", "GET"), Err(8));
        assert_eq!(framing("", "GET"), Ok(Framing::Close));
        let chunked = framing("Content-Length: 3\r\nTransfer-Encoding: gzip, Chunked\r\n", "GET");
        assert_eq!(chunked, Ok(Framing::Chunked(Chunk::Size(vec![]))));
    }

    fn dechunk(pieces: &[&[u8]]) -> Result<(Vec<u8>, Progress), u8> {
        let mut framing = Framing::Chunked(Chunk::Size(Vec::new()));
        let mut out = Vec::new();
        let mut progress = Progress::More;
        for piece in pieces {
            progress = framing.feed(piece, &mut out).map_err(|error| error.code())?;
        }
        Ok((out, progress))
    }

    #[test]
    fn chunks() {
        let whole = b"3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nbehind";
        let result = Ok((b"abc0123456789".to_vec(), Progress::Done));
        assert_eq!(dechunk(&[whole]), result);
        let bytes: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(dechunk(&bytes), result);
        assert_eq!(dechunk(&[b"3\r\nab"]), Ok((b"ab".to_vec(), Progress::More)));
        for bad in [&b"x\r\n"[..], b"\r\n", b"-1\r\n", b"3\r\nabcd", b"fffffffffffffffff\r\n"] {
            assert_eq!(dechunk(&[bad]), Err(8));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = dechunk(&[&bytes]);
        }

        #[test]
        fn cutting_changes_nothing(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..5),
            cut in 1usize..20,
        ) {
            let mut wire = Vec::new();
            for part in &parts {
                wire.extend(format!("{:x}\r\n", part.len()).bytes());
                wire.extend(part);
                wire.extend(b"\r\n");
            }
            wire.extend(b"0\r\n\r\n");
            let pieces: Vec<&[u8]> = wire.chunks(cut).collect();
            prop_assert_eq!(dechunk(&pieces), Ok((parts.concat(), Progress::Done)));
        }
    }
}
