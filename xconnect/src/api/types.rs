//! JSON of every endpoint of the control socket (links of the graph: `graph::wire::LinkEntry`).
//!
//! Answers let unknown fields pass when they are read, so that a client understands a newer server and
//! Pantavisor; requests refuse them, so that a misspelt key is told and not ignored.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

mod container;

pub use container::{AutoRecovery, Consumes, Container, Flag, Group, Provides, Uptime};

/// The body of every error answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong; Pantavisor's text where it has the same error.
    #[serde(rename = "Error")]
    pub error: String,
    /// The place in the request that is at fault, where there is one (`action: invalid type: …`).
    #[serde(rename = "Detail", default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// One element of `GET /daemons`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Daemon {
    /// The program's name.
    pub name: String,
    /// Its process, −1 when it does not run.
    pub pid: i64,
    /// True where it is started again when it ends.
    pub respawn: bool,
}

/// What `PUT /daemons/{name}` and `PUT /containers/{name}` can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionName {
    /// Run it.
    Start,
    /// End it and leave it so.
    Stop,
    /// End it and run it again.
    Restart,
}

impl ActionName {
    /// The word of the request.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
        }
    }

    /// Reads the word of the request.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Start, Self::Stop, Self::Restart].into_iter().find(|action| action.as_str() == word)
    }
}

/// The body of `PUT /daemons/{name}` and `PUT /containers/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionRequest {
    /// `start`, `stop` or `restart`.
    pub action: String,
}

/// The body of `POST /signal`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signal {
    /// The kind of signal; `ready` is the one there is.
    #[serde(rename = "type")]
    pub kind: String,
    /// Anything the signal carries; empty for `ready`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
}

/// The body of `POST /containers/{name}`: a container that something else started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterRequest {
    /// Its first process, as the host numbers it.
    pub pid: u32,
    /// Start time of that process in clock ticks since boot (`/proc/PID/stat` field 22), where the
    /// caller knows it: a recycled number is then refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<u64>,
    /// Its manifests by file name: `services.json`, and `run.json` or `args.json`.
    #[serde(default)]
    pub manifests: BTreeMap<String, Value>,
}

/// `GET /config` (Pantavisor's dotted keys) and `GET /config2` (`PV_…` keys): one flat object.
pub type Config = Map<String, Value>;

/// `GET /revision`: which state is applied, and which one was refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionStatus {
    /// The applied revision (SHA-256 in hexadecimal), `null` before the first valid one.
    pub revision: Option<String>,
    /// When it was applied (RFC 3339, UTC).
    pub since: Option<String>,
    /// Why the directory's present content is not applied; `null` where it is.
    pub refused: Option<RefusedRevision>,
}

/// A state of the directory that was refused whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedRevision {
    /// When it was refused (RFC 3339, UTC).
    pub since: String,
    /// Every error, each with its file and place.
    pub errors: Vec<String>,
}

/// One line of the audit log and one element of `GET /audit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Position in the log, from 1, without gaps.
    pub seq: u64,
    /// When (RFC 3339, UTC).
    pub time: String,
    /// What happened.
    pub event: AuditEvent,
    /// Who changed the state.
    pub author: Author,
    /// The revision before, `null` at the first start.
    pub from: Option<String>,
    /// The revision after; of a refused state `null`.
    pub to: Option<String>,
    /// Manifest files that differ from the ones applied before.
    #[serde(default)]
    pub files: Changes,
    /// Containers that came, went or changed.
    #[serde(default)]
    pub containers: Changes,
    /// Links that came, went or changed (`consumer:target (service)`).
    #[serde(default)]
    pub links: Changes,
    /// Of a refused state: every error.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
}

/// What an audit entry records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditEvent {
    /// A revision became the desired state.
    Applied,
    /// A state was refused; the revision before stays.
    Refused,
    /// An external container was registered.
    Registered,
    /// An external container was taken off.
    Unregistered,
}

/// Who changed the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    /// How the change came: `state directory`, `control socket`, or `link` (a container's, to that socket).
    pub via: String,
    /// Owners of the changed files, or the caller's user.
    pub uids: Vec<u32>,
    /// The container that the caller is in, for a change over the control socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The caller's process, for a change over the control socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
}

/// Names that came, went or changed, each sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Not there before.
    pub added: Vec<String>,
    /// Not there any more.
    pub removed: Vec<String>,
    /// Different content.
    pub changed: Vec<String>,
}

impl Changes {
    /// Compares two sets of named things.
    #[must_use]
    pub fn between<K, V: PartialEq>(
        old: &BTreeMap<K, V>,
        new: &BTreeMap<K, V>,
        name: impl Fn(&K) -> String,
    ) -> Self
    where
        K: Ord,
    {
        let mut changes = Self::default();
        for (key, value) in new {
            match old.get(key) {
                None => changes.added.push(name(key)),
                Some(before) if before != value => changes.changed.push(name(key)),
                Some(_) => {}
            }
        }
        changes.removed.extend(old.keys().filter(|key| !new.contains_key(key)).map(name));
        changes
    }

    /// True where nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}
