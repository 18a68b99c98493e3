//! Pseudo-random numbers that a seed repeats (splitmix64).

/// A source of numbers.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

impl Dice {
    /// Other numbers for each seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A seed of this seed, for a part with this number.
    pub(crate) fn derive(seed: u64, part: u64) -> u64 {
        mix(mix(seed.wrapping_add(STEP)) ^ part.wrapping_mul(STEP))
    }

    /// Another source, for another thread.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// From `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    /// From `low` (not 0) to `high`, both included, each order of magnitude as likely as the others.
    pub(crate) fn log_uniform(&mut self, low: u64, high: u64) -> u64 {
        // 53 bits are what a double holds.
        let unit = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        let value = low as f64 * ((high + 1) as f64 / low as f64).powf(unit);
        (value as u64).clamp(low, high)
    }

    /// True once in `times`.
    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.next().is_multiple_of(times)
    }

    /// Puts a list into an order of chance.
    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            list.swap(last, self.between(0, last as u64) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_to_their_bounds_and_repeat() {
        let mut dice = Dice::new(7);
        let sizes: Vec<_> = (0..10_000).map(|_| dice.log_uniform(1, 32_768)).collect();
        assert!(sizes.iter().all(|size| (1..=32_768).contains(size)));
        // Half of them lie below the geometric mean of the bounds.
        let small = sizes.iter().filter(|size| **size < 181).count();
        assert!((4_000..6_000).contains(&small), "{small}");
        assert_eq!(Dice::new(9).next(), Dice::new(9).next());
        assert_ne!(Dice::derive(1, 2), Dice::derive(2, 1));
    }
}
