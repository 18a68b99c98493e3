//! Telling when a path in a container may lead elsewhere than before: inotify on every directory that
//! its resolution passes, and the container's table of mounts.

mod table;
mod task;
mod walk;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::inotify;
use tokio::io::Interest;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::{Container, ContainerIdentity, Error, LIMITER};
use crate::ids::InsidePath;
use crate::mesh::limiter::limited;
use crate::sys::fs::Polled;
use table::Table;

/// Number of one watch, never given twice.
type WatchId = u64;

/// One watched path.
struct Watched {
    container: Arc<Container>,
    path: InsidePath,
    changed: Arc<Notify>,
}

/// What the watcher, its task and its watches share.
struct Shared {
    inotify: OwnedFd,
    state: Mutex<State>,
    /// The warning that the kernel gives no more watches was written.
    warned: AtomicBool,
}

#[derive(Default)]
struct State {
    watched: HashMap<WatchId, Watched>,
    table: Table,
    next: WatchId,
}

impl Shared {
    /// A panic elsewhere leaves the maps usable: at worst a watch fires once too often.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says once, until it heals, that watches fell back to periodic checks.
    fn warn_once(&self, error: &std::io::Error) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            limited!(
                warn,
                LIMITER,
                "watch",
                %error,
                "cannot watch all paths, looking at some every few seconds (fs.inotify.max_user_watches?)"
            );
        }
    }
}

/// What a watch asks of the task.
enum Command {
    /// A new watch is to be armed.
    Arm(WatchId),
    /// A watch in this container is gone.
    Forget(WatchId, ContainerIdentity),
}

/// Watches paths in containers with one inotify instance and one task. Dropping it ends the task;
/// its watches then never fire.
pub struct Watcher {
    shared: Arc<Shared>,
    commands: mpsc::UnboundedSender<Command>,
    task: JoinHandle<()>,
}

impl Watcher {
    /// Starts a watcher. To be called within a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Watcher`] where the kernel gives no inotify instance (`fs.inotify.max_user_instances`).
    pub fn new() -> Result<Self, Error> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let inotify =
            inotify::init(flags).map_err(|e| Error::Watcher { call: "inotify_init1", source: e.into() })?;
        Self::on(inotify)
    }

    /// A watcher on a given inotify instance.
    pub(super) fn on(inotify: OwnedFd) -> Result<Self, Error> {
        let failed = |call| move |source: std::io::Error| Error::Watcher { call, source };
        let events = inotify.try_clone().map_err(failed("dup"))?;
        let events = Polled::new(events, Interest::READABLE).map_err(failed("epoll_ctl"))?;
        let shared = Arc::new(Shared { inotify, state: Mutex::default(), warned: AtomicBool::new(false) });
        let (commands, received) = mpsc::unbounded_channel();
        let task = tokio::spawn(task::run(Arc::clone(&shared), events, received));
        Ok(Self { shared, commands, task })
    }

    /// Watches what a path leads to, whether it exists or not. Never fails: where the kernel gives no
    /// more watches, the watch fires every few seconds.
    #[must_use]
    pub fn watch(&self, container: &Arc<Container>, path: &InsidePath) -> Watch {
        let changed = Arc::new(Notify::new());
        let watched =
            Watched { container: Arc::clone(container), path: path.clone(), changed: Arc::clone(&changed) };
        let mut state = self.shared.lock();
        let id = state.next;
        state.next += 1;
        state.watched.insert(id, watched);
        drop(state);
        // Fails only when the task is gone, and with it every hope of a change.
        let _ = self.commands.send(Command::Arm(id));
        Watch { id, changed, shared: Arc::clone(&self.shared), commands: self.commands.clone() }
    }
}

#[cfg(test)]
impl Watcher {
    /// How many directories the kernel watches for this watcher.
    pub(super) fn descriptors(&self) -> usize {
        self.shared.lock().table.descriptors()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One watched path; dropping it ends the watch.
pub struct Watch {
    id: WatchId,
    changed: Arc<Notify>,
    shared: Arc<Shared>,
    commands: mpsc::UnboundedSender<Command>,
}

impl Watch {
    /// Waits until the path may lead elsewhere. The first time it returns as soon as the watch is
    /// armed, so that what is looked at afterwards cannot change unnoticed. Changes that nobody waited
    /// for are kept, as one. Cancel-safe. For one caller at a time.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        // Dropped after the lock is released: it may be the last hold on the container.
        let watched = state.watched.remove(&self.id);
        state.table.replace(&self.shared.inotify, self.id, Vec::new());
        drop(state);
        let Some(watched) = watched else { return };
        let _ = self.commands.send(Command::Forget(self.id, *watched.container.identity()));
    }
}
