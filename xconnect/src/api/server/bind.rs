//! Binding a Unix socket at a path where a dead server may have left one.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// How long another process may hold the directory's lock before we go on without: anybody who can open
/// the directory can hold it.
const LOCK_WAIT: Duration = Duration::from_secs(1);
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// Why a socket could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody answers there.
    #[error("{path}: another process serves this socket")]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is no socket is there.
    #[error("{path}: exists and is not a socket")]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// A system call failed.
    #[error("{path}: cannot {what}")]
    System {
        /// The socket.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// The error.
        source: io::Error,
    },
}

/// A listening socket; dropping it removes the path where it is still this socket.
#[derive(Debug)]
pub struct Bound {
    listener: OwnedFd,
    dir: OwnedFd,
    name: String,
    path: PathBuf,
    inode: (u64, u64),
}

impl Bound {
    /// Binds at `path` with permissions `mode`: a socket that nobody serves is replaced, in one step.
    /// The parent directory must exist; the path may be longer than `sun_path`.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn new(path: &Path, kind: SocketType, mode: u32) -> Result<Self, BindError> {
        let system = |what: &'static str| {
            move |source: rustix::io::Errno| BindError::System {
                path: path.to_owned(),
                what,
                source: source.into(),
            }
        };
        let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| BindError::System {
            path: path.to_owned(),
            what: "use this name",
            source: io::ErrorKind::InvalidInput.into(),
        })?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(parent, flags, Mode::empty()).map_err(system("open its directory"))?;
        if let Err(error) = lock(&dir) {
            tracing::warn!(path = %parent.display(), %error, "cannot lock the socket's directory: going on without");
        }
        let result = Self::replace(&dir, name, path, kind, mode);
        // The lock covers probe and rename only.
        let _ = rustix::fs::flock(&dir, FlockOperation::Unlock);
        let (listener, inode) = result?;
        Ok(Self { listener, dir, name: name.to_owned(), path: path.to_owned(), inode })
    }

    fn replace(
        dir: &OwnedFd,
        name: &str,
        path: &Path,
        kind: SocketType,
        mode: u32,
    ) -> Result<(OwnedFd, (u64, u64)), BindError> {
        let system = |what: &'static str| {
            move |source: rustix::io::Errno| BindError::System {
                path: path.to_owned(),
                what,
                source: source.into(),
            }
        };
        match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::Socket => {
                return Err(BindError::NotASocket { path: path.to_owned() });
            }
            Ok(_) if is_served(dir, name, kind).map_err(system("probe the socket"))? => {
                return Err(BindError::InUse { path: path.to_owned() });
            }
            Ok(_) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(system("look at the path")(error)),
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)
            .map_err(system("make a socket"))?;
        // Under another name until its permissions are right; rename then puts it in place at once.
        let draft = format!(".{}.{name:.64}", std::process::id());
        let _ = rustix::fs::unlinkat(dir, &draft, AtFlags::empty());
        let address = address(dir, &draft).map_err(system("name the socket"))?;
        rustix::net::bind(&socket, &address).map_err(system("bind"))?;
        let inode = rustix::fs::chmodat(dir, &draft, Mode::from_raw_mode(mode), AtFlags::empty())
            .map_err(system("set its permissions"))
            .and_then(|()| rustix::net::listen(&socket, BACKLOG).map_err(system("listen")))
            .and_then(|()| {
                rustix::fs::statat(dir, &draft, AtFlags::SYMLINK_NOFOLLOW).map_err(system("look at it"))
            })
            .and_then(|stat| {
                rustix::fs::renameat(dir, &draft, dir, name)
                    .map(|()| (stat.st_dev, stat.st_ino))
                    .map_err(system("put it in place"))
            })
            .inspect_err(|_| {
                let _ = rustix::fs::unlinkat(dir, &draft, AtFlags::empty());
            })?;
        Ok((socket, inode))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The listening socket, non-blocking.
    #[must_use]
    pub fn listener(&self) -> &OwnedFd {
        &self.listener
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let ours = rustix::fs::statat(&self.dir, &self.name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| (stat.st_dev, stat.st_ino) == self.inode);
        if ours {
            let _ = rustix::fs::unlinkat(&self.dir, &self.name, AtFlags::empty());
        }
    }
}

/// Takes the directory's lock; polls, because a lock that is waited for cannot be given up.
fn lock(dir: &OwnedFd) -> Result<(), rustix::io::Errno> {
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        match rustix::fs::flock(dir, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
}

/// The address of `name` in `dir`, short enough for `sun_path` however deep the directory is.
fn address(dir: impl AsFd, name: &str) -> Result<SocketAddrUnix, rustix::io::Errno> {
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", dir.as_fd().as_raw_fd()))
}

fn is_served(dir: &OwnedFd, name: &str, kind: SocketType) -> Result<bool, rustix::io::Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let probe = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
    match rustix::net::connect(&probe, &address(dir, name)?) {
        // EAGAIN: its backlog is full, so there is a listener. EPROTOTYPE: another type of socket listens.
        Ok(()) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::PROTOTYPE) => Ok(true),
        Err(rustix::io::Errno::CONNREFUSED | rustix::io::Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}
