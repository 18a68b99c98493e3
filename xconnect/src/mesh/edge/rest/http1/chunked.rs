//! The chunked transfer coding (RFC 9112 section 7.1), judged and written anew where it lies.

use memchr::memchr;

use super::refusal::Refusal;
use super::trailers::Trailers;

/// Bytes of the longest line that begins a chunk, its extensions included.
const LINE_MAX: usize = 4096;
/// Hexadecimal digits of a chunk's size.
const DIGITS_MAX: usize = 16;

/// Whether the coding goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unwrap {
    /// The reader knows it.
    Keep,
    /// The reader does not (HTTP/1.0): data only.
    Strip,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The line before a chunk.
    Size,
    /// So many bytes of it are to come.
    Data(u64),
    /// The CRLF behind it.
    DataEnd,
    Trailers,
    Done,
}

/// What became of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filtered {
    /// So many have been judged.
    pub consumed: usize,
    /// So many, from the beginning, go on in their place.
    pub produced: usize,
}

/// A chunked body on its way.
#[derive(Debug)]
pub struct Chunked {
    state: State,
    unwrap: Unwrap,
    trailers: Trailers,
    data: u64,
}

impl Chunked {
    /// A body's beginning.
    #[must_use]
    pub fn new(unwrap: Unwrap, trailers: Trailers) -> Self {
        Self { state: State::Size, unwrap, trailers, data: 0 }
    }

    /// Whether all of it has come.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Bytes of data so far, and those that the present chunk announces.
    #[must_use]
    pub fn announced(&self) -> u64 {
        match self.state {
            State::Data(left) => self.data.saturating_add(left),
            _ => self.data,
        }
    }

    /// Judges `bytes`, which follow those consumed before, and writes what goes on to their beginning: never more
    /// than there was, as extensions and leading zeros go and nothing is added.
    ///
    /// # Errors
    /// Something that no sender makes; what `bytes` then hold is not to be used.
    pub fn filter(&mut self, bytes: &mut [u8]) -> Result<Filtered, Refusal> {
        let (mut read, mut written) = (0, 0);
        loop {
            match self.state {
                State::Size => {
                    let Some(line) = self.size_line(&bytes[read..])? else { break };
                    read += line.length;
                    self.state = if line.size == 0 { State::Trailers } else { State::Data(line.size) };
                    if self.unwrap == Unwrap::Keep {
                        written += write_size(line.size, &mut bytes[written..read]);
                    }
                }
                State::Data(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - read);
                    if here == 0 {
                        break;
                    }
                    if read != written {
                        bytes.copy_within(read..read + here, written);
                    }
                    read += here;
                    written += here;
                    self.data = self.data.saturating_add(here as u64);
                    let left = left - here as u64;
                    self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                }
                State::DataEnd => {
                    match &bytes[read..] {
                        [b'\r', b'\n', ..] => {}
                        [] | [b'\r'] => break,
                        _ => return Err(Refusal::bad("a chunk is not as long as it says")),
                    }
                    read += 2;
                    if self.unwrap == Unwrap::Keep {
                        bytes[written..written + 2].copy_from_slice(b"\r\n");
                        written += 2;
                    }
                    self.state = State::Size;
                }
                State::Trailers => {
                    let Some(line) = self.trailers.line(&bytes[read..])? else { break };
                    if line.goes_on && self.unwrap == Unwrap::Keep {
                        bytes.copy_within(read..read + line.length, written);
                        written += line.length;
                    }
                    read += line.length;
                    if line.length == 2 {
                        self.state = State::Done;
                    }
                }
                State::Done => break,
            }
        }
        Ok(Filtered { consumed: read, produced: written })
    }

    fn size_line(&self, bytes: &[u8]) -> Result<Option<SizeLine>, Refusal> {
        let window = &bytes[..bytes.len().min(LINE_MAX)];
        let Some(end) = memchr(b'\n', window) else {
            return if window.len() == LINE_MAX {
                Err(Refusal::bad("a chunk's extensions are too long"))
            } else {
                Ok(None)
            };
        };
        let line = window[..end].strip_suffix(b"\r").ok_or(BAD_SIZE)?;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        if digits == 0 || digits > DIGITS_MAX {
            return Err(BAD_SIZE);
        }
        match &line[digits..] {
            [] => {}
            [b';', extensions @ ..] if super::chars::is_value(extensions) => {}
            _ => return Err(BAD_SIZE),
        }
        let digit = |byte: &u8| char::from(*byte).to_digit(16).map_or(0, u64::from);
        let size = line[..digits].iter().fold(0, |size: u64, byte| size << 4 | digit(byte));
        if size > i64::MAX.cast_unsigned() || self.data.checked_add(size).is_none() {
            return Err(BAD_SIZE);
        }
        Ok(Some(SizeLine { length: end + 1, size }))
    }
}

struct SizeLine {
    /// With its CRLF.
    length: usize,
    size: u64,
}

const BAD_SIZE: Refusal = Refusal::bad("a chunk's size is not a plain hexadecimal number");

/// Writes the line that begins a chunk; how long it is. `into` has room: the line that was read lay there.
fn write_size(size: u64, into: &mut [u8]) -> usize {
    let digits = (64 - size.leading_zeros()).div_ceil(4).max(1) as usize;
    for (index, place) in into[..digits].iter_mut().enumerate() {
        let nibble = (size >> (4 * (digits - 1 - index)) & 0xf) as u8;
        *place = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    }
    into[digits..digits + 2].copy_from_slice(b"\r\n");
    digits + 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Forwarded;

    fn chunked(unwrap: Unwrap) -> Chunked {
        Chunked::new(unwrap, Trailers::new(256, Forwarded::Drop))
    }

    /// The body as it goes on, whole and in pieces of every size; with what is left of the input.
    fn pass(unwrap: Unwrap, body: &[u8]) -> Result<(Vec<u8>, usize, bool), Refusal> {
        let whole = pass_in(unwrap, body, body.len().max(1));
        for size in 1..body.len() {
            assert_eq!(pass_in(unwrap, body, size), whole, "{} in {size}", body.escape_ascii());
        }
        whole
    }

    fn pass_in(unwrap: Unwrap, body: &[u8], size: usize) -> Result<(Vec<u8>, usize, bool), Refusal> {
        let mut filter = chunked(unwrap);
        let (mut out, mut pending) = (Vec::new(), Vec::new());
        for piece in body.chunks(size) {
            pending.extend_from_slice(piece);
            let filtered = filter.filter(&mut pending)?;
            out.extend_from_slice(&pending[..filtered.produced]);
            pending.drain(..filtered.consumed);
        }
        Ok((out, pending.len(), filter.is_done()))
    }

    #[test]
    fn a_plain_body_goes_on_as_it_is() {
        let body = b"5\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n";
        assert_eq!(pass(Unwrap::Keep, body), Ok((body.to_vec(), 0, true)));
        assert_eq!(pass(Unwrap::Strip, body), Ok((b"hello0123456789abcdef".to_vec(), 0, true)));
    }

    #[test]
    fn extensions_zeros_and_capitals_do_not_go_on() {
        let body = b"0005;a=b;c=\"d e\"\r\nhello\r\nA\r\n0123456789\r\n000;x\r\n\r\nGET /";
        let expected = b"5\r\nhello\r\na\r\n0123456789\r\n0\r\n\r\n".to_vec();
        assert_eq!(pass(Unwrap::Keep, body), Ok((expected, 5, true)));
    }

    #[test]
    fn trailers_go_on_but_those_that_must_not() {
        let body =
            b"0\r\nX-Sum: 1\r\nX-PV-Role: admin\r\nx_pv_client: a\r\nContent-Length: 5\r\nEtag:x\r\n\r\n";
        assert_eq!(pass(Unwrap::Keep, body), Ok((b"0\r\nX-Sum: 1\r\nEtag:x\r\n\r\n".to_vec(), 0, true)));
    }

    #[test]
    fn what_no_sender_makes_is_refused() {
        for body in [
            &b"5 \r\nhello\r\n0\r\n\r\n"[..],
            b" 5\r\nhello\r\n",
            b"5\nhello\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"5\r\nhello0\r\n\r\n",
            b"5\r\nhell\r\n0\r\n\r\n",
            b"-1\r\nx\r\n",
            b"0x5\r\nhello\r\n",
            b"+5\r\nhello\r\n",
            b"\r\n",
            b";a\r\n",
            b"g\r\n",
            b"5;a\x00b\r\nhello\r\n",
            b"5;a\rb\r\nhello\r\n",
            b"ffffffffffffffff\r\n",
            b"8000000000000000\r\n",
            b"00000000000000005\r\nhello\r\n",
            b"0\r\n bad: x\r\n\r\n",
            b"0\r\nbad : x\r\n\r\n",
            b"0\r\nA: b\n\r\n",
            b"0\r\nno colon\r\n\r\n",
        ] {
            let result = pass(Unwrap::Keep, body);
            assert!(result.is_err(), "{}: {result:?}", body.escape_ascii());
        }
    }

    #[test]
    fn lines_and_trailers_are_limited() {
        let mut long = b"5;".to_vec();
        long.resize(LINE_MAX + 1, b'a');
        assert!(chunked(Unwrap::Keep).filter(&mut long).is_err());
        let mut many = b"0\r\n".to_vec();
        many.extend(b"A: 01234567\r\n".repeat(30));
        assert_eq!(chunked(Unwrap::Keep).filter(&mut many).unwrap_err().status, 431);
    }

    #[test]
    fn the_announced_length_counts_before_it_comes() {
        let mut filter = chunked(Unwrap::Keep);
        filter.filter(&mut b"5\r\nhello\r\n64\r\nab".to_vec()).unwrap();
        assert_eq!(filter.announced(), 105);
    }
}
