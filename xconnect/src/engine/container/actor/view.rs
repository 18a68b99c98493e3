//! What everybody may look at of a container, without asking its task.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::{MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::time::Instant;

use super::Actor;
use crate::engine::container::instance::Instance;
use crate::engine::container::{
    ContainerSpec, ContainerStatus, Exit, RecoveryStatus, RuntimeSpec, State, reached,
};
use crate::graph::ProcessId;

/// A copy of the task's state, and what was sent to it.
pub(crate) struct View {
    /// How it is wanted, by the last update that was sent.
    pub(crate) spec: ContainerSpec,
    pub(crate) state: State,
    pub(crate) process: Option<ProcessId>,
    /// Its shim, from the moment the shim exists: the ancestor of all its processes.
    pub(crate) shim: Option<u32>,
    /// The inode of its mount namespace.
    pub(crate) mount_namespace: Option<u64>,
    /// True once the task has taken over what a former engine left.
    pub(crate) adopted: bool,
    /// Commands that the task has not done yet.
    pub(crate) pending: usize,
    /// True when the task has ended.
    pub(crate) gone: bool,
    started: Option<Instant>,
    goal_since: Option<Instant>,
    user_stopped: bool,
    retries: u32,
    failed: bool,
    last_exit: Option<(Exit, SystemTime)>,
    reason: Option<String>,
}

impl View {
    pub(super) fn new(spec: ContainerSpec) -> Self {
        Self {
            spec,
            state: State::Installed,
            process: None,
            shim: None,
            mount_namespace: None,
            adopted: false,
            pending: 0,
            gone: false,
            started: None,
            goal_since: None,
            user_stopped: false,
            retries: 0,
            failed: false,
            last_exit: None,
            reason: None,
        }
    }

    /// True if nothing more is to be waited for: it arrived, or it does not go on by itself, or it went
    /// down again on its way. Whether a container that crashed ever arrives, nobody knows; others do not
    /// wait for it.
    pub(crate) fn is_settled(&self) -> bool {
        let external = self.spec.runtime == RuntimeSpec::External;
        let crashed = self.state == State::Recovering || self.retries > 0;
        let rests = external || crashed || self.state == State::Stopped;
        self.pending == 0 && (rests || reached(self.spec.status_goal, self.state))
    }

    pub(crate) fn status(&self) -> ContainerStatus {
        let stable =
            self.goal_since.is_some_and(|since| since.elapsed() >= self.spec.recovery.stable_timeout);
        ContainerStatus {
            name: self.spec.name.clone(),
            group: self.spec.group.clone(),
            status: self.state,
            status_goal: self.spec.status_goal,
            restart_policy: self.spec.restart_policy,
            process: self.process,
            uptime: self.started.map(|started| started.elapsed()),
            roles: self.spec.roles.clone(),
            user_stopped: self.user_stopped,
            recovery: RecoveryStatus {
                policy: self.spec.recovery,
                current_retries: self.retries,
                is_stable: stable,
                failed: self.failed,
            },
            last_exit: self.last_exit,
            reason: self.reason.clone(),
            external: self.spec.runtime == RuntimeSpec::External,
        }
    }
}

impl Actor {
    pub(super) fn locked_view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves to another state, and minds when the goal was reached.
    pub(super) fn set_state(&mut self, state: State) {
        self.state = state;
        self.goal_since = match self.goal_since {
            _ if !reached(self.spec.status_goal, state) => None,
            None => Some(Instant::now()),
            since => since,
        };
    }

    /// Shows the present state to everybody.
    pub(super) fn publish(&self) {
        let process = self.instance.as_ref().filter(|run| run.is_running()).map(|run| run.process);
        let mut view = self.locked_view();
        if process != view.process {
            view.mount_namespace = process.and_then(|process| mount_namespace(process.pid));
        }
        view.process = process;
        // Of a run that is being made, whoever makes it tells the shim.
        if self.starting.is_none() {
            view.shim = self.instance.as_ref().and_then(Instance::shim);
        }
        view.state = self.state;
        view.started = self.started.filter(|_| process.is_some());
        view.goal_since = self.goal_since;
        view.user_stopped = self.record.user_stopped;
        view.retries = self.recovery.retries;
        view.failed = self.recovery.failed;
        view.last_exit = self.record.last_exit;
        view.reason.clone_from(&self.reason);
        drop(view);
        self.context.bump();
    }
}

/// The inode of a process's mount namespace (namespaces(7)).
pub(crate) fn mount_namespace(pid: u32) -> Option<u64> {
    fs::metadata(format!("/proc/{pid}/ns/mnt")).ok().map(|namespace| namespace.ino())
}
