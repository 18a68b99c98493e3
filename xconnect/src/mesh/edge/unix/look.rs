//! How often a connection in the kernel is looked at, for what no event tells of: bytes that are stuck, counters,
//! the size of buffers.

use std::time::Duration;

/// The pause while something happens, and after something has happened.
pub(in crate::mesh::edge) const LOOK: Duration = Duration::from_millis(250);
/// The longest pause. What is stuck is seen at the second look after the last byte that moved: within 2 s.
const LONGEST: Duration = Duration::from_millis(1750);

/// The pause before the next look at a connection that has been quiet for so long.
pub(super) fn pause(quiet: Duration) -> Duration {
    (quiet / 2).clamp(LOOK, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quieter_the_longer() {
        let after = |quiet| pause(Duration::from_millis(quiet)).as_millis();
        assert_eq!(
            [0, 250, 500, 1000, 2000, 3500, 1_000_000].map(after),
            [250, 250, 250, 500, 1000, 1750, 1750]
        );
    }

    #[test]
    fn stuck_bytes_are_seen_in_time() {
        // They move right after a look, and are stuck right behind.
        assert!(LONGEST + LOOK <= Duration::from_secs(2));
    }
}
