//! The head of an answer: status line and fields, parsed from bytes that arrive in pieces.

/// A head longer than this is refused.
pub(super) const MAX_HEAD: usize = 256 * 1024;

/// Status line and fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Head {
    /// `0` of HTTP/1.0, `1` of HTTP/1.1.
    pub(super) minor: u8,
    pub(super) status: u16,
    /// Names as they were sent, values without the space around them.
    pub(super) fields: Vec<(String, String)>,
    /// Its length, the empty line included.
    pub(super) length: usize,
}

/// What the bytes so far amount to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// More is needed.
    Partial,
    Done(Head),
    Bad(&'static str),
}

/// Parses a head at the start of `bytes`; lines end with LF or CR LF.
pub(super) fn parse(bytes: &[u8]) -> Parsed {
    let start = &bytes[..bytes.len().min(5)];
    if start != &b"HTTP/"[..start.len()] {
        return Parsed::Bad("it does not begin with HTTP/");
    }
    let Some(length) = end(bytes) else {
        return if bytes.len() > MAX_HEAD { Parsed::Bad("its head is too long") } else { Parsed::Partial };
    };
    let text = String::from_utf8_lossy(&bytes[..length]);
    let mut lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    let Some((minor, status)) = lines.next().and_then(status_line) else {
        return Parsed::Bad("its status line is malformed");
    };
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        if line.starts_with([' ', '\t']) {
            // An obsolete folded line (RFC 9112, section 5.2).
            let Some((_, value)) = fields.last_mut() else { return Parsed::Bad("a header is malformed") };
            value.push(' ');
            value.push_str(line.trim());
            continue;
        }
        let Some((name, value)) = line.split_once(':') else { return Parsed::Bad("a header has no colon") };
        fields.push((name.to_owned(), value.trim().to_owned()));
    }
    Parsed::Done(Head { minor, status, fields, length })
}

/// Where the head ends, its empty line included.
fn end(bytes: &[u8]) -> Option<usize> {
    let mut line = 0;
    while let Some(at) = bytes[line..].iter().position(|&byte| byte == b'\n') {
        if matches!(&bytes[line..line + at], b"" | b"\r") {
            return Some(line + at + 1);
        }
        line += at + 1;
    }
    None
}

fn status_line(line: &str) -> Option<(u8, u16)> {
    let (minor, rest) = line.strip_prefix("HTTP/1.")?.split_once(' ')?;
    let minor = match minor {
        "0" => 0,
        "1" => 1,
        _ => return None,
    };
    let code = rest.trim_start().split(' ').next()?;
    let status = Some(code).filter(|code| code.len() == 3)?.parse().ok()?;
    (status >= 100).then_some((minor, status))
}

impl Head {
    /// The first value of a field.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.values(name).next()
    }

    /// All values of a field.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = move |field: &&(String, String)| field.0.trim().eq_ignore_ascii_case(name);
        self.fields.iter().filter(named).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn heads() {
        let Parsed::Done(head) = parse(b"HTTP/1.0 404 Not Found\r\nA: b\r\nContent-Type:x\n y\r\n\r\nbody")
        else {
            panic!("not parsed")
        };
        assert_eq!((head.minor, head.status, head.length), (0, 404, 51));
        assert_eq!(head.value("content-type"), Some("x y"));
        assert_eq!(parse(b"HT"), Parsed::Partial);
        assert_eq!(parse(b"HTTP/1.1 200\r\nA: b\r\n"), Parsed::Partial);
        for bad in [
            "hello",
            "HTTP/2 200 OK\n\n",
            "HTTP/1.1 abc\n\n",
            "HTTP/1.1 20\n\n",
            "HTTP/1.1 200 OK\nx\n\n",
            "HTTP/1.1 200\n x\n\n",
        ] {
            assert!(matches!(parse(bad.as_bytes()), Parsed::Bad(_)), "{bad}");
        }
        assert!(matches!(parse(&[b"HTTP/", &[b'x'; MAX_HEAD][..]].concat()), Parsed::Bad(_)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(tail in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&tail);
            let _ = parse(&[b"HTTP/1.1 200 OK\r\n", &tail[..]].concat());
        }
    }
}
