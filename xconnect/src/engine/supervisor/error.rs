//! Why the supervisor refuses.

use std::io;
use std::path::PathBuf;

use crate::ids::ContainerName;

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
    /// The engine is ending.
    #[error("the engine is ending")]
    Ending,
    /// Its process cannot be watched.
    #[error("process {pid}: {source}")]
    Process {
        /// The process.
        pid: u32,
        /// Why.
        source: io::Error,
    },
}
