//! The lock that a shim holds for its life: there is never more than one for a container.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

/// A lock that is held until this is dropped, and by no clone of this process that executes a program.
pub(super) struct Lock(#[expect(dead_code, reason = "held for its lock")] File);

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn try_lock(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl Lock {
    /// Takes the lock and writes down whose it is; waits a little for a predecessor that is going.
    pub(super) fn take(path: &Path, pid: u32, start: u64) -> io::Result<Self> {
        let mut file = open(path)?;
        let deadline = Instant::now() + Duration::from_secs(5);
        while !try_lock(&file)? {
            if Instant::now() >= deadline {
                return Err(io::Error::other("another shim of this container is running"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        file.set_len(0)?;
        file.write_all(format!("{pid} {start}\n").as_bytes())?;
        Ok(Self(file))
    }
}

/// Who holds the lock; `None` if nobody does.
pub(super) fn holder(path: &Path) -> io::Result<Option<(u32, u64)>> {
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    loop {
        if try_lock(&file)? {
            return Ok(None);
        }
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let mut numbers = text.split_whitespace().map(str::parse::<u64>);
        if let (Some(Ok(pid)), Some(Ok(start))) = (numbers.next(), numbers.next()) {
            return Ok(Some((u32::try_from(pid).map_err(io::Error::other)?, start)));
        }
        // Locked, but not yet written down.
        std::thread::sleep(Duration::from_millis(1));
        file.rewind()?;
    }
}
