//! The audit log: one JSON object a line, only ever appended to.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::control::Since;
use crate::api::time;
use crate::api::types::{AuditEntry, AuditEvent, Author, Changes};

/// At most so much of the log's end is read back, bytes.
const MAX_READ: u64 = 16 * 1024 * 1024;

/// Why the log cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[error("{path}: cannot {what} the audit log")]
pub struct AuditError {
    /// The file.
    path: PathBuf,
    /// What was tried.
    what: &'static str,
    /// The error.
    source: io::Error,
}

/// What an entry records, apart from its position and time.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) event: AuditEvent,
    pub(super) author: Author,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    pub(super) files: Changes,
    pub(super) containers: Changes,
    pub(super) links: Changes,
    pub(super) errors: Vec<String>,
}

/// The log, open for appending.
#[derive(Debug)]
pub(super) struct AuditLog {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    seq: u64,
}

impl AuditLog {
    /// Opens the log, or begins one. A last line that was cut off by a crash is closed and left as it is.
    pub(super) fn open(path: &Path) -> Result<Self, AuditError> {
        let inner =
            Inner::open(path).map_err(|source| AuditError { path: path.to_owned(), what: "open", source })?;
        Ok(Self { path: path.to_owned(), inner: Mutex::new(inner) })
    }

    /// Appends one entry and waits until the disk has it.
    pub(super) fn append(&self, record: Record) -> Result<(), AuditError> {
        let error = |source| AuditError { path: self.path.clone(), what: "write", source };
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.keep_in_place(&self.path).map_err(error)?;
        let entry = AuditEntry {
            seq: inner.seq + 1,
            time: time::rfc3339_millis(SystemTime::now()),
            event: record.event,
            author: record.author,
            from: record.from,
            to: record.to,
            files: record.files,
            containers: record.containers,
            links: record.links,
            errors: record.errors,
        };
        let write = |file: &mut File| -> io::Result<()> {
            let mut line = serde_json::to_vec(&entry)?;
            line.push(b'\n');
            // One write: with O_APPEND a line is never mixed with another writer's.
            file.write_all(&line)?;
            file.sync_data()
        };
        write(&mut inner.file).map_err(error)?;
        inner.seq = entry.seq;
        Ok(())
    }

    /// The entries after `since`, oldest first; lines that are not whole are left out.
    pub(super) fn read(&self, since: Since) -> Result<Vec<AuditEntry>, AuditError> {
        let error = |source| AuditError { path: self.path.clone(), what: "read", source };
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.keep_in_place(&self.path).map_err(error)?;
        let tail = read_tail(&mut inner.file).map_err(error)?;
        let wanted = |entry: &AuditEntry| match since {
            Since::Seq(seq) => entry.seq > seq,
            Since::Time(since) => time::parse_rfc3339(&entry.time).is_some_and(|at| at > since),
        };
        Ok(entries(&tail).filter(wanted).collect())
    }
}

impl Inner {
    /// Opens the log at `path`, or begins one.
    fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::options().read(true).append(true).create(true).mode(0o600).open(path)?;
        let tail = read_tail(&mut file)?;
        if !tail.is_empty() && !tail.ends_with(b"\n") {
            file.write_all(b"\n")?;
        }
        let seq = entries(&tail).last().map_or(0, |entry| entry.seq);
        Ok(Self { file, seq })
    }

    /// Has the log at its path again where another directory took the place of the one that it was opened
    /// in: a log that is there is gone on with, else what was written so far is taken along.
    fn keep_in_place(&mut self, path: &Path) -> io::Result<()> {
        let identity = |meta: fs::Metadata| (meta.dev(), meta.ino());
        let there = match fs::metadata(path) {
            Ok(there) => Some(identity(there)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if there == Some(identity(self.file.metadata()?)) {
            return Ok(());
        }
        if there.is_none() {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            self.copy_to(path)?;
        }
        let next = Self::open(path)?;
        *self = Self { seq: next.seq.max(self.seq), ..next };
        Ok(())
    }

    /// Puts a copy at `path`, which is whole or not there at all.
    fn copy_to(&mut self, path: &Path) -> io::Result<()> {
        let new = path.with_extension("new");
        let mut copy = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        self.file.rewind()?;
        io::copy(&mut self.file, &mut copy)?;
        copy.sync_data()?;
        fs::rename(new, path)
    }
}

fn read_tail(file: &mut File) -> io::Result<Vec<u8>> {
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(MAX_READ)))?;
    let mut tail = Vec::new();
    file.take(MAX_READ).read_to_end(&mut tail)?;
    Ok(tail)
}

fn entries(tail: &[u8]) -> impl Iterator<Item = AuditEntry> {
    tail.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(to: &str) -> Record {
        Record {
            event: AuditEvent::Applied,
            author: Author { via: "state directory".to_owned(), uids: vec![0], container: None, pid: None },
            from: None,
            to: Some(to.to_owned()),
            files: Changes::default(),
            containers: Changes::default(),
            links: Changes::default(),
            errors: vec![],
        }
    }

    #[test]
    fn the_log_goes_along_where_another_directory_takes_the_place_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("state");
        let path = place.join("own/audit.log");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let log = AuditLog::open(&path).unwrap();
        log.append(record("one")).unwrap();
        fs::rename(&place, dir.path().join("old")).unwrap();
        assert_eq!(log.read(Since::Seq(0)).unwrap().len(), 1);
        log.append(record("two")).unwrap();
        assert_eq!(AuditLog::open(&path).unwrap().read(Since::Seq(0)).unwrap().len(), 2);
        // The old directory comes back, with a log that ends earlier: no number is given twice.
        fs::rename(&place, dir.path().join("newer")).unwrap();
        fs::rename(dir.path().join("old"), &place).unwrap();
        log.append(record("three")).unwrap();
        let seen: Vec<_> = log.read(Since::Seq(0)).unwrap().iter().map(|entry| entry.seq).collect();
        assert_eq!(seen, [1, 3]);
    }

    #[test]
    fn entries_are_numbered_and_survive_a_cut_off_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let log = AuditLog::open(&path).unwrap();
        log.append(record("one")).unwrap();
        log.append(record("two")).unwrap();
        drop(log);
        let mut text = fs::read(&path).unwrap();
        text.extend_from_slice(br#"{"seq":3,"time":"20"#);
        fs::write(&path, &text).unwrap();

        let log = AuditLog::open(&path).unwrap();
        log.append(record("three")).unwrap();
        let entries = log.read(Since::Seq(0)).unwrap();
        let seen: Vec<_> = entries.iter().map(|e| (e.seq, e.to.clone().unwrap())).collect();
        assert_eq!(seen, [(1, "one".to_owned()), (2, "two".to_owned()), (3, "three".to_owned())]);
        assert_eq!(log.read(Since::Seq(2)).unwrap().len(), 1);
        assert_eq!(log.read(Since::Time(SystemTime::UNIX_EPOCH)).unwrap().len(), 3);
        assert!(
            log.read(Since::Time(SystemTime::now() + std::time::Duration::from_secs(5))).unwrap().is_empty()
        );
        assert!(fs::read(&path).unwrap().starts_with(&text), "nothing written is ever changed");
    }
}
