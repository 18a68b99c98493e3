//! Finds and removes what an engine left behind: processes, mounts, cgroups. An orderly end leaves none.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::Signal;

use crate::process::{Process, mentioning};
use crate::stop::wait_until;

/// A process that was told to end may take so long to be gone from /proc.
const LAST_BREATH: Duration = Duration::from_secs(1);
/// Cgroups of ours lie at most so deep below /sys/fs/cgroup.
const CGROUP_DEPTH: usize = 4;

/// Removes all that belongs to these private directories and to the cgroup of this name, and says what
/// there was.
pub(crate) fn remove(directories: &[&PathBuf], cgroup_root: &str) -> Vec<String> {
    let texts: Vec<_> = directories.iter().filter_map(|directory| directory.to_str()).collect();
    let mut found = processes(&texts);
    found.extend(mounts(&texts));
    found.extend(cgroups(cgroup_root));
    found
}

fn processes(texts: &[&str]) -> Vec<String> {
    if wait_until(LAST_BREATH, Duration::from_millis(10), || mentioning(texts).is_empty()) {
        return Vec::new();
    }
    let left = mentioning(texts);
    for (pid, _) in &left {
        // Gone by itself in the meantime, or ended here: both are what is wanted.
        let _ = Process::of(*pid).and_then(|process| process.signal(Signal::KILL));
    }
    left.into_iter().map(|(pid, line)| format!("process {pid} ({line})")).collect()
}

fn mounts(texts: &[&str]) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points: Vec<_> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|point| texts.iter().any(|text| Path::new(point).starts_with(text)))
        .collect();
    // The last mounted lies on top.
    for point in points.iter().rev() {
        if let Err(error) = unmount(*point, UnmountFlags::DETACH) {
            eprintln!("warning: {point}: {error}");
        }
    }
    points.iter().map(|point| format!("mount {point}")).collect()
}

fn cgroups(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    named(Path::new("/sys/fs/cgroup"), name, CGROUP_DEPTH, &mut found);
    for directory in &found {
        remove_cgroup(directory);
    }
    found.iter().map(|directory| format!("cgroup {}", directory.display())).collect()
}

/// Directories of this name below `directory`.
fn named(directory: &Path, name: &str, depth: usize, found: &mut Vec<PathBuf>) {
    for child in children(directory) {
        if child.file_name().is_some_and(|it| it == name) {
            found.push(child);
        } else if depth > 1 {
            named(&child, name, depth - 1, found);
        }
    }
}

/// A cgroup is removed from its leaves up; its files go with it.
fn remove_cgroup(directory: &Path) {
    for child in children(directory) {
        remove_cgroup(&child);
    }
    if let Err(error) = fs::remove_dir(directory) {
        eprintln!("warning: {}: {error}", directory.display());
    }
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|it| it.is_dir())).map(|entry| entry.path()).collect()
}
