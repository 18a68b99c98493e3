//! The audit log: one JSON object a line, only ever appended to.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
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
        let error = |what| move |source| AuditError { path: path.to_owned(), what, source };
        let mut file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(error("open"))?;
        let tail = read_tail(&mut file).map_err(error("read"))?;
        if !tail.is_empty() && !tail.ends_with(b"\n") {
            file.write_all(b"\n").map_err(error("write"))?;
        }
        let seq = entries(&tail).last().map_or(0, |entry| entry.seq);
        Ok(Self { path: path.to_owned(), inner: Mutex::new(Inner { file, seq }) })
    }

    /// Appends one entry and waits until the disk has it.
    pub(super) fn append(&self, record: Record) -> Result<(), AuditError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
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
        write(&mut inner.file).map_err(|source| AuditError {
            path: self.path.clone(),
            what: "write",
            source,
        })?;
        inner.seq = entry.seq;
        Ok(())
    }

    /// The entries after `since`, oldest first; lines that are not whole are left out.
    pub(super) fn read(&self, since: Since) -> Result<Vec<AuditEntry>, AuditError> {
        let error = |source| AuditError { path: self.path.clone(), what: "read", source };
        let mut file = File::open(&self.path).map_err(error)?;
        let tail = read_tail(&mut file).map_err(error)?;
        let wanted = |entry: &AuditEntry| match since {
            Since::Seq(seq) => entry.seq > seq,
            Since::Time(since) => time::parse_rfc3339(&entry.time).is_some_and(|at| at > since),
        };
        Ok(entries(&tail).filter(wanted).collect())
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
            author: Author { via: "state directory".to_owned(), uids: vec![0], pid: None },
            from: None,
            to: Some(to.to_owned()),
            files: Changes::default(),
            containers: Changes::default(),
            links: Changes::default(),
            errors: vec![],
        }
    }

    #[test]
    fn entries_are_numbered_and_survive_a_cut_off_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let log = AuditLog::open(&path).unwrap();
        log.append(record("one")).unwrap();
        log.append(record("two")).unwrap();
        drop(log);
        let mut text = std::fs::read(&path).unwrap();
        text.extend_from_slice(br#"{"seq":3,"time":"20"#);
        std::fs::write(&path, &text).unwrap();

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
        assert!(std::fs::read(&path).unwrap().starts_with(&text), "nothing written is ever changed");
    }
}
