//! Finding the end of a head, as its bytes come.

use memchr::memchr;

use super::refusal::Refusal;

/// Where the search for the end of a head has got to. Every byte is looked at once, however slowly they come.
#[derive(Debug, Clone, Copy, Default)]
pub struct HeadScan {
    /// Where the present line begins.
    line: usize,
    /// Up to where there is no line feed after that.
    seen: usize,
    /// An empty line came before the head.
    led: bool,
    /// Its first line has come.
    begun: bool,
}

impl HeadScan {
    /// The end of the head in `bytes`, which begin where the head does and have only grown since the last
    /// call: the index of what follows the empty line. `None`: more is needed.
    ///
    /// # Errors
    /// A line that does not end in CRLF; a first byte that no message begins with.
    pub fn find(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        if self.line == 0 && bytes.first().is_some_and(|first| !first.is_ascii_graphic() && *first != b'\r') {
            return Err(if bytes[0] == b'\n' {
                BARE_LF
            } else {
                Refusal::bad("it does not begin as a message")
            });
        }
        while let Some(at) = memchr(b'\n', &bytes[self.seen..]) {
            let end = self.seen + at;
            if end == 0 || bytes[end - 1] != b'\r' {
                return Err(BARE_LF);
            }
            let empty = end - 1 == self.line;
            self.line = end + 1;
            self.seen = end + 1;
            match (empty, self.begun) {
                (true, true) => return Ok(Some(end + 1)),
                (true, false) if self.led => return Err(Refusal::bad("empty lines come before it")),
                (true, false) => self.led = true,
                (false, _) => self.begun = true,
            }
        }
        self.seen = bytes.len();
        Ok(None)
    }
}

const BARE_LF: Refusal = Refusal::bad("a line does not end in CRLF");

#[cfg(test)]
mod tests {
    use super::*;

    fn find(bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        let whole = HeadScan::default().find(bytes);
        let mut scan = HeadScan::default();
        let mut piecewise = Ok(None);
        for end in 0..=bytes.len() {
            piecewise = scan.find(&bytes[..end]);
            if !matches!(piecewise, Ok(None)) {
                break;
            }
        }
        assert_eq!(whole, piecewise, "{}", bytes.escape_ascii());
        whole
    }

    #[test]
    fn the_end_is_found_however_it_comes() {
        assert_eq!(find(b"GET / HTTP/1.1\r\nA: b\r\n\r\nrest"), Ok(Some(24)));
        assert_eq!(find(b"GET / HTTP/1.1\r\n"), Ok(None));
        assert_eq!(find(b"\r\nGET / HTTP/1.1\r\n\r\n"), Ok(Some(20)));
        assert_eq!(find(b""), Ok(None));
    }

    #[test]
    fn lines_end_in_crlf() {
        assert_eq!(find(b"GET / HTTP/1.1\nA: b\r\n\r\n"), Err(BARE_LF));
        assert_eq!(find(b"GET / HTTP/1.1\r\n\n"), Err(BARE_LF));
        assert_eq!(find(b"\n"), Err(BARE_LF));
        assert!(find(b"\r\n\r\n").is_err());
        assert!(find(b"\x16\x03\x01").is_err());
    }
}
