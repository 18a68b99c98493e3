//! Which bytes may stand where.

/// A character of a token (RFC 9110 section 5.6.2).
const TOKEN: u8 = 1;
/// A token's character that is neither a letter, a digit nor `-`.
const ODD: u8 = 2;
/// A byte of a field's value, spaces included (RFC 9110 section 5.5).
const VALUE: u8 = 4;
/// A byte of a request target: visible ASCII without `#`, which begins what is never sent (RFC 9112 section 3.2).
const TARGET: u8 = 8;

const CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        let mut class = 0;
        if b.is_ascii_alphanumeric() || b == b'-' {
            class |= TOKEN;
        }
        if matches!(
            b,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        ) {
            class |= TOKEN | ODD;
        }
        if b == b'\t' || (b >= b' ' && b != 0x7f) {
            class |= VALUE;
        }
        if b > b' ' && b < 0x7f && b != b'#' {
            class |= TARGET;
        }
        table[byte] = class;
        byte += 1;
    }
    table
}

/// How a name is spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// Letters, digits and `-` only.
    Plain,
    /// A token with other characters in it.
    Odd,
}

/// How many bytes at the beginning are a token's, and how it is spelled.
pub(super) fn token_prefix(bytes: &[u8]) -> (usize, Spelling) {
    let mut odd = 0;
    let mut length = 0;
    for byte in bytes {
        let class = CLASSES[*byte as usize];
        if class & TOKEN == 0 {
            break;
        }
        odd |= class & ODD;
        length += 1;
    }
    (length, if odd == 0 { Spelling::Plain } else { Spelling::Odd })
}

/// Whether all of it is one token.
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, TOKEN)
}

/// Whether a field may have this value.
pub(super) fn is_value(bytes: &[u8]) -> bool {
    all(bytes, VALUE)
}

/// Whether a target may have these bytes.
pub(super) fn is_target(bytes: &[u8]) -> bool {
    all(bytes, TARGET)
}

fn all(bytes: &[u8], class: u8) -> bool {
    // Without an early end: what is refused is rare, and this way four bytes are looked up at a time.
    bytes.iter().fold(class, |seen, byte| seen & CLASSES[*byte as usize]) == class
}

/// The value without the white space around it (RFC 9110 section 5.6.3).
pub(super) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_end_where_something_else_begins() {
        assert_eq!(token_prefix(b"Host: a"), (4, Spelling::Plain));
        assert_eq!(token_prefix(b"x_pv.role:"), (9, Spelling::Odd));
        assert_eq!(token_prefix(b" a"), (0, Spelling::Plain));
        assert!(is_token(b"GET") && !is_token(b"") && !is_token(b"a b"));
    }

    #[test]
    fn values_have_no_controls() {
        assert!(is_value(b"a\tb \xff\x80") && is_value(b""));
        for byte in (0..=0x1f).chain([0x7f]).filter(|byte| *byte != b'\t') {
            assert!(!is_value(&[b'a', byte, b'b']), "{byte:#x}");
        }
    }

    #[test]
    fn targets_are_visible() {
        assert!(is_target(b"/a?b=%20&c=|{}"));
        for byte in [b' ', b'#', b'\t', 0x7f, 0x80, 0] {
            assert!(!is_target(&[b'/', byte]), "{byte:#x}");
        }
    }

    #[test]
    fn white_space_around_is_not_the_value() {
        assert_eq!(trim(b" \t a b\t "), b"a b");
        assert_eq!(trim(b"  "), b"");
    }
}
