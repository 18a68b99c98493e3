//! The watcher's one task: events in, walks redone, watches fired.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::fs::inotify::{ReadFlags, Reader};
use tokio::io::Interest;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::walk::{Walk, walk};
use super::{Command, Shared, WatchId};
use crate::mesh::inject::{Container, ContainerIdentity, Error};
use crate::sys::fs::Polled;

/// How often a path is looked at that cannot be watched.
const SLOW: Duration = Duration::from_secs(5);
/// How often a walk is redone at once when its watches were taken away while it was under way.
const ATTEMPTS: u32 = 4;

/// A walk that has come to its end.
struct Finished {
    watch: WatchId,
    how: Armed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Armed {
    /// Every change will be seen.
    Fully,
    /// The kernel or the container's file system did not let us: look again from time to time.
    Partly,
    /// The container has exited, or the watch was dropped.
    Gone,
}

/// The walk of a watch that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pending {
    Once,
    /// Something happened since it began.
    Again,
}

struct Mounts {
    watches: HashSet<WatchId>,
    /// Held for its end.
    _poll: Poll,
}

struct Task {
    shared: Arc<Shared>,
    jobs: JoinSet<Finished>,
    pending: HashMap<WatchId, Pending>,
    slow: HashSet<WatchId>,
    mounts: HashMap<ContainerIdentity, Mounts>,
    /// Where the polls of the containers' mounts report.
    mounts_changed: mpsc::UnboundedSender<ContainerIdentity>,
}

/// Runs until it is aborted.
pub(super) async fn run(shared: Arc<Shared>, events: Polled, mut commands: mpsc::UnboundedReceiver<Command>) {
    let (mounts_changed, mut changes) = mpsc::unbounded_channel();
    let mut task = Task {
        shared,
        jobs: JoinSet::new(),
        pending: HashMap::new(),
        slow: HashSet::new(),
        mounts: HashMap::new(),
        mounts_changed,
    };
    let mut tick = tokio::time::interval(SLOW);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            ready = events.readable() => {
                // An error means that the runtime is shutting down.
                let Ok(mut ready) = ready else { return };
                task.read_events(events.get_ref());
                ready.clear_ready();
            }
            command = commands.recv() => match command {
                Some(Command::Arm(watch)) => task.adopt(watch),
                Some(Command::Forget(watch, container)) => task.forget(watch, container),
                None => return,
            },
            Some(container) = changes.recv() => task.rearm_container(container),
            Some(finished) = task.jobs.join_next() => {
                // A job that panicked or was aborted has nothing to say.
                if let Ok(finished) = finished {
                    task.finish(finished);
                }
            }
            _ = tick.tick(), if !task.slow.is_empty() => {
                for watch in std::mem::take(&mut task.slow) {
                    task.rearm(watch);
                }
            }
        }
    }
}

impl Task {
    fn read_events(&mut self, inotify: &OwnedFd) {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(inotify, &mut buffer);
        let mut concerned = HashSet::new();
        // EAGAIN is how it ends; any other error would come again for ever.
        while let Ok(event) = reader.next() {
            let flags = event.events();
            let mut state = self.shared.lock();
            if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                concerned.extend(state.watched.keys());
            } else if flags.contains(ReadFlags::IGNORED) {
                concerned.extend(state.table.ignored(event.wd()));
            } else {
                let name = event.file_name().map(std::ffi::CStr::to_bytes);
                concerned.extend(state.table.concerned(event.wd(), name));
            }
        }
        for watch in concerned {
            self.rearm(watch);
        }
    }

    /// Takes on a new watch: its path, and its container's mounts.
    fn adopt(&mut self, watch: WatchId) {
        let found = self.shared.lock().watched.get(&watch).map(|watched| Arc::clone(&watched.container));
        let Some(container) = found else { return };
        let key = *container.identity();
        match self.mounts.entry(key) {
            Entry::Occupied(mut mounts) => drop(mounts.get_mut().watches.insert(watch)),
            Entry::Vacant(vacant) => {
                let poll = poll_mounts(&container, self.mounts_changed.clone());
                vacant.insert(Mounts { watches: HashSet::from([watch]), _poll: poll });
            }
        }
        self.rearm(watch);
    }

    fn rearm_container(&mut self, container: ContainerIdentity) {
        let watches =
            self.mounts.get(&container).map(|mounts| mounts.watches.iter().copied().collect::<Vec<_>>());
        for watch in watches.unwrap_or_default() {
            self.rearm(watch);
        }
    }

    fn forget(&mut self, watch: WatchId, key: ContainerIdentity) {
        self.slow.remove(&watch);
        let Some(mounts) = self.mounts.get_mut(&key) else { return };
        mounts.watches.remove(&watch);
        if mounts.watches.is_empty() {
            self.mounts.remove(&key);
        }
    }

    /// Redoes the walk of a watch, which fires when that is done.
    fn rearm(&mut self, watch: WatchId) {
        if let Some(pending) = self.pending.get_mut(&watch) {
            *pending = Pending::Again;
            return;
        }
        self.pending.insert(watch, Pending::Once);
        let shared = Arc::clone(&self.shared);
        self.jobs.spawn(async move {
            let how = arm(&shared, watch).await;
            Finished { watch, how }
        });
    }

    /// Fires a watch whose walk is done.
    fn finish(&mut self, Finished { watch, how }: Finished) {
        let pending = self.pending.remove(&watch);
        let changed = self.shared.lock().watched.get(&watch).map(|watched| Arc::clone(&watched.changed));
        let Some(changed) = changed else { return };
        match how {
            Armed::Partly => drop(self.slow.insert(watch)),
            Armed::Fully if self.slow.is_empty() => self.shared.warned.store(false, Ordering::Relaxed),
            Armed::Fully | Armed::Gone => {}
        }
        changed.notify_one();
        if pending == Some(Pending::Again) && how != Armed::Gone {
            self.rearm(watch);
        }
    }
}

/// Walks the path of a watch and enters what it passed into the table.
async fn arm(shared: &Arc<Shared>, watch: WatchId) -> Armed {
    let found = {
        let state = shared.lock();
        state.watched.get(&watch).map(|watched| (Arc::clone(&watched.container), watched.path.clone()))
    };
    let Some((container, path)) = found else { return Armed::Gone };
    let job = Arc::clone(shared);
    let armed = container.run(&path, move |place, root| {
        for _ in 0..ATTEMPTS {
            if let Some(armed) = walk_once(&job, watch, root, place.path.as_str()) {
                return Ok(armed);
            }
        }
        Ok(Armed::Partly)
    });
    match armed.await {
        Ok(armed) => armed,
        Err(Error::Exited { .. }) => Armed::Gone,
        Err(error) => {
            tracing::debug!(%error, "cannot watch a path");
            Armed::Partly
        }
    }
}

/// One walk. `None`: descriptors that it got were taken away meanwhile, walk again.
fn walk_once(shared: &Shared, watch: WatchId, root: &OwnedFd, path: &str) -> Option<Armed> {
    let _under_way = UnderWay::begin(shared);
    let Walk { interests, failure } = walk(&shared.inotify, root, path);
    let mut state = shared.lock();
    let wanted = state.watched.contains_key(&watch);
    let alive = state.table.are_alive(&interests);
    if !wanted || !alive {
        for interest in &interests {
            state.table.give_back(&shared.inotify, interest.wd);
        }
        return if wanted { None } else { Some(Armed::Gone) };
    }
    state.table.replace(&shared.inotify, watch, interests);
    drop(state);
    let Some(failure) = failure else { return Some(Armed::Fully) };
    if failure.raw_os_error() == Some(libc::ENOSPC) {
        shared.warn_once(&failure);
    } else {
        tracing::debug!(path, error = %failure, "cannot watch all of a path");
    }
    Some(Armed::Partly)
}

/// A walk under way, as the table counts them.
struct UnderWay<'a>(&'a Shared);

impl<'a> UnderWay<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.lock().table.begin_walk();
        Self(shared)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.lock().table.end_walk();
    }
}

/// Reports each change of the container's table of mounts.
fn poll_mounts(container: &Container, changed: mpsc::UnboundedSender<ContainerIdentity>) -> Poll {
    let identity = *container.identity();
    let interest = Interest::PRIORITY | Interest::ERROR;
    let table = container.mountinfo().and_then(|file| Polled::new(file, interest));
    let table = match table {
        Ok(table) => table,
        Err(error) => {
            // Usual where the container has just exited.
            tracing::debug!(pid = identity.pid, %error, "cannot watch the container's mounts");
            return Poll(None);
        }
    };
    // The file holds the mount namespace: it is closed when the last watch of the container ends.
    let poll = tokio::spawn(async move {
        while let Ok(mut ready) = table.ready(interest).await {
            ready.clear_ready();
            if changed.send(identity).is_err() {
                return;
            }
        }
    });
    Poll(Some(poll.abort_handle()))
}

/// A task that ends with its owner.
struct Poll(Option<AbortHandle>);

impl Drop for Poll {
    fn drop(&mut self) {
        if let Some(poll) = &self.0 {
            poll.abort();
        }
    }
}
