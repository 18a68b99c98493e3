//! Numbered words: eight bytes, the sending thread's number above a counter of 48 bits.

/// Bytes of a word.
pub(crate) const WORD: usize = 8;
/// Threads that may send into one stream.
pub(crate) const THREADS: usize = 8;
/// Bits of the counter.
const COUNTER: u32 = 48;

/// The word of this thread with this number.
pub(crate) fn word(thread: u16, number: u64) -> u64 {
    (u64::from(thread) << COUNTER) | number
}

/// A word's thread and number.
pub(crate) fn parts(word: u64) -> (u16, u64) {
    ((word >> COUNTER) as u16, word & ((1 << COUNTER) - 1))
}

/// The words of one thread, in order.
#[derive(Debug)]
pub(crate) struct Source {
    next: u64,
}

impl Source {
    /// From number 0 on.
    pub(crate) fn new(thread: u16) -> Self {
        Self { next: word(thread, 0) }
    }

    /// Fills a buffer of whole words.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.as_chunks_mut::<WORD>().0 {
            *chunk = self.next.to_le_bytes();
            self.next += 1;
        }
    }
}
