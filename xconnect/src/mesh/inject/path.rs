//! Paths below a container's root: directories made on the way, one component at a time.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, mkdirat};
use rustix::io::Errno;

use super::Error;
use super::error::Place;
use crate::sys::fs::{self, FileKind};

/// How often an act is begun again when the container changed the path meanwhile.
pub(super) const ATTEMPTS: u32 = 16;

/// Mode of the directories made on the way.
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// Opens the directory in which the path's last component is; [`Error::Missing`] where there is none.
pub(super) fn open_parent(place: Place<'_>, root: &OwnedFd) -> Result<OwnedFd, Error> {
    resolve(root, parent_of(place)).map_err(|e| place.resolution("openat2", e))
}

/// Opens the directory in which the path's last component is to be, making what is missing.
pub(super) fn make_parent(place: Place<'_>, root: &OwnedFd) -> Result<OwnedFd, Error> {
    for _ in 0..ATTEMPTS {
        match open_parent(place, root) {
            Err(Error::Missing { .. }) => {}
            other => return other,
        }
        if let Some(parent) = make_missing(place, root)? {
            return Ok(parent);
        }
    }
    Err(place.racing())
}

/// Makes the missing directories. `None`: something changed underneath, look again.
fn make_missing(place: Place<'_>, root: &OwnedFd) -> Result<Option<OwnedFd>, Error> {
    let parent = parent_of(place);
    let mut at = resolve(root, "").map_err(|e| place.resolution("openat2", e))?;
    let mut end = 0;
    for component in parent.split('/').filter(|component| !component.is_empty()) {
        end += component.len() + usize::from(end > 0);
        // Each prefix from the root again, for only so do links in it stay inside.
        at = match resolve(root, &parent[..end]) {
            Ok(directory) => directory,
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
                match make_one(place, root, &at, &parent[..end])? {
                    Some(directory) => directory,
                    None => return Ok(None),
                }
            }
            Err(e) => return Err(place.resolution("openat2", e)),
        };
    }
    Ok(Some(at))
}

/// Makes the last component of a prefix, in its directory. `None`: somebody else made or removed it
/// meanwhile.
fn make_one(place: Place<'_>, root: &OwnedFd, at: &OwnedFd, prefix: &str) -> Result<Option<OwnedFd>, Error> {
    let name = prefix.rsplit('/').next().unwrap_or(prefix);
    match mkdirat(at, name, DIRECTORY_MODE) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            let entry = fs::entry_at(at, name).map_err(place.call("statx"))?;
            return match entry.map(|entry| entry.kind) {
                // The link is there and its prefix still leads nowhere: its target is what is missing.
                Some(FileKind::Symlink) if is_missing(root, prefix) => Err(Error::DanglingLink {
                    pid: place.pid,
                    path: place.path.clone(),
                    parent: format!("/{prefix}"),
                }),
                _ => Ok(None),
            };
        }
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(place.call("mkdirat")(e)),
    }
    Ok(fs::open_subdirectory(at, name).ok())
}

fn is_missing(root: &OwnedFd, path: &str) -> bool {
    matches!(resolve(root, path), Err(e) if e.raw_os_error() == Some(libc::ENOENT))
}

fn parent_of<'a>(place: Place<'a>) -> &'a str {
    let path: &'a str = place.path.as_str();
    path[1..].rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// Opens a directory by its path below the root; the empty path is the root itself.
fn resolve(root: &OwnedFd, path: &str) -> io::Result<OwnedFd> {
    fs::open_in_root(root, if path.is_empty() { "." } else { path }, DIRECTORY)
}
