//! `traceparent` (W3C Trace Context, section 3.2).

/// Where new ids come from. They tell requests apart and keep no secret.
#[derive(Debug, Clone)]
pub struct Seed(u64);

impl Seed {
    /// A beginning that no other process or thread has; `fallback` (a time or an address) where the kernel has no
    /// random bytes yet.
    #[must_use]
    pub fn new(fallback: u64) -> Self {
        let mut bytes = [0; 8];
        let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK);
        Self(if got == Ok(8) { u64::from_ne_bytes(bytes) } else { fallback })
    }

    /// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A value for a request that begins a trace, sampled.
    pub(crate) fn traceparent(&mut self) -> String {
        // All zeroes would be invalid.
        let (high, low, span) = (self.next(), self.next() | 1, self.next() | 1);
        format!("00-{high:016x}{low:016x}-{span:016x}-01")
    }
}

/// Whether a value may go on. Versions to come may be longer.
pub(crate) fn is_valid(value: &[u8]) -> bool {
    let hex = |range: std::ops::Range<usize>| {
        value.get(range).is_some_and(|part| part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
    };
    let zero = |range: std::ops::Range<usize>| value[range].iter().all(|b| *b == b'0');
    let dash = |at: usize| value.get(at) == Some(&b'-');
    hex(0..2)
        && dash(2)
        && hex(3..35)
        && dash(35)
        && hex(36..52)
        && dash(52)
        && hex(53..55)
        && !zero(3..35)
        && !zero(36..52)
        && &value[..2] != b"ff"
        && (value.len() == 55 || (&value[..2] != b"00" && dash(55)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_valid_and_never_the_same() {
        let mut seed = Seed(1);
        let (a, b) = (seed.traceparent(), seed.traceparent());
        assert!(is_valid(a.as_bytes()) && is_valid(b.as_bytes()) && a != b);
        assert_ne!(Seed::new(0).0, Seed::new(0).0);
    }

    #[test]
    fn only_the_form_of_the_standard_is_valid() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(is_valid(good.as_bytes()));
        assert!(is_valid(format!("cc{}-what-ever", &good[2..]).as_bytes()));
        for bad in [
            "",
            &good[..54],
            &format!("{good}-x"),
            &good.to_uppercase(),
            &good.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &good.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &good.replace("00-4", "ff-4"),
            &good.replace('-', "_"),
        ] {
            assert!(!is_valid(bad.as_bytes()), "{bad}");
        }
    }
}
