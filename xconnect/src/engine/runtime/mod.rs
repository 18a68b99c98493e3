//! The embedded runtime: how a container's root, its OCI configuration and its cgroups are made.
//! Everything here runs in the shim, except `cgroup` and `files`, which the engine uses as well.

pub(crate) mod bundle;
pub(crate) mod cgroup;
pub(crate) mod files;
pub(crate) mod oci;
pub(crate) mod root;

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::container::{NetworkMode, RuntimeSpec};

/// What one shim is asked to run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Request {
    /// Names this run of the container; a new one each time.
    pub(crate) id: String,
    /// The container's name.
    pub(crate) name: String,
    pub(crate) runtime: RuntimeSpec,
    pub(crate) network: NetworkMode,
    pub(crate) hostname: String,
    /// The folder of all our cgroups, like `xconnect`.
    pub(crate) cgroup_root: String,
    /// Where its output goes.
    pub(crate) log: PathBuf,
}

/// Why a container could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{action} {}: {source}", path.display())]
    Path { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{path}: {message}", path = path.display())]
    Config { path: PathBuf, message: String },
    #[error("{action}: {source}")]
    Call { action: &'static str, source: io::Error },
    #[error("{0}")]
    Refused(String),
    #[error("{}", plain(.0))]
    Runtime(#[from] libcontainer::error::LibcontainerError),
    #[error("{0}")]
    Exec(String),
}

impl Error {
    pub(crate) fn path(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Path { action, path, source }
    }

    pub(crate) fn call<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Call { action, source: source.into() }
    }
}

/// The library's text without the layers that it went through.
fn plain(error: &libcontainer::error::LibcontainerError) -> String {
    let text = error.to_string();
    let last = text.rsplit("error in executing process : ").next().unwrap_or(&text);
    last.strip_prefix("failed to create container: ").unwrap_or(last).to_owned()
}
