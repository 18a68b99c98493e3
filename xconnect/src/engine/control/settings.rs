//! What `GET /config`, `/config2` and `/buildinfo` tell.

use std::path::PathBuf;

use serde_json::Value;

use crate::api::types::Config;

/// How this engine was set up.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Settings {
    /// The state directory.
    pub(in crate::engine) state: PathBuf,
    /// The run directory.
    pub(in crate::engine) run_dir: PathBuf,
    /// The engine's own folder.
    pub(in crate::engine) data_dir: PathBuf,
    /// The folder of the containers' cgroups.
    pub(in crate::engine) cgroup_root: String,
    /// The program of the mesh; `None`: it is not managed.
    pub(in crate::engine) xconnect: Option<PathBuf>,
    /// Seconds between a container's stop signal and its kill.
    pub(in crate::engine) stop_grace_secs: f64,
}

impl Settings {
    /// Under Pantavisor's dotted names where it has the setting, `xconnect.…` for our own.
    pub(super) fn dotted(&self) -> Config {
        let path = |path: &PathBuf| Value::from(path.to_string_lossy());
        let mesh = self.xconnect.as_ref().map_or(Value::Null, path);
        [
            ("system.rundir", path(&self.run_dir)),
            ("system.statedir", path(&self.state)),
            ("control.remote", Value::from(0)),
            ("xconnect.data.dir", path(&self.data_dir)),
            ("xconnect.cgroup.root", Value::from(self.cgroup_root.as_str())),
            ("xconnect.program", mesh),
            ("xconnect.stop.grace", Value::from(self.stop_grace_secs)),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
    }

    /// The same under `PV_…` names.
    pub(super) fn upper(&self) -> Config {
        let upper = |key: String| format!("PV_{}", key.replace('.', "_").to_uppercase());
        self.dotted().into_iter().map(|(key, value)| (upper(key), value)).collect()
    }
}

/// Name, version and how the program was built.
pub(super) fn build_info() -> String {
    let (name, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    format!("{name} {version}\narch {}\nprofile {profile}\n", std::env::consts::ARCH)
}
