//! Files below a root that somebody hostile controls: openat2, inode identity, rename without replacing.
#![expect(unsafe_code, reason = "SIOCUNIXFILE and registering with epoll have no safe wrapper")]

mod polled;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Statx, StatxFlags, openat2, renameat_with,
    statx,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

pub use polled::Polled;

/// How often openat2 is asked again when a rename or mount elsewhere got in its way (`EAGAIN`).
const RETRIES: u32 = 256;

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

/// What an entry of a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A Unix socket.
    Socket,
    /// A FIFO, a device node or something else.
    Other,
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "a file",
            Self::Directory => "a directory",
            Self::Symlink => "a symbolic link",
            Self::Socket => "a socket",
            Self::Other => "a special file",
        })
    }
}

/// What statx(2) says about one entry, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Which inode.
    pub inode: InodeId,
    /// What it is.
    pub kind: FileKind,
    /// Permission bits.
    pub mode: u32,
}

impl From<Statx> for Entry {
    fn from(stat: Statx) -> Self {
        let btime = if stat.stx_mask & StatxFlags::BTIME.bits() != 0 {
            let seconds = u128::try_from(stat.stx_btime.tv_sec).unwrap_or_default();
            seconds * 1_000_000_000 + u128::from(stat.stx_btime.tv_nsec)
        } else {
            0
        };
        let kind = match FileType::from_raw_mode(u32::from(stat.stx_mode)) {
            FileType::RegularFile => FileKind::File,
            FileType::Directory => FileKind::Directory,
            FileType::Symlink => FileKind::Symlink,
            FileType::Socket => FileKind::Socket,
            _ => FileKind::Other,
        };
        let inode = InodeId {
            dev_major: stat.stx_dev_major,
            dev_minor: stat.stx_dev_minor,
            ino: stat.stx_ino,
            btime_ns: btime,
        };
        Self { inode, kind, mode: u32::from(stat.stx_mode) & 0o7777 }
    }
}

/// Facts about an open file (also `O_PATH`).
///
/// # Errors
/// Those of statx(2).
pub fn entry_of(fd: impl AsFd) -> io::Result<Entry> {
    let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    Ok(statx(fd, c"", AtFlags::EMPTY_PATH, mask)?.into())
}

/// Facts about an entry of a directory, symlinks not followed; `None` where there is none.
///
/// # Errors
/// Those of statx(2).
pub fn entry_at(dir: impl AsFd, name: &str) -> io::Result<Option<Entry>> {
    let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    match statx(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, mask) {
        Ok(stat) => Ok(Some(stat.into())),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Facts about what a path of our own leads to, symlinks followed.
///
/// # Errors
/// Those of statx(2).
pub fn entry_at_path(path: &std::path::Path) -> io::Result<Entry> {
    let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    Ok(statx(rustix::fs::CWD, path, AtFlags::NO_AUTOMOUNT, mask)?.into())
}

/// Opens a path as the process whose root this is would resolve it: symlinks, absolute ones too, and
/// `..` stay below `root`, magic links (`/proc/PID/root` and its like) are refused.
///
/// # Errors
/// Those of openat2(2); `EAGAIN` where renames kept getting in the way.
pub fn open_in_root(root: impl AsFd, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    open_retrying(root, path, flags, resolve)
}

/// Opens one entry of a directory, `O_PATH`, symlinks not followed.
///
/// # Errors
/// Those of openat2(2).
pub fn open_entry(dir: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    open_retrying(dir, name, OFlags::PATH | OFlags::NOFOLLOW, ResolveFlags::empty())
}

/// Opens a directory that is an entry of another, `O_PATH`, symlinks not followed.
///
/// # Errors
/// Those of openat2(2); `ENOTDIR` or `ELOOP` where it is something else.
pub fn open_subdirectory(dir: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    open_retrying(dir, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW, resolve)
}

fn open_retrying(dir: impl AsFd, path: &str, flags: OFlags, resolve: ResolveFlags) -> io::Result<OwnedFd> {
    let mut tries = 0;
    loop {
        match openat2(&dir, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) if tries < RETRIES => {
                tries += 1;
                std::thread::yield_now();
            }
            other => return Ok(other?),
        }
    }
}

/// How a rename ended that must not replace anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renamed {
    /// Done.
    Yes,
    /// The new name is taken.
    Taken,
    /// There is nothing of the old name.
    Missing,
    /// This file system cannot do it.
    Unsupported,
}

/// Renames within one directory, never over something else.
///
/// # Errors
/// Those of renameat2(2) that [`Renamed`] does not tell.
pub fn rename_no_replace(dir: impl AsFd, from: &str, to: &str) -> io::Result<Renamed> {
    match renameat_with(&dir, from, &dir, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(Renamed::Yes),
        Err(Errno::EXIST) => Ok(Renamed::Taken),
        Err(Errno::NOENT) => Ok(Renamed::Missing),
        Err(Errno::INVAL | Errno::NOSYS) => Ok(Renamed::Unsupported),
        Err(e) => Err(e.into()),
    }
}

/// A name that nobody can have guessed, for something that exists for a moment.
///
/// # Errors
/// Those of getrandom(2).
pub fn random_name() -> io::Result<String> {
    let mut bytes = [0_u8; 12];
    rustix::io::retry_on_intr(|| {
        rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())
    })?;
    let hex = bytes.iter().fold(String::with_capacity(24), |mut hex, byte| {
        use fmt::Write;
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    Ok(format!(".xconnect-{hex}"))
}

/// The file that a bound Unix socket made, `O_PATH`, whatever its name has come to mean since
/// (`SIOCUNIXFILE`, net/unix/af_unix.c `unix_open_file`).
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN` in the network namespace, `ENOENT` for a socket without a file.
pub fn file_of_socket(socket: impl AsFd) -> io::Result<OwnedFd> {
    /// `SIOCPROTOPRIVATE + 0`, linux/un.h.
    const SIOCUNIXFILE: libc::c_ulong = 0x89E0;
    // SAFETY: the request takes no argument and returns a new descriptor or -1.
    let fd = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), SIOCUNIXFILE as _, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor (close-on-exec) and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
pub(crate) mod sandbox;
#[cfg(test)]
mod tests;
