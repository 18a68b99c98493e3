//! What can go wrong inside a container.

use std::io;
use std::time::Duration;

use crate::ids::InsidePath;
use crate::sys::fs::FileKind;

/// Why something inside a container could not be done. `pid` is a number of the host's namespace.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process is a zombie or gone.
    #[error("process {pid}: has exited")]
    Exited {
        /// The container's process.
        pid: u32,
    },
    /// The number belongs to another process than the one that was meant.
    #[error(
        "process {pid}: started at tick {found}, not {expected}: the number was given to another process"
    )]
    Recycled {
        /// The number.
        pid: u32,
        /// Start time of the process that was meant, in clock ticks since boot.
        expected: u64,
        /// Start time of the process that has the number.
        found: u64,
    },
    /// The process itself could not be looked at.
    #[error("process {pid}: {what}")]
    Process {
        /// The number.
        pid: u32,
        /// The call or the file of `/proc/PID`.
        what: &'static str,
        /// Its error.
        #[source]
        source: io::Error,
    },
    /// The process is in a user namespace without id maps.
    #[error("process {pid}: its user namespace maps no ids")]
    NoIdMap {
        /// The number.
        pid: u32,
    },
    /// No such path.
    #[error("process {pid}: {path}: does not exist")]
    Missing {
        /// The container's process.
        pid: u32,
        /// The path below its root.
        path: InsidePath,
    },
    /// Something else than a socket is there.
    #[error("process {pid}: {path}: is {what}, not a socket")]
    NotASocket {
        /// The container's process.
        pid: u32,
        /// The path below its root.
        path: InsidePath,
        /// What is there.
        what: FileKind,
    },
    /// Something is at the target that the mesh did not put there.
    #[error("process {pid}: {path}: is taken by {what} that the mesh did not put there")]
    Occupied {
        /// The container's process.
        pid: u32,
        /// The path below its root.
        path: InsidePath,
        /// What is there.
        what: FileKind,
    },
    /// A parent is a symbolic link to nothing.
    #[error("process {pid}: {path}: {parent} is a symbolic link to something that does not exist")]
    DanglingLink {
        /// The container's process.
        pid: u32,
        /// The path below its root.
        path: InsidePath,
        /// The part of it.
        parent: String,
    },
    /// A parent is no directory.
    #[error("process {pid}: {path}: a parent is not a directory")]
    NotADirectory {
        /// The container's process.
        pid: u32,
        /// The path below its root.
        path: InsidePath,
    },
    /// Too many symbolic links, or one of the magic links of /proc.
    #[error("process {pid}: {path}: loops through symbolic links, or passes a magic link of /proc")]
    LinkLoop {
        /// The container's process.
        pid: u32,
        /// The path below its root.
        path: InsidePath,
    },
    /// The container kept changing the path.
    #[error("process {pid}: {path}: kept changing underneath")]
    Racing {
        /// The container's process.
        pid: u32,
        /// The path below its root.
        path: InsidePath,
    },
    /// A file system of the container does not answer.
    #[error("process {pid}: {path}: no answer from its file system for {after:?}")]
    Stuck {
        /// The container's process.
        pid: u32,
        /// The path below its root.
        path: InsidePath,
        /// How long it was given.
        after: Duration,
    },
    /// The owner asked for does not exist in the container's user namespace.
    #[error("process {pid}: {path}: {kind} {id} is not mapped in its user namespace")]
    UnmappedOwner {
        /// The container's process.
        pid: u32,
        /// The path below its root.
        path: InsidePath,
        /// "uid" or "gid".
        kind: &'static str,
        /// The id, as the container would write it.
        id: u32,
    },
    /// The file name does not fit a socket's address and the file system cannot rename safely.
    #[error("process {pid}: {path}: this file system needs a file name of at most {longest} bytes")]
    NameTooLong {
        /// The container's process.
        pid: u32,
        /// The path below its root.
        path: InsidePath,
        /// The longest that would do.
        longest: usize,
    },
    /// A system call failed.
    #[error("process {pid}: {path}: {call}")]
    Call {
        /// The container's process.
        pid: u32,
        /// The path below its root.
        path: InsidePath,
        /// Which one.
        call: &'static str,
        /// Its error.
        #[source]
        source: io::Error,
    },
    /// What would be behind the socket cannot run.
    #[error("cannot start the threads of rest links")]
    Threads {
        /// The cause.
        source: io::Error,
    },
    /// The watcher could not be set up.
    #[error("cannot watch paths: {call}")]
    Watcher {
        /// Which call failed.
        call: &'static str,
        /// Its error.
        #[source]
        source: io::Error,
    },
}

/// Where an act takes place, to be named in its errors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) pid: u32,
    pub(super) path: &'a InsidePath,
}

impl Place<'_> {
    /// Makes an [`Error::Call`], for `map_err`.
    pub(super) fn call<E: Into<io::Error>>(self, call: &'static str) -> impl Fn(E) -> Error {
        let (pid, path) = (self.pid, self.path.clone());
        move |source| Error::Call { pid, path: path.clone(), call, source: source.into() }
    }

    /// An error of a path's resolution, told by its number.
    pub(super) fn resolution(self, call: &'static str, source: io::Error) -> Error {
        let (pid, path) = (self.pid, self.path.clone());
        match source.raw_os_error() {
            Some(libc::ENOENT) => Error::Missing { pid, path },
            Some(libc::ENOTDIR) => Error::NotADirectory { pid, path },
            Some(libc::ELOOP) => Error::LinkLoop { pid, path },
            Some(libc::EAGAIN) => Error::Racing { pid, path },
            _ => Error::Call { pid, path, call, source },
        }
    }

    pub(super) fn racing(self) -> Error {
        Error::Racing { pid: self.pid, path: self.path.clone() }
    }
}
