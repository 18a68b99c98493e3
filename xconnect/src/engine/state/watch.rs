//! Events of a state directory: the directory itself, the folders in it, and its own place, which
//! another directory (or another symbolic link) may take.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::manifest;
use crate::sys::register::register;

/// After a change nothing must have happened for so long: writers of several files are waited for.
const QUIET: Duration = Duration::from_millis(15);
/// Longest wait for quiet.
const RESTLESS: Duration = Duration::from_millis(500);
/// Where a folder cannot be watched, it is looked at so often.
const POLL: Duration = Duration::from_secs(2);
/// Room for the events of one read: each is 16 bytes and a name of at most 256 (inotify(7)).
const EVENTS: usize = 16 * 1024;

/// A watched state directory.
#[derive(Debug)]
pub(in crate::engine) struct Watch {
    dir: PathBuf,
    inotify: AsyncFd<OwnedFd>,
    /// Watch of the folder that the directory lies in.
    parent: Option<i32>,
    /// Watch of the directory.
    top: Option<i32>,
    /// All watches, those of folders included.
    all: BTreeSet<i32>,
    complete: bool,
}

impl Watch {
    /// A watch that sees nothing before the first [`Self::renew`]. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// No inotify instance can be had (`/proc/sys/fs/inotify/max_user_instances`).
    pub(in crate::engine) fn new(dir: &Path) -> io::Result<Self> {
        let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let inotify = register(inotify, Interest::READABLE)?;
        Ok(Self {
            dir: dir.to_owned(),
            inotify,
            parent: None,
            top: None,
            all: BTreeSet::new(),
            complete: false,
        })
    }

    /// Watches all folders that are there. Whoever reads the directory after this misses nothing:
    /// what changes from here on gives an event.
    pub(in crate::engine) fn renew(&mut self) {
        let was_complete = self.complete;
        match self.add_all() {
            Ok(()) => self.complete = true,
            Err(error) => {
                self.complete = false;
                if was_complete {
                    tracing::warn!(dir = %self.dir.display(), %error, every = ?POLL,
                        "cannot watch the state directory: looking at it from time to time");
                }
            }
        }
    }

    fn add_all(&mut self) -> io::Result<()> {
        let parent = match self.dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let place = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::DELETE | WatchFlags::MOVED_FROM;
        let mut all = BTreeSet::new();
        let parent = inotify::add_watch(self.inotify.get_ref(), parent, place | WatchFlags::ONLYDIR)?;
        self.parent = Some(parent);
        all.insert(parent);
        // CREATE: a hard link or a symbolic link is complete at once and is never closed after writing.
        let kinds = place | WatchFlags::CLOSE_WRITE | WatchFlags::ATTRIB | WatchFlags::ONLYDIR;
        let top = inotify::add_watch(self.inotify.get_ref(), &self.dir, kinds)?;
        self.top = Some(top);
        all.insert(top);
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            if !is_folder_name(&name) {
                continue;
            }
            match inotify::add_watch(self.inotify.get_ref(), self.dir.join(&name), kinds) {
                Ok(watch) => drop(all.insert(watch)),
                // No folder, or gone already.
                Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        for old in self.all.difference(&all) {
            // Fails where the kernel has removed it, with the folder.
            let _ = inotify::remove_watch(self.inotify.get_ref(), *old);
        }
        self.all = all;
        Ok(())
    }

    /// Waits for a change and then for quiet. Cancel-safe, apart from events that were seen already.
    pub(in crate::engine) async fn changed(&mut self) {
        if !self.complete {
            // Without all watches an event is welcome, but not sure to come.
            let _ = timeout_at(Instant::now() + POLL, self.event()).await;
        } else if self.event().await.is_err() {
            sleep_until(Instant::now() + POLL).await;
        }
        let deadline = Instant::now() + RESTLESS;
        while let Ok(Ok(())) = timeout_at((Instant::now() + QUIET).min(deadline), self.event()).await {
            if Instant::now() >= deadline {
                break;
            }
        }
    }

    /// Waits for one event that concerns the manifests.
    async fn event(&self) -> io::Result<()> {
        loop {
            let mut ready = self.inotify.readable().await?;
            if self.take()? {
                return Ok(());
            }
            ready.clear_ready();
        }
    }

    /// Takes all events that are there; true if one concerns the manifests.
    fn take(&self) -> io::Result<bool> {
        let mut room = [MaybeUninit::uninit(); EVENTS];
        let mut reader = inotify::Reader::new(self.inotify.get_ref(), &mut room);
        let mut concerned = false;
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                    concerned |= self.concerns(event.wd(), event.events(), name);
                }
                Err(rustix::io::Errno::AGAIN) => return Ok(concerned),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn concerns(&self, watch: i32, events: ReadFlags, name: Option<&OsStr>) -> bool {
        if events.contains(ReadFlags::QUEUE_OVERFLOW) {
            return true;
        }
        let Some(name) = name else { return false };
        if Some(watch) == self.parent {
            return Some(name) == self.dir.file_name();
        }
        if Some(watch) == self.top {
            return name == manifest::DEVICE || is_folder_name(name);
        }
        [manifest::RUN, manifest::ARGS, manifest::SERVICES, manifest::CONFIG]
            .iter()
            .any(|known| name == *known)
    }
}

/// Whether a folder of this name may be a container's.
fn is_folder_name(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| manifest::classify(&format!("{name}/{}", manifest::RUN)).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    struct Case {
        _dir: tempfile::TempDir,
        state: PathBuf,
        watch: Watch,
    }

    impl Case {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let state = dir.path().join("state");
            fs::create_dir_all(state.join("web")).unwrap();
            let mut watch = Watch::new(&state).unwrap();
            watch.renew();
            Self { _dir: dir, state, watch }
        }

        async fn sees(&mut self, what: &str) {
            let seen = tokio::time::timeout(DEADLINE, self.watch.changed()).await;
            assert!(seen.is_ok(), "not seen: {what}");
            self.watch.renew();
        }

        fn sees_nothing(&self) -> bool {
            !self.watch.take().unwrap()
        }
    }

    #[tokio::test]
    async fn every_way_to_change_a_manifest_is_seen() {
        let mut case = Case::new();
        let state = case.state.clone();
        fs::write(state.join("web/run.json"), "{}").unwrap();
        case.sees("a new file").await;
        fs::write(state.join("web/run.json"), "{ }").unwrap();
        case.sees("a file written over").await;
        fs::write(state.join("web/other"), "{}").unwrap();
        fs::rename(state.join("web/other"), state.join("web/args.json")).unwrap();
        case.sees("a file put in place").await;
        fs::hard_link(state.join("web/run.json"), state.join("web/services.json")).unwrap();
        case.sees("a hard link").await;
        fs::remove_file(state.join("web/services.json")).unwrap();
        case.sees("a removed file").await;
        fs::create_dir(state.join("db")).unwrap();
        case.sees("a new folder").await;
        fs::write(state.join("db/run.json"), "{}").unwrap();
        case.sees("a file in a new folder").await;
        fs::remove_dir_all(state.join("db")).unwrap();
        case.sees("a removed folder").await;
        fs::write(state.join("device.json"), "{}").unwrap();
        case.sees("the host's manifest").await;
        let old = state.with_extension("old");
        fs::rename(&state, &old).unwrap();
        fs::rename(&old, &state).unwrap();
        case.sees("another directory in its place").await;
        fs::write(state.join("web/run.json"), "{}").unwrap();
        case.sees("a file of the other directory").await;
    }

    #[tokio::test]
    async fn other_files_are_nobodys_business() {
        let case = Case::new();
        fs::create_dir(case.state.join(".xconnect")).unwrap();
        fs::write(case.state.join(".xconnect/audit.log"), "x").unwrap();
        fs::write(case.state.join("web/notes"), "x").unwrap();
        fs::write(case.state.with_extension("txt"), "x").unwrap();
        assert!(case.sees_nothing());
    }
}
