//! A short queue of buffers in one word, so that a state is small and cheap to compare.

/// The fence's marker among the buffers.
pub(crate) const MARKER: u8 = 14;

/// Up to 16 buffers, each a number below 15; the oldest in the lowest four bits, each stored plus one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Queue(u64);

impl Queue {
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn len(self) -> u8 {
        (16 - self.0.leading_zeros() / 4) as u8
    }

    pub(crate) fn push(&mut self, buffer: u8) {
        let len = self.len();
        assert!(buffer < 15 && len < 16, "a scenario is too large for the model");
        self.0 |= u64::from(buffer + 1) << (4 * len);
    }

    pub(crate) fn pop(&mut self) -> Option<u8> {
        let oldest = (self.0 & 15) as u8;
        self.0 >>= 4;
        oldest.checked_sub(1)
    }

    /// Buffers without markers.
    pub(crate) fn data(mut self) -> u8 {
        let mut count = 0;
        while let Some(buffer) = self.pop() {
            count += u8::from(buffer != MARKER);
        }
        count
    }
}
