//! One instance of each daemon: a file that is locked for life and says who holds it (`PID START\n`, the
//! start time in clock ticks since boot). The kernel lets go of the lock when its holder dies, however.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use crate::sys::process;

/// How long a lock of nobody in particular is waited for.
const LOOK: Duration = Duration::from_millis(250);

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another instance runs.
    #[error("another {}{} already runs in this run directory: it holds {}", program(path), holder(.pid), path.display())]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The holder, where the file names it.
        pid: Option<u32>,
    },
    /// The file cannot be used.
    #[error("cannot lock {}", path.display())]
    File {
        /// The lock file.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
}

/// The program whose lock it is: each has one of its own name.
fn program(path: &Path) -> String {
    path.file_stem().map_or_else(|| "instance".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn holder(pid: &Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (pid {pid})"))
}

/// The lock of this instance, held until it is dropped; the file stays.
#[derive(Debug)]
pub struct InstanceLock {
    _file: File,
}

/// A living process that holds a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// Its start time in clock ticks since boot (proc_pid_stat(5), field 22).
    pub start: u64,
}

impl InstanceLock {
    /// Takes the lock and writes who we are.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn acquire(path: &Path) -> Result<Self, LockError> {
        let failed = |source: io::Error| LockError::File { path: path.to_owned(), source };
        let mut file = open(path, true).map_err(failed)?;
        let deadline = Instant::now() + LOOK;
        while let Err(error) = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if error != rustix::io::Errno::WOULDBLOCK {
                return Err(failed(error.into()));
            }
            let holder = read(&mut file).filter(|holder| process::is_alive(holder.pid, holder.start));
            // Nobody alive is named: somebody has just died, or [`find_holder`] looks at this moment.
            if holder.is_some() || Instant::now() >= deadline {
                return Err(LockError::Held { path: path.to_owned(), pid: holder.map(|holder| holder.pid) });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let pid = std::process::id();
        let write = |file: &mut File| -> io::Result<()> {
            let line = format!("{pid} {}\n", process::start_time(pid)?);
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(line.as_bytes())
        };
        write(&mut file).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

/// What can be said about a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Nobody holds it.
    Free,
    /// A living process does.
    By(Holder),
    /// Its holder is gone, and a process that has a duplicate of its descriptor is not.
    After(Holder),
    /// It is held, and does not say by whom, or not yet.
    Unnamed,
}

/// Looks who holds the lock at `path`.
///
/// # Errors
/// It cannot be read.
pub fn look(path: &Path) -> io::Result<Held> {
    let mut file = match open(path, false) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Held::Free),
        Err(error) => return Err(error),
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(Held::Free),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(match read(&mut file) {
            Some(holder) if process::is_alive(holder.pid, holder.start) => Held::By(holder),
            Some(holder) => Held::After(holder),
            None => Held::Unnamed,
        }),
        Err(error) => Err(error.into()),
    }
}

/// The living process that holds the lock at `path`, if one does.
///
/// # Errors
/// The lock is held, but the file does not name a living process yet, or it cannot be read.
pub fn find_holder(path: &Path) -> io::Result<Option<Holder>> {
    match look(path)? {
        Held::Free => Ok(None),
        Held::By(holder) => Ok(Some(holder)),
        Held::After(_) | Held::Unnamed => {
            let text = "is locked, but does not say by which process";
            Err(io::Error::new(io::ErrorKind::InvalidData, text))
        }
    }
}

fn open(path: &Path, create: bool) -> io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(create)
        .truncate(false)
        // Whoever can open a file can lock it (flock(2)), and so keep the daemon from starting.
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

fn read(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(64).read_to_string(&mut text).ok()?;
    let (pid, start) = text.trim_end().split_once(' ')?;
    Some(Holder { pid: pid.parse().ok()?, start: start.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_instance_learns_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        assert_eq!(find_holder(&path).unwrap(), None);
        let lock = InstanceLock::acquire(&path).unwrap();
        let error = InstanceLock::acquire(&path).unwrap_err();
        assert!(
            error.to_string().starts_with(&format!("another x (pid {}) already runs", std::process::id())),
            "{error}"
        );
        assert_eq!(find_holder(&path).unwrap().unwrap().pid, std::process::id());
        drop(lock);
        assert_eq!(find_holder(&path).unwrap(), None);
        InstanceLock::acquire(&path).unwrap();
    }

    #[test]
    fn a_lock_without_a_name_is_an_error_and_not_free() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let file = open(&path, true).unwrap();
        rustix::fs::flock(&file, FlockOperation::LockExclusive).unwrap();
        assert!(find_holder(&path).is_err());
        std::fs::write(&path, format!("{} 1\n", std::process::id())).unwrap();
        assert!(find_holder(&path).is_err(), "the start time is another process's");
    }
}
