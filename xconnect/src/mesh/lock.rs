//! One mesh per run directory: a lock that the kernel releases when its holder dies, however it dies.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::sys::procfs;

/// Why the lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else has it.
    #[error("another pv-xconnect ({holder}) already runs in this run directory: it holds {path}")]
    Held {
        /// The lock file.
        path: PathBuf,
        /// What the lock file says about its holder.
        holder: String,
    },
    /// The lock file cannot be used.
    #[error("cannot lock {path}")]
    Io {
        /// The lock file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

/// Takes the lock at `path` and writes `PID START\n` into it (start time: clock ticks since boot, proc(5)).
/// The lock is held until the returned file is closed.
///
/// # Errors
/// [`Error::Held`] where another process has it; [`Error::Io`] where the file cannot be used.
pub(super) fn take(path: &Path) -> Result<File, Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .open(path)
        .map_err(io)?;
    if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(io(error.into()));
        }
        let mut holder = String::new();
        file.read_to_string(&mut holder).map_err(io)?;
        let pid = holder.split_whitespace().next().unwrap_or("unknown");
        return Err(Error::Held { path: path.to_owned(), holder: format!("pid {pid}") });
    }
    let pid = std::process::id();
    let start = procfs::ProcDir::own().and_then(|own| own.start_time()).map_err(io)?;
    file.set_len(0).and_then(|()| file.rewind()).map_err(io)?;
    file.write_all(format!("{pid} {start}\n").as_bytes()).map_err(io)?;
    Ok(file)
}
