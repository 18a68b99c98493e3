//! The control groups of an engine under test: in which hierarchy they are is the machine's choice.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::process::Process;

/// The folders of this name at the top of any hierarchy.
#[must_use]
pub fn folders(name: &str) -> Vec<PathBuf> {
    let top = PathBuf::from("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(&top).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<_> =
        std::iter::once(top.clone()).chain(hierarchies).map(|dir| dir.join(name)).collect();
    found.retain(|dir| dir.is_dir());
    found
}

/// Kills what runs in the groups of this name, and removes them.
pub fn remove(name: &str) {
    for top in folders(name) {
        let tree = tree(top);
        let processes: Vec<_> = tree.iter().flat_map(|dir| processes(dir)).collect();
        for process in &processes {
            process.signal(Signal::KILL);
        }
        for process in &processes {
            let _ = process.ends();
        }
        for dir in tree.iter().rev() {
            let _ = fs::remove_dir(dir);
        }
    }
}

/// A folder and all below it, parents first.
fn tree(top: PathBuf) -> Vec<PathBuf> {
    let mut dirs = vec![top];
    let mut next = 0;
    while let Some(dir) = dirs.get(next) {
        let below: Vec<_> = fs::read_dir(dir).into_iter().flatten().flatten().collect();
        dirs.extend(below.iter().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(fs::DirEntry::path));
        next += 1;
    }
    dirs
}

fn processes(dir: &Path) -> Vec<Process> {
    let list = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    list.lines().filter_map(|pid| Process::open(pid.parse().ok()?).ok()).collect()
}
