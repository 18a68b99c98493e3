//! All containers: what is wanted of them, whose turn it is, and what can be said about them.

mod error;
mod groups;
mod membership;
mod requests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use super::container::{
    Actor, Command, ContainerSpec, ContainerStatus, Context, Desired, Exit, GroupStatus, Handle, RuntimeSpec,
};
use super::runtime::cgroup;
use super::runtime::files::ContainerDir;
use super::shim::ShimCommand;
use crate::graph::Presence;
use crate::ids::ContainerName;

pub use error::{Error, RegisterError, SignalError};
use groups::Plan;

/// How the engine is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where records and logs are.
    pub run_dir: PathBuf,
    /// The folder of all containers' cgroups.
    pub cgroup_root: String,
    /// How shims are started.
    pub shim: ShimCommand,
    /// How long a container may take to end before it is killed.
    pub stop_grace: Duration,
}

impl Config {
    /// The defaults for a run directory.
    #[must_use]
    pub fn new(run_dir: impl Into<PathBuf>) -> Self {
        Self {
            run_dir: run_dir.into(),
            cgroup_root: "xconnect".to_owned(),
            shim: ShimCommand::current_exe(),
            stop_grace: Duration::from_secs(5),
        }
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.run_dir.join("containers")
    }

    pub(crate) fn container_dir(&self, name: &ContainerName) -> ContainerDir {
        ContainerDir::new(self.containers().join(name.as_str()))
    }

    pub(crate) fn log_dir(&self) -> PathBuf {
        self.run_dir.join("logs")
    }
}

/// What happened, for whoever reports it.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A container's first process runs.
    Started {
        /// The container.
        name: ContainerName,
    },
    /// A container ended, or could not be made.
    Exited {
        /// The container.
        name: ContainerName,
        /// How.
        exit: Exit,
    },
    /// A container's retries are used up.
    RecoveryExhausted {
        /// The container.
        name: ContainerName,
        /// True: its manifest asks for a reboot of the host.
        reboot: bool,
    },
    /// A group did not arrive in its time; the next one starts nevertheless.
    GroupTimeout {
        /// The group.
        group: String,
        /// Who is missing.
        waiting: Vec<ContainerName>,
    },
}

/// Whether containers end with the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopContainers {
    /// They are stopped, and nothing of them is left but their logs.
    Yes,
    /// They run on, for the next engine to adopt.
    Leave,
}

/// Who wants a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The revision.
    Revision,
    /// Whoever registered it.
    Registered,
}

struct Entry {
    handle: Handle,
    origin: Origin,
}

/// All containers, and whether anything may be wanted of them.
#[derive(Default)]
struct Entries {
    all: BTreeMap<ContainerName, Entry>,
    phase: Phase,
}

/// Under the lock of the containers, so that nothing is sent to one of them after it was told to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Serving,
    /// [`Supervisor::shutdown`] has begun.
    Ending,
}

struct Shared {
    context: Arc<Context>,
    entries: Mutex<Entries>,
    groups: Mutex<groups::Groups>,
    /// Sent when the groups have to be gone through again.
    plan: watch::Sender<Plan>,
}

/// A handle to all containers; clones are the same supervisor. When the last one is dropped, the
/// containers run on.
#[derive(Clone)]
pub struct Supervisor {
    shared: Arc<Shared>,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Supervisor {
    /// Starts with no container wanted. What a former engine left is taken over by the first
    /// [`Self::apply`], which says what of it is still wanted. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// The run directory cannot be used.
    pub fn start(mut config: Config) -> Result<Self, Error> {
        // Shims change their directory.
        let absolute = std::path::absolute(&config.run_dir);
        config.run_dir = absolute.map_err(|source| Error::RunDir { path: config.run_dir, source })?;
        let path = config.containers();
        let made = ContainerDir::new(&path).create();
        made.map_err(|source| Error::RunDir { path, source })?;
        let context =
            Arc::new(Context { config, changed: watch::Sender::new(0), events: broadcast::Sender::new(256) });
        let shared = Arc::new(Shared {
            context,
            entries: Mutex::default(),
            groups: Mutex::default(),
            plan: watch::Sender::new(Plan::InOrder),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(groups::start_in_order(Arc::clone(&shared)));
        Ok(Self { shared, tasks: Arc::new(Mutex::new(tasks)) })
    }

    /// Makes these containers the wanted ones: others are stopped, changed ones started anew, new ones
    /// started in the order of the groups. Returns at once. Once the engine is ending this does nothing:
    /// the next one sees for itself what is wanted.
    pub fn apply(&self, desired: Desired) {
        let mut guard = lock(&self.shared.entries);
        if guard.phase == Phase::Ending {
            return;
        }
        let entries = &mut guard.all;
        entries.retain(|_, entry| !entry.handle.view().gone);
        let wanted: BTreeMap<_, _> =
            desired.containers.into_iter().map(|spec| (spec.name.clone(), spec)).collect();
        for (name, entry) in entries.iter() {
            if entry.origin == Origin::Revision && !wanted.contains_key(name) {
                entry.handle.send(Command::Remove);
            }
        }
        for name in self.left_behind() {
            if !wanted.contains_key(&name) && !entries.contains_key(&name) {
                let spec = ContainerSpec::new(name.clone(), RuntimeSpec::Rootfs(Default::default()));
                let handle = self.spawn(spec);
                handle.send(Command::Remove);
                entries.insert(name, Entry { handle, origin: Origin::Revision });
            }
        }
        lock(&self.shared.groups).set(desired.groups, wanted.values());
        for (name, spec) in wanted {
            let known = entries.get(&name);
            if !known.is_some_and(|entry| entry.handle.send(Command::Update(Box::new(spec.clone())))) {
                let handle = self.spawn(spec);
                entries.insert(name, Entry { handle, origin: Origin::Revision });
            } else if let Some(entry) = entries.get_mut(&name) {
                entry.origin = Origin::Revision;
            }
        }
        self.shared.plan.send_replace(Plan::InOrder);
        drop(guard);
        self.shared.context.bump();
    }

    /// Waits until every container's task has taken over what a former engine left of it: before that,
    /// [`Self::presence`] knows nothing of containers that run.
    pub async fn adopted(&self) {
        let mut changed = self.subscribe();
        loop {
            changed.borrow_and_update();
            let settled = lock(&self.shared.entries).all.values().all(|entry| {
                let view = entry.handle.view();
                let registering = view.spec.runtime == RuntimeSpec::External && view.pending > 0;
                view.gone || (view.adopted && !registering)
            });
            if settled || changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Names of containers of which a former engine left records.
    fn left_behind(&self) -> Vec<ContainerName> {
        let entries =
            std::fs::read_dir(self.shared.context.config.containers()).into_iter().flatten().flatten();
        entries.filter_map(|entry| ContainerName::new(entry.file_name().into_string().ok()?).ok()).collect()
    }

    fn spawn(&self, spec: ContainerSpec) -> Handle {
        let (actor, handle) = Actor::new(Arc::clone(&self.shared.context), spec);
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(actor.run());
        handle
    }

    fn handle(&self, name: &ContainerName) -> Option<Handle> {
        let handle = lock(&self.shared.entries).all.get(name)?.handle.clone();
        let gone = handle.view().gone;
        (!gone).then_some(handle)
    }

    /// All containers, by name.
    #[must_use]
    pub fn snapshot(&self) -> Vec<ContainerStatus> {
        let entries = lock(&self.shared.entries);
        let views = entries.all.values().map(|entry| entry.handle.view()).filter(|view| !view.gone);
        views.map(|view| view.status()).collect()
    }

    /// All groups, in the order in which they start.
    #[must_use]
    pub fn groups(&self) -> Vec<GroupStatus> {
        let snapshot = self.snapshot();
        lock(&self.shared.groups).status(&snapshot)
    }

    /// A number that changes whenever [`Self::snapshot`] or [`Self::groups`] do.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.context.changed.subscribe()
    }

    /// What happens from this moment on; slow listeners miss the oldest.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.context.events.subscribe()
    }

    /// Where a container is.
    #[must_use]
    pub fn presence(&self, name: &ContainerName) -> Presence {
        let process = self.handle(name).and_then(|handle| handle.view().process);
        process.map_or(Presence::NotRunning, Presence::Running)
    }

    /// Ends supervising. With [`StopContainers::Yes`] it returns when all containers are gone. Whatever
    /// is asked for from now on is refused.
    pub async fn shutdown(&self, containers: StopContainers) {
        let command = || match containers {
            StopContainers::Yes => Command::Remove,
            StopContainers::Leave => Command::Leave,
        };
        let mut tasks = {
            let mut entries = lock(&self.shared.entries);
            entries.phase = Phase::Ending;
            self.shared.plan.send_replace(Plan::Over);
            for entry in entries.all.values() {
                entry.handle.send(command());
            }
            std::mem::take(&mut *lock(&self.tasks))
        };
        while tasks.join_next().await.is_some() {}
        if containers == StopContainers::Yes {
            let root = self.shared.context.config.cgroup_root.clone();
            // Nothing is lost where the folder stays.
            let _ = tokio::task::spawn_blocking(move || cgroup::remove_root(&root)).await;
        }
    }
}
