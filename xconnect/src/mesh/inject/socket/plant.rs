//! Planting: bind under a random name, listen, then rename to the target, on descriptors throughout.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, Gid, Mode, Uid, chmod, chownat, fchmod};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, bind, listen, socket_with};

use super::SocketSpec;
use super::remove::{self, Removed};
use crate::mesh::inject::error::Place;
use crate::mesh::inject::kernel_type;
use crate::mesh::inject::path::{ATTEMPTS, make_parent, open_parent};
use crate::mesh::inject::{Error, LIMITER};
use crate::mesh::limiter::limited;
use crate::sys::fs::{self, FileKind, InodeId, Renamed};

/// What to plant, in the host's numbers.
pub(super) struct Order {
    pub(super) spec: SocketSpec,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) known: Vec<InodeId>,
}

/// A socket in place, and the directory in which it is.
pub(super) struct Made {
    pub(super) listener: OwnedFd,
    pub(super) inode: InodeId,
    pub(super) parent: OwnedFd,
}

/// How one attempt ended that is not an error.
enum Outcome {
    Done(OwnedFd, InodeId),
    /// The container changed something meanwhile.
    Again,
    /// This file system cannot rename without replacing.
    CannotRename,
}

/// Plants a listening socket at the target.
pub(super) fn plant(place: Place<'_>, root: &OwnedFd, order: &Order) -> Result<Made, Error> {
    plant_by(place, root, order, Way::Rename)
}

/// How a socket comes to its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Made under a random name and renamed when it listens.
    Rename,
    /// Made there.
    Direct,
}

fn plant_by(place: Place<'_>, root: &OwnedFd, order: &Order, mut way: Way) -> Result<Made, Error> {
    for _ in 0..ATTEMPTS {
        let parent = make_parent(place, root)?;
        let outcome = match way {
            Way::Rename => by_rename(place, &parent, order)?,
            Way::Direct => directly(place, &parent, order)?,
        };
        match outcome {
            Outcome::Done(listener, inode) => {
                let made = Made { listener, inode, parent };
                match is_in_place(place, root, &made) {
                    Ok(true) => return Ok(made),
                    elsewhere => {
                        discard(&made.parent, place.path.file_name(), &made.inode);
                        elsewhere?;
                    }
                }
            }
            Outcome::Again => {}
            Outcome::CannotRename => way = Way::Direct,
        }
    }
    Err(place.racing())
}

/// Binds under a random name and renames, so that whoever sees the target can connect to it.
fn by_rename(place: Place<'_>, parent: &OwnedFd, order: &Order) -> Result<Outcome, Error> {
    let name = place.path.file_name();
    let temporary = fs::random_name().map_err(place.call("getrandom"))?;
    if !make_room(place, parent, order)? {
        return Ok(Outcome::Again);
    }
    let Some(bound) = Bound::new(place, parent, &temporary, order)? else { return Ok(Outcome::Again) };
    match fs::rename_no_replace(parent, &temporary, name).map_err(place.call("renameat2"))? {
        Renamed::Yes => Ok(bound.keep()),
        Renamed::Taken | Renamed::Missing => Ok(Outcome::Again),
        Renamed::Unsupported => Ok(Outcome::CannotRename),
    }
}

/// Binds at the target's own name: there is a moment in which the socket does not listen yet.
fn directly(place: Place<'_>, parent: &OwnedFd, order: &Order) -> Result<Outcome, Error> {
    if !make_room(place, parent, order)? {
        return Ok(Outcome::Again);
    }
    let Some(bound) = Bound::new(place, parent, place.path.file_name(), order)? else {
        return Ok(Outcome::Again);
    };
    Ok(bound.keep())
}

/// Takes away what is at the target if it is a socket of ours; false where it changed meanwhile.
fn make_room(place: Place<'_>, parent: &OwnedFd, order: &Order) -> Result<bool, Error> {
    let name = place.path.file_name();
    let Some(entry) = fs::entry_at(parent, name).map_err(place.call("statx"))? else { return Ok(true) };
    if entry.kind != FileKind::Socket || !order.known.contains(&entry.inode) {
        return Err(Error::Occupied { pid: place.pid, path: place.path.clone(), what: entry.kind });
    }
    Ok(remove::remove(parent, name, &entry.inode).map_err(place.call("remove"))? != Removed::NotOurs)
}

/// The container may have moved the directory away, or put another entry in our place.
fn is_in_place(place: Place<'_>, root: &OwnedFd, made: &Made) -> Result<bool, Error> {
    let parent = match open_parent(place, root) {
        Ok(parent) => parent,
        Err(Error::Missing { .. } | Error::NotADirectory { .. } | Error::LinkLoop { .. }) => {
            return Ok(false);
        }
        Err(e) => return Err(e),
    };
    let entry = fs::entry_at(&parent, place.path.file_name()).map_err(place.call("statx"))?;
    Ok(entry.is_some_and(|entry| entry.inode == made.inode))
}

fn discard(parent: &OwnedFd, name: &str, inode: &InodeId) {
    if let Err(error) = remove::remove(parent, name, inode) {
        limited!(warn, LIMITER, "astray", name, %error, "cannot remove a socket that went astray");
    }
}

/// A socket bound at some name, which is removed again unless it is kept.
struct Bound<'a> {
    parent: &'a OwnedFd,
    name: &'a str,
    listener: Option<OwnedFd>,
    inode: InodeId,
}

impl<'a> Bound<'a> {
    /// Makes a socket, binds it and makes it listen. `None`: the name was taken meanwhile.
    fn new(
        place: Place<'_>,
        parent: &'a OwnedFd,
        name: &'a str,
        order: &Order,
    ) -> Result<Option<Self>, Error> {
        let mode = Mode::from_raw_mode(order.spec.mode & 0o777);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let kind = kernel_type(order.spec.socket_type);
        let socket = socket_with(AddressFamily::UNIX, kind, flags, None).map_err(place.call("socket"))?;
        // The mode that bind gives the path, as far as the thread's umask lets it.
        fchmod(&socket, mode).map_err(place.call("fchmod"))?;
        match bind(&socket, &address(place, parent, name)?) {
            Ok(()) => {}
            Err(Errno::ADDRINUSE) => return Ok(None),
            // The directory was removed meanwhile.
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(place.call("bind")(e)),
        }
        let file = bound_file(&socket, parent, name);
        let (file, entry) = match file.and_then(|file| Ok((fs::entry_of(&file)?, file))) {
            Ok((entry, file)) => (file, entry),
            Err(e) => {
                discard_unseen(parent, name);
                return Err(place.call("open the bound socket")(e));
            }
        };
        if entry.kind != FileKind::Socket {
            return Ok(None);
        }
        let bound = Self { parent, name, listener: Some(socket), inode: entry.inode };
        if order.uid.is_some() || order.gid.is_some() {
            let (uid, gid) = (order.uid.map(Uid::from_raw), order.gid.map(Gid::from_raw));
            chownat(&file, "", uid, gid, AtFlags::EMPTY_PATH).map_err(place.call("fchownat"))?;
        }
        if entry.mode != mode.as_raw_mode() {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            chmod(path, mode).map_err(place.call("chmod"))?;
        }
        let backlog = i32::try_from(order.spec.backlog).unwrap_or(i32::MAX);
        bound
            .listener
            .as_ref()
            .map_or(Ok(()), |socket| listen(socket, backlog))
            .map_err(place.call("listen"))?;
        Ok(Some(bound))
    }

    /// Leaves the socket where it is, under this name or another.
    fn keep(mut self) -> Outcome {
        let listener = self.listener.take().unwrap_or_else(|| unreachable!("taken here only"));
        Outcome::Done(listener, self.inode)
    }
}

impl Drop for Bound<'_> {
    fn drop(&mut self) {
        if self.listener.is_some() {
            discard(self.parent, self.name, &self.inode);
        }
    }
}

/// The file that the socket made: by the kernel's word, or, without the capability to ask, by name.
fn bound_file(socket: &OwnedFd, parent: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    match fs::file_of_socket(socket) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::EPERM | libc::ENOTTY | libc::EINVAL)) => {
            fs::open_entry(parent, name)
        }
        other => other,
    }
}

/// Removes a socket that was just bound and could not be looked at (no descriptors left).
fn discard_unseen(parent: &OwnedFd, name: &str) {
    if let Ok(Some(entry)) = fs::entry_at(parent, name)
        && entry.kind == FileKind::Socket
    {
        discard(parent, name, &entry.inode);
    }
}

/// The address of a name in a directory held by descriptor: no path of the container is walked, and
/// only the name counts against the 107 bytes of `sun_path`.
fn address(place: Place<'_>, parent: &OwnedFd, name: &str) -> Result<SocketAddrUnix, Error> {
    let directory = format!("/proc/self/fd/{}/", parent.as_raw_fd());
    SocketAddrUnix::new(format!("{directory}{name}")).map_err(|_| Error::NameTooLong {
        pid: place.pid,
        path: place.path.clone(),
        longest: 107_usize.saturating_sub(directory.len()),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::graph::SocketType;
    use crate::ids::InsidePath;

    #[test]
    fn a_file_system_that_cannot_rename_gets_the_socket_directly() {
        let dir = tempfile::tempdir().unwrap();
        let root = OwnedFd::from(std::fs::File::open(dir.path()).unwrap());
        let spec = SocketSpec { mode: 0o640, ..SocketSpec::new(SocketType::Stream) };
        let order = |known| Order { spec, uid: None, gid: None, known };
        let path = InsidePath::new("/sub/x").unwrap();
        let place = Place { pid: 1, path: &path };
        let made = plant_by(place, &root, &order(vec![]), Way::Direct).unwrap();
        UnixStream::connect(dir.path().join("sub/x")).unwrap();
        let entry = fs::entry_at(&made.parent, "x").unwrap().unwrap();
        assert_eq!((entry.inode, entry.mode), (made.inode, 0o640));
        let refused = plant_by(place, &root, &order(vec![]), Way::Direct);
        assert!(matches!(refused, Err(Error::Occupied { .. })));
        let again = plant_by(place, &root, &order(vec![made.inode]), Way::Direct).unwrap();
        assert_ne!(again.inode, made.inode);

        let path = InsidePath::new(format!("/{}", "n".repeat(200))).unwrap();
        let refused = plant_by(Place { pid: 1, path: &path }, &root, &order(vec![]), Way::Direct);
        assert!(matches!(refused, Err(Error::NameTooLong { longest, .. }) if longest > 80));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
