//! What the process in the container does to files.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::MountFlags;
use rustix::net::SocketAddrUnix;

use super::protocol::Stat;
use crate::socket::{Kind, Socket};

fn magic(fd: &OwnedFd) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

fn open_path(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC | flags, Mode::empty())?)
}

/// Binds below a descriptor of the directory, so that `sun_path` does not limit the length.
///
/// # Errors
/// Those of open(2), bind(2) and listen(2).
pub fn listen(path: &Path, kind: Kind, backlog: i32) -> io::Result<OwnedFd> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    fs::create_dir_all(parent)?;
    let parent = open_path(parent, OFlags::DIRECTORY)?;
    let socket = kind.socket()?;
    let address = magic(&parent).join(name);
    rustix::net::bind(&socket, &SocketAddrUnix::new(&address)?)?;
    fs::set_permissions(&address, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    rustix::net::listen(&socket, backlog)?;
    Ok(socket)
}

/// Connects through a descriptor of the socket's file, so that `sun_path` does not limit the length.
///
/// # Errors
/// Those of open(2) and connect(2).
pub fn connect(path: &Path, kind: Kind) -> io::Result<OwnedFd> {
    let file = open_path(path, OFlags::empty())?;
    let socket = kind.socket()?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(magic(&file))?)?;
    Ok(socket)
}

/// Connects, has 64 bytes echoed and closes, `rounds` times.
///
/// # Errors
/// Any failure on the way.
pub fn churn(path: &Path, rounds: u64) -> io::Result<()> {
    for round in 0..rounds {
        let socket = Socket::from(connect(path, Kind::Stream)?);
        let sent = [u8::try_from(round % 251).unwrap_or_default(); 64];
        socket.try_send(&sent, &[])?;
        let mut got = Vec::new();
        while got.len() < sent.len() {
            let part = socket.try_recv(sent.len() - got.len())?.bytes;
            if part.is_empty() {
                return Err(io::Error::other(format!("round {round}: end of stream")));
            }
            got.extend(part);
        }
        if got != sent {
            return Err(io::Error::other(format!("round {round}: other bytes came back")));
        }
    }
    Ok(())
}

/// lstat(2).
///
/// # Errors
/// Those of lstat(2).
pub fn stat(path: &Path) -> io::Result<Stat> {
    let meta = fs::symlink_metadata(path)?;
    Ok(Stat { inode: (meta.dev(), meta.ino()), mode: meta.mode(), uid: meta.uid(), gid: meta.gid() })
}

/// How often a directory is emptied that somebody else fills again.
const REMOVALS: u32 = 100;

/// Removes a file, or a directory with all in it, what somebody else puts there meanwhile included.
///
/// # Errors
/// Those of unlink(2) and rmdir(2).
pub fn remove(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.is_dir() {
        return fs::remove_file(path);
    }
    for _ in 0..REMOVALS {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            ended => return ended,
        }
    }
    fs::remove_dir_all(path)
}

/// The names in a directory, sorted.
///
/// # Errors
/// Those of readdir(3).
pub fn list(path: &Path) -> io::Result<Vec<String>> {
    let mut names = fs::read_dir(path)?
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// Mounts an empty tmpfs.
///
/// # Errors
/// Those of mount(2).
pub fn mount_tmpfs(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    rustix::mount::mount("tmpfs", path, "tmpfs", MountFlags::empty(), Some(c"mode=755"))?;
    Ok(())
}

/// Exchanges two names in one step.
///
/// # Errors
/// Those of renameat2(2).
pub fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    let cwd = rustix::fs::CWD;
    Ok(rustix::fs::renameat_with(cwd, one, cwd, other, rustix::fs::RenameFlags::EXCHANGE)?)
}

/// Swaps the directory of `target` with a symbolic link to `elsewhere`, and back, `swaps` times;
/// deletes `target` each time. The directory is in place again at the end.
///
/// # Errors
/// Any failure but the one that `target` is not there.
pub fn race(target: &Path, elsewhere: &Path, swaps: u64) -> io::Result<()> {
    let Some(dir) = target.parent() else { return Err(io::ErrorKind::InvalidInput.into()) };
    let link = dir.with_extension("swap");
    fs::create_dir_all(dir)?;
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink(elsewhere, &link)?;
    for _ in 0..swaps {
        for _ in 0..2 {
            exchange(dir, &link)?;
        }
        match fs::remove_file(target) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::remove_file(&link)
}
