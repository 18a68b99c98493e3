//! What tests send: bytes that cannot be mistaken for each other, and files to pass descriptors of.

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd};

use crate::sandbox::Sandbox;
use crate::socket::Socket;
use crate::wait::OrFail;

/// Pseudo-random bytes (xorshift64); each seed has its own.
#[must_use]
pub fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Sizes around the borders of buffers.
pub const CHUNKS: [usize; 12] = [1, 2, 3, 7, 64, 1000, 4095, 4096, 4097, 65_535, 65_537, 300_001];

/// Sends all bytes, in writes of these sizes in turn.
#[track_caller]
pub fn send_in_chunks(socket: &Socket, mut bytes: &[u8]) {
    for size in CHUNKS.iter().cycle() {
        if bytes.is_empty() {
            return;
        }
        let (now, later) = bytes.split_at((*size).min(bytes.len()));
        socket.send(now);
        bytes = later;
    }
}

/// Says where two texts differ, without printing megabytes.
#[track_caller]
pub fn assert_same(what: &str, got: &[u8], sent: &[u8]) {
    let differ = got.iter().zip(sent).position(|(a, b)| a != b);
    assert!(
        differ.is_none() && got.len() == sent.len(),
        "{what}: {} bytes of {} came, the first wrong one at {differ:?}",
        got.len(),
        sent.len()
    );
}

/// New files, each another inode.
#[track_caller]
#[must_use]
pub fn files(sandbox: &Sandbox, count: usize) -> Vec<File> {
    let dir = sandbox.new_dir("files");
    (0..count)
        .map(|number| {
            let path = dir.join(number.to_string());
            fs::write(&path, number.to_string()).or_fail(path.display());
            File::open(&path).or_fail(path.display())
        })
        .collect()
}

/// Borrows descriptors, to send them.
#[must_use]
pub fn borrow<T: AsFd>(files: &[T]) -> Vec<BorrowedFd<'_>> {
    files.iter().map(AsFd::as_fd).collect()
}

/// Device and inode behind each descriptor.
#[track_caller]
#[must_use]
pub fn inodes<T: AsFd>(files: &[T]) -> Vec<(u64, u64)> {
    let stat = |file: &T| rustix::fs::fstat(file).or_fail("fstat");
    files.iter().map(stat).map(|stat| (stat.st_dev, stat.st_ino)).collect()
}
