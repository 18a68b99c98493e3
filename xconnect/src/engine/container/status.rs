//! What can be said about a container at one moment.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::{RecoveryPolicy, RestartPolicy, StatusGoal};
use crate::graph::ProcessId;
use crate::ids::{ContainerName, Role};

/// Pantavisor's states of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// Nothing known about it yet.
    None,
    /// Its manifests are accepted.
    Installed,
    /// It waits for its turn, or its goal is to be mounted only.
    Mounted,
    /// Its group waits for an earlier one.
    Blocked,
    /// The runtime is creating it.
    Starting,
    /// Its first process runs.
    Started,
    /// It signalled that it is ready.
    Ready,
    /// It ended, and is started again after a wait.
    Recovering,
    /// It was asked to end.
    Stopping,
    /// It ended.
    Stopped,
}

impl State {
    /// The name in the control API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Installed => "INSTALLED",
            Self::Mounted => "MOUNTED",
            Self::Blocked => "BLOCKED",
            Self::Starting => "STARTING",
            Self::Started => "STARTED",
            Self::Ready => "READY",
            Self::Recovering => "RECOVERING",
            Self::Stopping => "STOPPING",
            Self::Stopped => "STOPPED",
        }
    }

    /// True while the container's first process runs.
    #[must_use]
    pub fn is_running(self) -> bool {
        matches!(self, Self::Started | Self::Ready)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// True if a container in `state` has arrived at `goal`.
pub(crate) fn reached(goal: StatusGoal, state: State) -> bool {
    match goal {
        StatusGoal::Mounted => matches!(state, State::Mounted | State::Started | State::Ready),
        StatusGoal::Started => state.is_running(),
        StatusGoal::Ready => state == State::Ready,
    }
}

/// How a container's first process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exit {
    /// By itself, with this exit code.
    Code(i32),
    /// By a signal of this number.
    Signal(i32),
    /// It never ran: the runtime could not create it.
    NotCreated,
    /// Nobody was there to learn it (its shim was killed).
    Unknown,
}

impl Exit {
    /// True for exit code 0.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "killed by signal {signal}"),
            Self::NotCreated => f.write_str("could not be created"),
            Self::Unknown => f.write_str("exit status unknown"),
        }
    }
}

/// What an operator can ask of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Run it; clears `user_stopped` and the retries.
    Start,
    /// End it, and leave it ended.
    Stop,
    /// End it and run it again.
    Restart,
}

/// Where the recovery of a container stands.
#[derive(Debug, Clone, PartialEq)]
pub struct RecoveryStatus {
    /// The rules.
    pub policy: RecoveryPolicy,
    /// Restarts since the last reset.
    pub current_retries: u32,
    /// True once it stayed at its goal for `stable_timeout`.
    pub is_stable: bool,
    /// True when it is given up.
    pub failed: bool,
}

/// One container as `GET /containers` shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerStatus {
    /// Its name.
    pub name: ContainerName,
    /// Its group.
    pub group: String,
    /// Its state.
    pub status: State,
    /// The state that counts as arrived.
    pub status_goal: StatusGoal,
    /// Who may start and stop it.
    pub restart_policy: RestartPolicy,
    /// Its first process, while it runs.
    pub process: Option<ProcessId>,
    /// How long it has been running.
    pub uptime: Option<Duration>,
    /// Its roles.
    pub roles: Vec<Role>,
    /// True after an operator's stop.
    pub user_stopped: bool,
    /// Recovery.
    pub recovery: RecoveryStatus,
    /// How its last run ended, and when.
    pub last_exit: Option<(Exit, SystemTime)>,
    /// Why it is where it is, when something went wrong.
    pub reason: Option<String>,
    /// True for a container that another runtime runs.
    pub external: bool,
}

/// One group as `GET /groups` shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupStatus {
    /// Its name.
    pub name: String,
    /// The goal of its containers that name none.
    pub status_goal: StatusGoal,
    /// The restart policy of its containers that name none.
    pub restart_policy: RestartPolicy,
    /// The least advanced state of its containers; its goal when it has none.
    pub status: State,
    /// True once every container reached its goal.
    pub reached: bool,
    /// The recovery of its containers that name none.
    pub recovery: RecoveryPolicy,
    /// Why it is not there yet, after its time ran out.
    pub reason: Option<String>,
}
