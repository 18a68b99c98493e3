//! All containers: what is wanted of them, whose turn it is, and what can be said about them.

mod groups;
mod membership;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use super::container::{
    Action, ActionError, Actor, Command, ContainerSpec, ContainerStatus, Context, Desired, Exit, GroupStatus,
    Handle, RuntimeSpec, State, StatusGoal, decide,
};
use super::runtime::cgroup;
use super::runtime::files::ContainerDir;
use super::shim::ShimCommand;
use crate::graph::{Presence, ProcessId};
use crate::ids::ContainerName;
use crate::sys::process;

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

/// Why the supervisor cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its directory cannot be made or read.
    #[error("cannot use {}: {source}", path.display())]
    RunDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Why a container's `ready` was refused. The text is Pantavisor's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Signal not expected from this platform")]
pub struct SignalError;

/// Why a container of another runtime could not be registered or unregistered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The embedded runtime runs a container of that name.
    #[error("container {0} is run by this engine")]
    Ours(ContainerName),
    /// Nobody registered it.
    #[error("Container not found")]
    NotFound,
    /// Its process cannot be watched.
    #[error("process {pid}: {source}")]
    Process {
        /// The process.
        pid: u32,
        /// Why.
        source: io::Error,
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

struct Shared {
    context: Arc<Context>,
    entries: Mutex<BTreeMap<ContainerName, Entry>>,
    groups: Mutex<groups::Groups>,
    /// Bumped when the groups have to be gone through again.
    plan: watch::Sender<u64>,
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
            plan: watch::Sender::new(0),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(groups::start_in_order(Arc::clone(&shared)));
        Ok(Self { shared, tasks: Arc::new(Mutex::new(tasks)) })
    }

    /// Makes these containers the wanted ones: others are stopped, changed ones started anew, new ones
    /// started in the order of the groups. Returns at once.
    pub fn apply(&self, desired: Desired) {
        let mut entries = lock(&self.shared.entries);
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
        drop(entries);
        self.shared.plan.send_modify(|version| *version += 1);
        self.shared.context.bump();
    }

    /// Waits until every container's task has taken over what a former engine left of it: before that,
    /// [`Self::presence`] knows nothing of containers that run.
    pub async fn adopted(&self) {
        let mut changed = self.subscribe();
        loop {
            changed.borrow_and_update();
            let settled = lock(&self.shared.entries).values().all(|entry| {
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
        let handle = lock(&self.shared.entries).get(name)?.handle.clone();
        let gone = handle.view().gone;
        (!gone).then_some(handle)
    }

    /// All containers, by name.
    #[must_use]
    pub fn snapshot(&self) -> Vec<ContainerStatus> {
        let entries = lock(&self.shared.entries);
        let views = entries.values().map(|entry| entry.handle.view()).filter(|view| !view.gone);
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

    /// Does what an operator asks for. Returns when it is decided, not when it is done.
    ///
    /// # Errors
    /// [`ActionError`], with Pantavisor's texts.
    pub fn action(&self, name: &ContainerName, action: Action) -> Result<(), ActionError> {
        let handle = self.handle(name).ok_or(ActionError::NotFound)?;
        {
            let view = handle.view();
            if view.spec.runtime == RuntimeSpec::External {
                return Err(ActionError::External);
            }
            // With commands under way, the state is about to change; the task decides then.
            let decided = decide(view.state, view.spec.restart_policy, action);
            match decided {
                Err(ActionError::System) => return Err(ActionError::System),
                Err(error) if view.pending == 0 => return Err(error),
                _ => {}
            }
        }
        if handle.send(Command::Act(action)) { Ok(()) } else { Err(ActionError::NotFound) }
    }

    /// A container says that it is ready.
    ///
    /// # Errors
    /// Nobody waits for that.
    pub fn signal_ready(&self, name: &ContainerName) -> Result<(), SignalError> {
        let handle = self.handle(name).ok_or(SignalError)?;
        let expected = {
            let view = handle.view();
            view.spec.status_goal == StatusGoal::Ready
                && matches!(view.state, State::Starting | State::Started | State::Ready)
        };
        if expected && handle.send(Command::Ready) { Ok(()) } else { Err(SignalError) }
    }

    /// Notes a container that another runtime runs; its end is watched, and never brought about.
    ///
    /// # Errors
    /// The name is one of ours, or the process is not there.
    pub fn register(&self, spec: ContainerSpec, process_id: ProcessId) -> Result<(), RegisterError> {
        let failed = |source| RegisterError::Process { pid: process_id.pid, source };
        let start = process::start_time(process_id.pid).map_err(failed)?;
        let start = process_id.start.unwrap_or(start);
        process::open_verified(process_id.pid, start).map_err(failed)?;
        let name = spec.name.clone();
        let spec = ContainerSpec { runtime: RuntimeSpec::External, ..spec };
        let mut entries = lock(&self.shared.entries);
        let known = entries.get(&name).filter(|entry| !entry.handle.view().gone);
        if known.is_some_and(|entry| entry.handle.view().spec.runtime != RuntimeSpec::External) {
            return Err(RegisterError::Ours(name));
        }
        let known = known.map(|entry| entry.handle.clone());
        let handle = match known {
            Some(handle) if handle.send(Command::Update(Box::new(spec.clone()))) => handle,
            _ => {
                let handle = self.spawn(spec);
                entries.insert(name, Entry { handle: handle.clone(), origin: Origin::Registered });
                handle
            }
        };
        handle.send(Command::Register(ProcessId { pid: process_id.pid, start: Some(start) }));
        Ok(())
    }

    /// Forgets a container that another runtime ran.
    ///
    /// # Errors
    /// The name is one of ours, or nobody's.
    pub fn unregister(&self, name: &ContainerName) -> Result<(), RegisterError> {
        let entries = lock(&self.shared.entries);
        let entry =
            entries.get(name).filter(|entry| !entry.handle.view().gone).ok_or(RegisterError::NotFound)?;
        if entry.handle.view().spec.runtime != RuntimeSpec::External {
            return Err(RegisterError::Ours(name.clone()));
        }
        let command = match entry.origin {
            Origin::Registered => Command::Remove,
            Origin::Revision => Command::Unregister,
        };
        entry.handle.send(command);
        Ok(())
    }

    /// The container that a process of this host is in.
    #[must_use]
    pub fn container_of(&self, pid: u32) -> Option<ContainerName> {
        let entries = lock(&self.shared.entries);
        let homes = entries.iter().filter_map(|(name, entry)| {
            let view = entry.handle.view();
            Some(membership::Home { name, pid: view.process?.pid, mount_namespace: view.mount_namespace })
        });
        membership::find(pid, &homes.collect::<Vec<_>>()).cloned()
    }

    /// Ends supervising. With [`StopContainers::Yes`] it returns when all containers are gone.
    pub async fn shutdown(&self, containers: StopContainers) {
        let command = || match containers {
            StopContainers::Yes => Command::Remove,
            StopContainers::Leave => Command::Leave,
        };
        let mut tasks = {
            let entries = lock(&self.shared.entries);
            self.shared.plan.send_modify(|version| *version = groups::OVER);
            for entry in entries.values() {
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
