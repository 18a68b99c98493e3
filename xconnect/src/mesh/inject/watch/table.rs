//! Which watch is interested in which name of which watched directory.
//!
//! The kernel has one watch descriptor per inode and instance; many paths share it.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::inotify;

use super::WatchId;

/// A name looked up in a watched directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Interest {
    pub(super) wd: i32,
    pub(super) name: Arc<[u8]>,
}

/// The interests of all watches.
#[derive(Default)]
pub(super) struct Table {
    /// Watch descriptor → name → the watches that look it up there.
    directories: HashMap<i32, HashMap<Arc<[u8]>, Vec<WatchId>>>,
    /// What each watch holds, without duplicates.
    held: HashMap<WatchId, Vec<Interest>>,
    /// Walks between their first inotify_add_watch and [`Table::end_walk`].
    walks: usize,
    /// Descriptors removed while walks are under way: such a walk may have been given one of them
    /// just before, and must not rely on it. Numbers are not given twice (fs/notify/inotify).
    removed: HashSet<i32>,
}

impl Table {
    /// To be called before a walk asks the kernel for watches.
    pub(super) fn begin_walk(&mut self) {
        self.walks += 1;
    }

    /// To be called once what the walk found is in the table, or was given up.
    pub(super) fn end_walk(&mut self) {
        self.walks -= 1;
        if self.walks == 0 {
            self.removed = HashSet::new();
        }
    }

    /// True where none of these descriptors was removed since the walk began.
    pub(super) fn are_alive(&self, interests: &[Interest]) -> bool {
        interests.iter().all(|interest| !self.removed.contains(&interest.wd))
    }

    /// Replaces all that a watch holds, and gives descriptors back that nobody holds any more.
    pub(super) fn replace(&mut self, inotify: &OwnedFd, watch: WatchId, mut interests: Vec<Interest>) {
        let old = self.held.remove(&watch).unwrap_or_default();
        // Kept as long as the watch, of which every link has one: no room to grow, and names are shared.
        interests.shrink_to_fit();
        for interest in interests.iter_mut().filter(|interest| !old.contains(interest)) {
            let names = self.directories.entry(interest.wd).or_default();
            if let Some((name, _)) = names.get_key_value(&interest.name) {
                interest.name = Arc::clone(name);
            }
            let watches = names.entry(Arc::clone(&interest.name)).or_insert_with(|| Vec::with_capacity(1));
            watches.push(watch);
        }
        for interest in old.iter().filter(|interest| !interests.contains(interest)) {
            self.release(inotify, watch, interest);
        }
        if !interests.is_empty() {
            self.held.insert(watch, interests);
        }
    }

    /// Gives a descriptor back that a walk got and nobody holds.
    pub(super) fn give_back(&mut self, inotify: &OwnedFd, wd: i32) {
        if !self.directories.contains_key(&wd) {
            self.remove(inotify, wd);
        }
    }

    /// The watches concerned by an event: those that look that name up, or, for an event about the
    /// directory itself, all that pass it.
    pub(super) fn concerned(&self, wd: i32, name: Option<&[u8]>) -> Vec<WatchId> {
        let Some(names) = self.directories.get(&wd) else { return Vec::new() };
        match name {
            Some(name) => names.get(name).cloned().unwrap_or_default(),
            None => names.values().flatten().copied().collect(),
        }
    }

    /// The kernel has taken a descriptor away (`IN_IGNORED`): says whose it was.
    pub(super) fn ignored(&mut self, wd: i32) -> Vec<WatchId> {
        let watches = self.concerned(wd, None);
        self.directories.remove(&wd);
        for watch in &watches {
            if let Some(held) = self.held.get_mut(watch) {
                held.retain(|interest| interest.wd != wd);
            }
        }
        self.note_removed(wd);
        watches
    }

    fn release(&mut self, inotify: &OwnedFd, watch: WatchId, interest: &Interest) {
        let Some(names) = self.directories.get_mut(&interest.wd) else { return };
        if let Some(watches) = names.get_mut(&interest.name) {
            watches.retain(|other| *other != watch);
            if watches.is_empty() {
                names.remove(&interest.name);
            }
        }
        if names.is_empty() {
            self.directories.remove(&interest.wd);
            self.remove(inotify, interest.wd);
        }
    }

    fn remove(&mut self, inotify: &OwnedFd, wd: i32) {
        // EINVAL: the kernel was faster.
        let _ = inotify::remove_watch(inotify, wd);
        self.note_removed(wd);
    }

    fn note_removed(&mut self, wd: i32) {
        if self.walks > 0 {
            self.removed.insert(wd);
        }
    }

    /// How many descriptors are held, for tests.
    #[cfg(test)]
    pub(super) fn descriptors(&self) -> usize {
        self.directories.len()
    }
}
