//! Memory for bytes on their way. A connection without any holds none.

use std::cell::RefCell;

/// What heads are read into.
pub(super) const SMALL: usize = 16 * 1024;
/// What a long body goes through.
pub(super) const LARGE: usize = 256 * 1024;
/// Buffers of each size that a thread keeps for the next ones.
const KEPT: (usize, usize) = (64, 4);

#[derive(Default)]
struct Pool {
    small: Vec<Box<[u8]>>,
    large: Vec<Box<[u8]>>,
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

/// Bytes that have been read, and room for more behind them. It takes memory when that is asked for.
#[derive(Default)]
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    fn of(size: usize) -> Self {
        let kept = POOL.with_borrow_mut(|pool| match size {
            SMALL => pool.small.pop(),
            LARGE => pool.large.pop(),
            _ => None,
        });
        Self { bytes: kept.unwrap_or_else(|| vec![0; size].into_boxed_slice()), start: 0, end: 0 }
    }

    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn unread_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    /// The first `count` bytes are done with.
    pub(super) fn consume(&mut self, count: usize) {
        self.start += count;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Takes `count` bytes at `at` out of what is unread.
    pub(super) fn cut_out(&mut self, at: usize, count: usize) {
        if count > 0 {
            let from = self.start + at;
            self.bytes.copy_within(from + count..self.end, from);
            self.end -= count;
        }
    }

    /// Room for more, at least one byte; `None`: it is full.
    pub(super) fn room(&mut self) -> Option<&mut [u8]> {
        if self.bytes.is_empty() {
            *self = Self::of(SMALL);
        }
        if self.end == self.bytes.len() && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let room = &mut self.bytes[self.end..];
        (!room.is_empty()).then_some(room)
    }

    /// So many bytes were read into the room.
    pub(super) fn filled(&mut self, count: usize) {
        self.end += count;
    }

    /// Makes room in a full one, up to `limit` bytes in all. False: that is reached.
    pub(super) fn grow(&mut self, limit: usize) -> bool {
        let size = (self.bytes.len() * 2).min(limit);
        let grows = size > self.bytes.len();
        if grows {
            self.move_to(Self::of(size));
        }
        grows
    }

    /// Goes on with a large one.
    pub(super) fn enlarge(&mut self) {
        if self.bytes.len() < LARGE {
            self.move_to(Self::of(LARGE));
        }
    }

    /// Gives the memory back where there is nothing in it.
    pub(super) fn relax(&mut self) {
        if self.is_empty() && !self.bytes.is_empty() {
            *self = Self::default();
        }
    }

    fn move_to(&mut self, mut other: Self) {
        let length = self.len();
        other.bytes[..length].copy_from_slice(self.unread());
        other.end = length;
        *self = other;
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        // Where the thread ends, its pool may be gone already.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            match bytes.len() {
                SMALL if pool.small.len() < KEPT.0 => pool.small.push(bytes),
                LARGE if pool.large.len() < KEPT.1 => pool.large.push(bytes),
                _ => {}
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(bytes: &[u8]) -> Buffer {
        let mut buffer = Buffer::default();
        buffer.room().unwrap()[..bytes.len()].copy_from_slice(bytes);
        buffer.filled(bytes.len());
        buffer
    }

    #[test]
    fn what_is_unread_stays_through_all() {
        let mut buffer = filled(b"head0123456789");
        buffer.consume(4);
        buffer.cut_out(2, 3);
        assert_eq!(buffer.unread(), b"0156789");
        buffer.enlarge();
        assert_eq!(buffer.unread(), b"0156789");
        buffer.consume(7);
        assert!(buffer.is_empty());
        assert_eq!(buffer.room().unwrap().len(), LARGE);
    }

    #[test]
    fn a_full_one_grows_to_its_limit() {
        let mut buffer = filled(&[7; SMALL]);
        assert!(buffer.room().is_none());
        assert!(buffer.grow(SMALL + 100));
        assert_eq!(buffer.room().unwrap().len(), 100);
        assert!(!buffer.grow(SMALL + 100));
        assert_eq!(buffer.len(), SMALL);
        buffer.consume(10);
        buffer.filled(100);
        assert_eq!(buffer.room().unwrap().len(), 10);
    }
}
