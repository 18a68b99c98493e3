//! `GET /containers` and `GET /groups`: the union of what Pantavisor's releases serve.

use serde::{Deserialize, Serialize};

/// A boolean that Pantavisor writes as the string `"true"` or `"false"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flag {
    /// `"true"`
    True,
    /// `"false"`
    False,
}

impl From<bool> for Flag {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

impl From<Flag> for bool {
    fn from(flag: Flag) -> Self {
        flag == Flag::True
    }
}

/// Whole seconds that a container runs; 0 when it does not.
pub type Uptime = u64;

/// One element of `GET /containers`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its group.
    #[serde(default)]
    pub group: String,
    /// Where it is in its life: `INSTALLED`, `STARTING`, `STARTED`, `READY`, `STOPPED`, …
    #[serde(default)]
    pub status: String,
    /// Where it is to get to: `MOUNTED`, `STARTED`, `READY`.
    #[serde(default)]
    pub status_goal: String,
    /// `system` or `container`.
    #[serde(default)]
    pub restart_policy: String,
    /// Its first process, −1 when none runs.
    #[serde(default = "no_pid")]
    pub pid: i64,
    /// Seconds since its start.
    #[serde(default)]
    pub uptime_secs: Uptime,
    /// Its roles.
    #[serde(default)]
    pub roles: Vec<String>,
    /// True where it was stopped over the API (only with restart policy `container`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_stopped: Option<Flag>,
    /// How it recovers, and how far it is with that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_recovery: Option<AutoRecovery>,
    /// What it provides.
    #[serde(default)]
    pub provides: Vec<Provides>,
    /// What it asks for.
    #[serde(default)]
    pub consumes: Vec<Consumes>,
    /// How it ended last: `exit code 0`, `killed by signal 9`; an addition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<String>,
    /// Why it is not at its goal, where that is known; an addition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

fn no_pid() -> i64 {
    -1
}

/// How a container or group recovers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AutoRecovery {
    /// `no`, `always`, `on-failure` or `unless-stopped`.
    #[serde(default)]
    pub policy: String,
    /// The same value under the name of earlier releases.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Restarts until it gives up; 0 is without end.
    #[serde(default)]
    pub max_retries: u32,
    /// Restarts so far (containers only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_retries: Option<u32>,
    /// First wait, seconds.
    #[serde(default)]
    pub retry_delay: u64,
    /// Factor from one wait to the next.
    #[serde(default)]
    pub backoff_factor: f64,
    /// Seconds of uptime after which the count starts anew.
    #[serde(default)]
    pub reset_window: u64,
    /// Seconds at its goal until it counts as stable.
    #[serde(default)]
    pub stable_timeout: u64,
    /// Whether it is stable (containers only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_stable: Option<Flag>,
    /// What happens when the retries are used up: `reboot`, `never` or a duration.
    #[serde(default)]
    pub backoff_policy: String,
}

/// A service that a container provides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provides {
    /// The service.
    pub name: String,
    /// Its type: `unix`, `rest`, …
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Its socket or device node in the provider.
    #[serde(default)]
    pub socket: String,
}

/// A service that a container asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consumes {
    /// The service.
    pub name: String,
    /// Its type, where the requirement or the provider says it.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// `required` or `optional`.
    #[serde(default)]
    pub requirement: String,
    /// The role under which it connects.
    #[serde(default)]
    pub role: String,
    /// The interface that it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Where it wants the socket or node.
    #[serde(default)]
    pub target: String,
}

/// One element of `GET /groups`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Where its containers are to get to.
    #[serde(default)]
    pub status_goal: String,
    /// Restart policy of its containers, where they name none.
    #[serde(default)]
    pub restart_policy: String,
    /// The lowest status among its containers.
    #[serde(default)]
    pub status: String,
    /// Recovery of its containers, where they name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_recovery: Option<AutoRecovery>,
}
