//! Removing an entry that is ours, and only that. Linux has no unlink by inode, so it is moved aside,
//! looked at, and moved back where it is somebody else's.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, unlinkat};
use rustix::io::Errno;

use crate::mesh::inject::LIMITER;
use crate::mesh::limiter::limited;
use crate::sys::fs::{self, InodeId, Renamed};

/// How a removal ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// It is gone.
    Yes,
    /// Something that is not ours is there, and stays.
    NotOurs,
    /// Nothing is there.
    Missing,
}

/// Removes the entry `name` if it is this inode.
pub(super) fn remove(parent: &OwnedFd, name: &str, inode: &InodeId) -> io::Result<Removed> {
    // Looked at first: what never was ours is not even moved for a moment.
    match fs::entry_at(parent, name)? {
        None => return Ok(Removed::Missing),
        Some(entry) if entry.inode != *inode => return Ok(Removed::NotOurs),
        Some(_) => {}
    }
    let aside = fs::random_name()?;
    match fs::rename_no_replace(parent, name, &aside)? {
        Renamed::Yes => {}
        Renamed::Missing => return Ok(Removed::Missing),
        // Nobody knows the random name, so this cannot be.
        Renamed::Taken => return Err(io::ErrorKind::AlreadyExists.into()),
        // Nothing better than the look above exists on such a file system.
        Renamed::Unsupported => return unlink(parent, name),
    }
    match fs::entry_at(parent, &aside)? {
        Some(entry) if entry.inode == *inode => unlink(parent, &aside),
        Some(_) => {
            put_back(parent, &aside, name)?;
            Ok(Removed::NotOurs)
        }
        None => Ok(Removed::Missing),
    }
}

fn unlink(parent: &OwnedFd, name: &str) -> io::Result<Removed> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) => Ok(Removed::Yes),
        Err(Errno::NOENT) => Ok(Removed::Missing),
        Err(e) => Err(e.into()),
    }
}

/// Gives an entry its name back. Where the container has made another one of that name meanwhile, the
/// older one is what it loses to its own race; leaving it under the random name would be litter.
fn put_back(parent: &OwnedFd, aside: &str, name: &str) -> io::Result<()> {
    if fs::rename_no_replace(parent, aside, name)? != Renamed::Taken {
        return Ok(());
    }
    let removed = match unlinkat(parent, aside, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => unlinkat(parent, aside, AtFlags::REMOVEDIR),
        other => other,
    };
    match removed {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        // A directory with something in it is not ours to empty.
        Err(e) => {
            limited!(warn, LIMITER, "renamed", name, aside, error = %e, "an entry swapped in by the container stays renamed");
            Ok(())
        }
    }
}
