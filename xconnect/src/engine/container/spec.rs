//! What is wanted: containers and groups of one revision, free of manifest syntax.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{RecoveryPolicy, RestartPolicy, StatusGoal};
use crate::ids::{ContainerName, InsidePath, Role};

/// The network of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// A network namespace of its own with nothing but `lo`, up. What a container gets that names no
    /// network: services come through the mesh.
    #[default]
    None,
    /// The host's network.
    Host,
    /// An address from a pool of the host's manifest; this runtime refuses to start such a container.
    Pool,
}

/// One range of a user namespace's id map (user_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IdMapping {
    /// First id inside.
    pub inside: u32,
    /// First id on the host.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// One more mount.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MountSpec {
    /// Where the container sees it.
    pub target: InsidePath,
    /// The file system's type, or `bind`.
    pub kind: String,
    /// The host's path for a bind mount, else what the file system takes.
    pub source: String,
    /// Options as in mount(8).
    pub options: Vec<String>,
}

/// A container made of a directory and a command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RootfsSpec {
    /// The directory; never written to (the container gets a volatile layer above it).
    pub rootfs: PathBuf,
    /// Program and arguments.
    pub exec: Vec<String>,
    /// Environment as `KEY=value`; `PATH` is added when it is missing.
    pub env: Vec<String>,
    /// Working directory; `/` when empty.
    pub cwd: String,
    /// Mounts beside the usual ones.
    pub mounts: Vec<MountSpec>,
    /// True: the root cannot be written to.
    pub read_only: bool,
    /// User and group id inside.
    pub user: (u32, u32),
    /// Ids of a user namespace; none of them: the container shares the host's.
    pub uid_map: Vec<IdMapping>,
    /// Group ids of a user namespace.
    pub gid_map: Vec<IdMapping>,
}

/// How a container is run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeSpec {
    /// From a directory and a command.
    Rootfs(RootfsSpec),
    /// From an OCI bundle (`config.json` and its root).
    Bundle(PathBuf),
    /// By somebody else, who registers it.
    External,
}

/// One container.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerSpec {
    /// Its name.
    pub name: ContainerName,
    /// Its group.
    pub group: String,
    /// When it counts as arrived.
    pub status_goal: StatusGoal,
    /// Who may start and stop it.
    pub restart_policy: RestartPolicy,
    /// What happens when it ends.
    pub recovery: RecoveryPolicy,
    /// Its roles.
    pub roles: Vec<Role>,
    /// How it is run.
    pub runtime: RuntimeSpec,
    /// Its network.
    pub network: NetworkMode,
    /// Its host name; its own name when `None`.
    pub hostname: Option<String>,
    /// The signal that asks it to end (number), where it is not the bundle's or SIGTERM.
    pub stop_signal: Option<i32>,
}

impl ContainerSpec {
    /// A container that runs `exec` in `rootfs`, with defaults for all else.
    #[must_use]
    pub fn new(name: ContainerName, runtime: RuntimeSpec) -> Self {
        Self {
            name,
            group: "app".to_owned(),
            status_goal: StatusGoal::Started,
            restart_policy: RestartPolicy::Container,
            recovery: RecoveryPolicy::default(),
            roles: Vec::new(),
            runtime,
            network: NetworkMode::None,
            hostname: None,
            stop_signal: None,
        }
    }

    /// A hash over what can only be changed by starting the container anew. What another runtime runs is
    /// the same however its manifest changes: none of this is ours to set.
    #[must_use]
    pub fn run_hash(&self) -> String {
        if self.runtime == RuntimeSpec::External {
            return "external".to_owned();
        }
        let parts = serde_json::json!([self.runtime, self.network, self.hostname, self.stop_signal]);
        let digest = Sha256::digest(parts.to_string().as_bytes());
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// One group.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupSpec {
    /// Its name.
    pub name: String,
    /// The goal of containers that name none.
    pub status_goal: StatusGoal,
    /// The restart policy of containers that name none.
    pub restart_policy: RestartPolicy,
    /// The recovery of containers that name none.
    pub recovery: RecoveryPolicy,
    /// So long the next group waits for this one.
    pub timeout: Duration,
}

impl GroupSpec {
    /// Pantavisor's own groups, in their order.
    #[must_use]
    pub fn built_in() -> Vec<Self> {
        let group = |name: &str, status_goal, restart_policy| Self {
            name: name.to_owned(),
            status_goal,
            restart_policy,
            recovery: RecoveryPolicy::default(),
            timeout: Duration::from_secs(30),
        };
        vec![
            group("data", StatusGoal::Mounted, RestartPolicy::System),
            group("root", StatusGoal::Started, RestartPolicy::System),
            group("platform", StatusGoal::Started, RestartPolicy::System),
            group("app", StatusGoal::Started, RestartPolicy::Container),
        ]
    }
}

/// All that is wanted of one revision.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    /// Groups in the order in which they start.
    pub groups: Vec<GroupSpec>,
    /// The containers.
    pub containers: Vec<ContainerSpec>,
}
