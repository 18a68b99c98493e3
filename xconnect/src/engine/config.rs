//! What the operator may choose about the engine.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::graph::CONTROL_LINKS;

/// The run directory that an engine has unless the operator names another.
pub const DEFAULT_RUN_DIR: &str = "/run/pantavisor/pv";

/// The cgroup folder of an engine with this run directory, unless the operator names another. Two
/// engines must not share one: each would take the other's containers for leftovers of its own.
#[must_use]
pub fn default_cgroup_root(run_dir: &Path) -> String {
    if run_dir == Path::new(DEFAULT_RUN_DIR) {
        return "xconnect".to_owned();
    }
    let digest = Sha256::digest(run_dir.as_os_str().as_bytes());
    let hash: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("xconnect-{hash}")
}

/// Options of the engine.
#[derive(Debug, Clone)]
pub struct Config {
    /// The state directory.
    pub state: PathBuf,
    /// Sockets, locks, logs and what is known of running containers.
    pub run_dir: PathBuf,
    /// The engine's own folder: the audit log, and the state that was applied last.
    pub data_dir: PathBuf,
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

    /// The control socket for links of containers, which pv-xconnect alone may connect to.
    pub(super) fn links_socket(&self) -> PathBuf {
        self.run_dir.join(CONTROL_LINKS)
    }

    /// The mesh's own socket.
    pub(super) fn mesh_socket(&self) -> PathBuf {
        self.run_dir.join("pv-xconnect")
    }

    pub(super) fn audit_log(&self) -> PathBuf {
        self.data_dir.join("audit.log")
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
        self.data_dir = absolute(&self.data_dir)?;
        self.xconnect = self.xconnect.as_deref().map(absolute).transpose()?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_with_their_own_run_directories_have_their_own_cgroups() {
        assert_eq!(default_cgroup_root(Path::new(DEFAULT_RUN_DIR)), "xconnect");
        let (one, two) = (default_cgroup_root(Path::new("/run/a")), default_cgroup_root(Path::new("/run/b")));
        assert_ne!(one, two);
        assert_eq!(one, default_cgroup_root(Path::new("/run/a")));
    }
}
