//! The record of the sockets that the mesh has put into containers, kept across its own death: only what
//! stands here may be replaced or removed by a later mesh.
//!
//! An append-only file of JSON lines, written anew when mostly obsolete. Losing the last line costs at
//! most one link that says "occupied"; a foreign file is never taken for ours.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::inject::ContainerIdentity;
use super::limiter::{Limiter, limited};
use crate::ids::InsidePath;
use crate::sys::fs::InodeId;

/// Why the record cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep the record of injected sockets in {path}")]
pub struct Error {
    path: PathBuf,
    source: io::Error,
}

/// The container life that a socket was put into.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Place {
    /// The container's first process.
    pub(super) pid: u32,
    /// Its start time.
    pub(super) start: u64,
    /// The inode of its mount namespace.
    pub(super) mnt_ns: u64,
    /// The path inside.
    pub(super) target: InsidePath,
}

impl Place {
    pub(super) fn new(identity: &ContainerIdentity, target: &InsidePath) -> Self {
        Self { pid: identity.pid, start: identity.start, mnt_ns: identity.mnt_ns, target: target.clone() }
    }
}

/// Inodes remembered for one place: a socket that was mounted over may come to light again. Bounded, as a
/// hostile container can make us inject as often as it likes.
const REMEMBERED: usize = 8;

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Op {
    Put,
    Del,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    op: Op,
    place: Place,
    inode: InodeId,
}

/// The record.
#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    state: Mutex<State>,
    limiter: Limiter,
}

#[derive(Debug)]
struct State {
    file: File,
    lines: usize,
    sockets: HashMap<Place, Vec<InodeId>>,
}

impl Ledger {
    /// Reads the record at `path`, or starts one. A line that cannot be read is left out: it was cut off
    /// by a crash.
    ///
    /// # Errors
    /// [`Error`] where the file can be neither read nor made.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let wrap = |source| Error { path: path.to_owned(), source };
        let text = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(wrap(error)),
        };
        let mut sockets: HashMap<Place, Vec<InodeId>> = HashMap::new();
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(line) => apply(&mut sockets, &line),
                Err(error) => tracing::debug!(%error, "unreadable line in the record of injected sockets"),
            }
        }
        let file = rewrite(path, &sockets).map_err(wrap)?;
        let lines = sockets.values().map(Vec::len).sum();
        let state = Mutex::new(State { file, lines, sockets });
        Ok(Self { path: path.to_owned(), state, limiter: Limiter::new() })
    }

    /// The inodes that the mesh has put at a place and not removed.
    pub(super) fn known(&self, place: &Place) -> Vec<InodeId> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.sockets.get(place).cloned().unwrap_or_default()
    }

    /// Every place with its inodes.
    pub(super) fn all(&self) -> Vec<(Place, Vec<InodeId>)> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.sockets.iter().map(|(place, inodes)| (place.clone(), inodes.clone())).collect()
    }

    /// Notes a socket that was just put into a container.
    pub(super) fn put(&self, place: Place, inode: InodeId) {
        self.write(&Line { op: Op::Put, place, inode });
    }

    /// Notes that nothing of ours is at a place any more.
    pub(super) fn forget(&self, place: &Place) {
        for inode in self.known(place) {
            self.forget_one(place, inode);
        }
    }

    /// Notes that one socket is not at its place any more.
    pub(super) fn forget_one(&self, place: &Place, inode: InodeId) {
        self.write(&Line { op: Op::Del, place: place.clone(), inode });
    }

    fn write(&self, line: &Line) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        apply(&mut state.sockets, line);
        if let Err(error) = state.append(line, &self.path) {
            limited!(error, self.limiter, "write", %error, path = %self.path.display(),
                "cannot note an injected socket: after a crash its link will say \"occupied\"; free space in the run directory");
        }
    }
}

impl State {
    fn append(&mut self, line: &Line, path: &Path) -> io::Result<()> {
        let live: usize = self.sockets.values().map(Vec::len).sum();
        if self.lines > 2 * live + 1000 {
            self.file = rewrite(path, &self.sockets)?;
            self.lines = live;
            return Ok(());
        }
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.file.write_all(&text)?;
        self.lines += 1;
        Ok(())
    }
}

fn apply(sockets: &mut HashMap<Place, Vec<InodeId>>, line: &Line) {
    match line.op {
        Op::Put => {
            let inodes = sockets.entry(line.place.clone()).or_insert_with(|| Vec::with_capacity(1));
            if !inodes.contains(&line.inode) {
                if inodes.len() == REMEMBERED {
                    inodes.remove(0);
                }
                inodes.push(line.inode);
            }
        }
        Op::Del => {
            if let Some(inodes) = sockets.get_mut(&line.place) {
                inodes.retain(|known| *known != line.inode);
                if inodes.is_empty() {
                    sockets.remove(&line.place);
                }
            }
        }
    }
}

/// Writes the whole record beside the old one and puts it in its place, so that a crash leaves either.
fn rewrite(path: &Path, sockets: &HashMap<Place, Vec<InodeId>>) -> io::Result<File> {
    let fresh = path.with_extension("json.new");
    let mut text = Vec::new();
    for (place, inodes) in sockets {
        for inode in inodes {
            serde_json::to_writer(&mut text, &Line { op: Op::Put, place: place.clone(), inode: *inode })?;
            text.push(b'\n');
        }
    }
    // Nobody else's business, and nobody else's to write: what it names is removed from containers.
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(&text)?;
    std::fs::rename(&fresh, path)?;
    OpenOptions::new().append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(pid: u32) -> Place {
        Place { pid, start: 7, mnt_ns: 9, target: InsidePath::new("/run/x.sock").unwrap() }
    }

    fn inode(ino: u64) -> InodeId {
        InodeId { dev_major: 0, dev_minor: 1, ino, btime_ns: 5 }
    }

    #[test]
    fn the_record_survives_reopening_and_a_cut_off_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("xconnect-state.json");
        let ledger = Ledger::open(&path).unwrap();
        ledger.put(place(1), inode(10));
        ledger.put(place(1), inode(11));
        ledger.put(place(2), inode(12));
        drop(ledger);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"op\":\"put\",\"pla").unwrap();
        let ledger = Ledger::open(&path).unwrap();
        assert_eq!(ledger.known(&place(1)), [inode(10), inode(11)]);
        assert_eq!(ledger.known(&place(2)), [inode(12)]);
        assert_eq!(ledger.known(&place(3)), []);
    }

    #[test]
    fn the_record_is_roots_alone_whatever_the_umask() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("xconnect-state.json");
        let ledger = Ledger::open(&path).unwrap();
        ledger.put(place(1), inode(10));
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_record_does_not_grow_with_use() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("xconnect-state.json");
        let ledger = Ledger::open(&path).unwrap();
        for ino in 0..5000 {
            ledger.put(place(1), inode(ino));
            ledger.forget(&place(1));
        }
        let size = std::fs::metadata(&path).unwrap().len();
        assert!(size < 200_000, "{size}");
        assert!(ledger.all().is_empty());
    }
}
