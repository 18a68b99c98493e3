//! `Content-Length`.

/// Digits that surely fit into 63 bits: nothing anybody has is longer.
const DIGITS_MAX: usize = 18;

/// The number of bytes that the value says. `None`: it is not written as a sender writes it.
pub(crate) fn read(value: &[u8]) -> Option<u64> {
    let canonical = match value {
        [] => false,
        [b'0'] => true,
        [first, ..] => *first != b'0' && value.len() <= DIGITS_MAX,
    };
    if !canonical || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_way_to_write_a_length() {
        assert_eq!(read(b"0"), Some(0));
        assert_eq!(read(b"999999999999999999"), Some(999_999_999_999_999_999));
        for odd in ["", "00", "05", "+5", "-1", "5,5", "5 5", "0x5", "5.0", "1000000000000000000", "1e3"] {
            assert_eq!(read(odd.as_bytes()), None, "{odd:?}");
        }
    }
}
