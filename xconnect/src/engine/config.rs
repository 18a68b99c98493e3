//! What the operator may choose about the engine.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Options of the engine.
#[derive(Debug, Clone)]
pub struct Config {
    /// The state directory.
    pub state: PathBuf,
    /// Sockets, locks, logs and what is known of running containers.
    pub run_dir: PathBuf,
    /// The audit log.
    pub audit_log: PathBuf,
    /// The program of the mesh, run as a managed daemon; `None`: somebody else runs it.
    pub xconnect: Option<PathBuf>,
    /// The folder of all containers' cgroups.
    pub cgroup_root: String,
    /// How long a container may take to end before it is killed.
    pub stop_grace: Duration,
}

impl Config {
    /// The control socket.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.run_dir.join("pv-ctrl")
    }

    /// The mesh's own socket.
    pub(super) fn mesh_socket(&self) -> PathBuf {
        self.run_dir.join("pv-xconnect")
    }

    pub(super) fn fdstore(&self) -> PathBuf {
        self.run_dir.join("fdstore")
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.run_dir.join("logs")
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.run_dir.join("pv-appengine.lock")
    }

    pub(super) fn mesh_lock(&self) -> PathBuf {
        self.run_dir.join("pv-xconnect.lock")
    }

    /// Makes all paths absolute: daemons and shims have directories of their own.
    pub(super) fn absolute(mut self) -> std::io::Result<Self> {
        let absolute = |path: &Path| std::path::absolute(path);
        self.state = absolute(&self.state)?;
        self.run_dir = absolute(&self.run_dir)?;
        self.audit_log = absolute(&self.audit_log)?;
        self.xconnect = self.xconnect.as_deref().map(absolute).transpose()?;
        Ok(self)
    }
}
