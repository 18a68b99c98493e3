//! Walking a path component by component as the container's kernel would, leaving a watch in every
//! directory passed.
//!
//! Each directory is watched *before* a name is looked up in it: a change after the look-up is then an
//! event, and one before it is seen.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{inotify, readlinkat};

use super::table::Interest;
use crate::sys::fs::{self, FileKind};

/// As many links as the kernel follows (`MAXSYMLINKS`, linux/namei.h).
const LINKS: u32 = 40;

/// The same for every directory: adding a watch to an inode that has one replaces its mask.
const MASK: inotify::WatchFlags = inotify::WatchFlags::CREATE
    .union(inotify::WatchFlags::DELETE)
    .union(inotify::WatchFlags::MOVED_FROM)
    .union(inotify::WatchFlags::MOVED_TO)
    .union(inotify::WatchFlags::DELETE_SELF)
    .union(inotify::WatchFlags::MOVE_SELF)
    .union(inotify::WatchFlags::ONLYDIR);

/// What a walk left behind, also where it failed.
pub(super) struct Walk {
    /// The names looked up, without duplicates.
    pub(super) interests: Vec<Interest>,
    /// Why it did not get to its end, other than by coming to it.
    pub(super) failure: Option<io::Error>,
}

/// Walks a path from the container's root.
pub(super) fn walk(inotify: &OwnedFd, root: &OwnedFd, path: &str) -> Walk {
    let mut interests = Vec::new();
    let failure = steps(inotify, root, path, &mut interests).err();
    Walk { interests, failure }
}

fn steps(inotify: &OwnedFd, root: &OwnedFd, path: &str, interests: &mut Vec<Interest>) -> io::Result<()> {
    // The directories from the root down to where the walk is; the last one is the current.
    let mut passed: Vec<OwnedFd> = Vec::new();
    let mut left: VecDeque<Vec<u8>> = components(path.as_bytes()).collect();
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        if name == b".." {
            passed.pop();
            continue;
        }
        let at = passed.last().unwrap_or(root);
        let wd = add_watch(inotify, at)?;
        let interest = Interest { wd, name: name.clone().into() };
        if !interests.contains(&interest) {
            interests.push(interest);
        }
        // Names come from a text or a link of the container, whose bytes need not be UTF-8; one that
        // is not cannot be part of a target, and its directory is watched.
        let Ok(name) = String::from_utf8(name) else { return Ok(()) };
        let entry = match fs::open_entry(at, &name) {
            Ok(entry) => entry,
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
            Err(e) => return Err(e),
        };
        match fs::entry_of(&entry)?.kind {
            FileKind::Directory => passed.push(entry),
            FileKind::Symlink => {
                links += 1;
                if links > LINKS {
                    return Ok(());
                }
                let target = readlinkat(&entry, "", Vec::new())?.into_bytes();
                if target.starts_with(b"/") {
                    passed.clear();
                }
                for part in components(&target).collect::<Vec<_>>().into_iter().rev() {
                    left.push_front(part);
                }
            }
            // The end, or a parent that is no directory: when it is replaced, the watch on its
            // directory tells.
            FileKind::File | FileKind::Socket | FileKind::Other => return Ok(()),
        }
    }
    Ok(())
}

fn components(path: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").map(<[u8]>::to_vec)
}

fn add_watch(inotify: &OwnedFd, directory: &OwnedFd) -> io::Result<i32> {
    Ok(inotify::add_watch(inotify, format!("/proc/self/fd/{}", directory.as_raw_fd()), MASK)?)
}
