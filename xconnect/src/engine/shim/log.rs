//! The log file of a container: two files of at most a mebibyte each.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The size at which the log is put aside, in bytes.
const MAX: u64 = 1024 * 1024;

/// A file that starts anew when it is full; what was there before stays in `<path>.1`.
pub(super) struct Log {
    path: PathBuf,
    file: File,
    size: u64,
}

impl Log {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, size })
    }

    /// Appends `bytes`. A log that cannot be written must not stop the container: what does not fit is
    /// lost.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        if self.size + bytes.len() as u64 > MAX && self.size > 0 && self.rotate().is_err() {
            return;
        }
        if self.file.write_all(bytes).is_ok() {
            self.size += bytes.len() as u64;
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        let mut aside = self.path.clone().into_os_string();
        aside.push(".1");
        std::fs::rename(&self.path, aside)?;
        *self = Self::open(&self.path)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_reads_a_log() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(&dir.path().join("web.log")).unwrap();
        assert_eq!(log.file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_log_takes_two_mebibytes_at_most() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.log");
        let mut log = Log::open(&path).unwrap();
        for n in 0..50u8 {
            log.write(&vec![n; 60_000]);
        }
        drop(log);
        let mut log = Log::open(&path).unwrap();
        log.write(b"last");
        let (new, old) =
            (std::fs::read(&path).unwrap(), std::fs::read(dir.path().join("web.log.1")).unwrap());
        assert!(new.len() as u64 <= MAX && old.len() as u64 <= MAX);
        assert!(new.ends_with(b"last") && old.len() > 900_000);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
