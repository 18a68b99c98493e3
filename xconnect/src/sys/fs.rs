//! Files below a root that somebody hostile controls: openat2, inode identity, rename without replacing.

use serde::{Deserialize, Serialize};

/// One inode, told from a later one with the same number by its time of birth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InodeId {
    /// Major number of the file system's device.
    pub dev_major: u32,
    /// Minor number of the file system's device.
    pub dev_minor: u32,
    /// Inode number; ext4 gives it to the next file at once.
    pub ino: u64,
    /// Birth in nanoseconds since 1970; 0 where the file system keeps none (statx(2), `STATX_BTIME`).
    pub btime_ns: u128,
}
