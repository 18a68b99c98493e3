//! Memory that all connections of a worker share.

use std::ops::{Deref, DerefMut};

/// Bytes that a worker reads at most in one go, and the most that a connection holds back each way on a
/// stream.
pub(super) const BUFFER: usize = 256 * 1024;
/// Buffers kept for connections that hold something back.
const SPARE_BUFFERS: usize = 4;
/// Where a buffer begins: the kernel's copies from and to a page's begin are the fastest.
const ALIGNMENT: usize = 4096;

/// How the begin of a socket buffer with descriptors is found (see `probe`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mesh::edge) enum FdSearch {
    /// By a peek that stops at the boundary of a socket buffer.
    Boundary,
    /// By reading byte after byte once a peek has seen a descriptor.
    Step,
    /// By reading byte after byte always: no peek tells.
    Blind,
}

/// Only what a sink does not take is copied away.
pub(in crate::mesh::edge) struct Scratch {
    pub(super) buffer: Aligned,
    spare: Vec<Vec<u8>>,
    pub(super) search: FdSearch,
}

impl Scratch {
    pub(in crate::mesh::edge) fn new(search: FdSearch) -> Self {
        Self { buffer: Aligned::new(BUFFER), spare: Vec::new(), search }
    }

    /// Has room for a message of so many bytes, and gives back what a large one before it needed. Only
    /// before a read: what was read is gone.
    pub(in crate::mesh::edge) fn fit(&mut self, message: usize) {
        let wanted = message.max(BUFFER);
        if wanted > self.buffer.len() || wanted == BUFFER && self.buffer.len() > BUFFER {
            self.buffer = Aligned::new(wanted);
        }
    }

    /// What is held back.
    pub(super) fn copy_of(&mut self, start: usize, end: usize) -> Vec<u8> {
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(&self.buffer[start..end]);
        copy
    }

    /// Takes a buffer back for the next that needs one.
    pub(super) fn recycle(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() <= BUFFER && self.spare.len() < SPARE_BUFFERS {
            self.spare.push(buffer);
        }
    }
}

/// Bytes that begin at a page. They are resident only once they were used.
pub(super) struct Aligned {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    fn new(len: usize) -> Self {
        let memory = vec![0; len + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { memory, start, len }
    }
}

impl Deref for Aligned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_get_room_and_give_it_back() {
        let mut scratch = Scratch::new(FdSearch::Boundary);
        for (message, len) in [(1, BUFFER), (BUFFER + 1, BUFFER + 1), (BUFFER + 1, BUFFER + 1), (0, BUFFER)] {
            scratch.fit(message);
            assert_eq!(scratch.buffer.len(), len);
            assert_eq!(scratch.buffer.as_ptr().addr() % ALIGNMENT, 0);
        }
    }

    #[test]
    fn few_buffers_are_kept_and_only_usual_ones() {
        let mut scratch = Scratch::new(FdSearch::Boundary);
        scratch.recycle(Vec::with_capacity(2 * BUFFER));
        assert!(scratch.spare.is_empty());
        for _ in 0..2 * SPARE_BUFFERS {
            scratch.recycle(Vec::with_capacity(BUFFER));
        }
        assert_eq!(scratch.spare.len(), SPARE_BUFFERS);
        scratch.buffer[..3].copy_from_slice(b"abc");
        assert_eq!(scratch.copy_of(1, 3), b"bc");
    }
}
