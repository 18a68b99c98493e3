//! What must survive the engine: `state.json` of one container, written before it matters.

use std::io;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::Exit;
use crate::engine::runtime::files::{self, ContainerDir};
use crate::graph::ProcessId;

/// `state.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    /// What the container was started from ([`super::ContainerSpec::run_hash`]).
    pub(crate) run_hash: String,
    /// The run that was asked for; `None` once it is over.
    pub(crate) run: Option<String>,
    /// The first process of a container that somebody else runs.
    pub(crate) external: Option<(u32, u64)>,
    /// Restarts since the last reset.
    pub(crate) retries: u32,
    /// True when the retries were used up.
    pub(crate) failed: bool,
    /// True after an operator's stop.
    pub(crate) user_stopped: bool,
    /// True once it said that it is ready, in this run.
    pub(crate) ready: bool,
    /// True while it is to be started again after its end.
    pub(crate) recovering: bool,
    /// How the last run ended, and when.
    pub(crate) last_exit: Option<(Exit, SystemTime)>,
    /// The boot of the kernel in which this was written.
    pub(crate) boot: String,
    /// The signal that asks it to end.
    pub(crate) stop_signal: i32,
}

impl Record {
    /// Reads a container's record; the default if there is none.
    pub(crate) fn load(dir: &ContainerDir) -> io::Result<Self> {
        Ok(files::read(&dir.state())?.unwrap_or_default())
    }

    pub(crate) fn save(&self, dir: &ContainerDir) -> io::Result<()> {
        dir.create()?;
        files::write_atomic(&dir.state(), self)
    }

    /// The registered process of a container that somebody else runs.
    pub(crate) fn external(&self) -> Option<ProcessId> {
        self.external.map(|(pid, start)| ProcessId { pid, start: Some(start) })
    }
}
