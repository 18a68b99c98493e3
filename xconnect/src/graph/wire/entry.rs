//! The shapes of the graph JSON.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer};
use serde::ser::{SerializeStruct, Serializer};
use serde::{Deserialize as DeriveDeserialize, Serialize};

use super::http::Http;
use super::rest::Rest;
use crate::graph::link::{Link, Presence};
use crate::manifest::{Forward, Identity, Limits, SocketType, UnixOptions, milliseconds};

/// Where a link is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, DeriveDeserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// In the graph, and not looked at yet.
    Declared,
    /// Something is missing: an end that does not run, a socket that is not there.
    Waiting,
    /// Being planted.
    Injecting,
    /// Planted and served.
    Up,
    /// Taking no more connections; the open ones end.
    Draining,
    /// Refused, or it cannot be done.
    Failed,
    /// Ended.
    Gone,
}

impl Status {
    /// All of them, in the order of a link's life.
    pub const ALL: [Self; 7] =
        [Self::Declared, Self::Waiting, Self::Injecting, Self::Up, Self::Draining, Self::Failed, Self::Gone];

    /// The name in the graph.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::Waiting => "waiting",
            Self::Injecting => "injecting",
            Self::Up => "up",
            Self::Draining => "draining",
            Self::Failed => "failed",
            Self::Gone => "gone",
        }
    }
}

/// Who moves the bytes of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, DeriveDeserialize)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// The kernel, by eBPF.
    Kernel,
    /// The mesh.
    User,
}

impl Path {
    /// The name in the graph.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::User => "user",
        }
    }
}

/// Connections of a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, DeriveDeserialize)]
#[serde(default)]
pub struct Connections {
    /// Open.
    pub open: u64,
    /// Accepted since the link exists.
    pub total: u64,
    /// Refused by a limit.
    pub refused: u64,
    /// Accepted, and not connected to the provider.
    pub failed: u64,
}

/// What went which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, DeriveDeserialize)]
#[serde(default)]
pub struct Directions {
    /// From the consumer to the provider.
    pub to_provider: u64,
    /// From the provider to the consumer.
    pub to_consumer: u64,
}

/// What one path moved, both ways together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, DeriveDeserialize)]
#[serde(default)]
pub struct Moved {
    /// Bytes.
    pub bytes: u64,
    /// Messages (reads, for a stream).
    pub messages: u64,
}

/// What the kernel moved, and how well that goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, DeriveDeserialize)]
#[serde(default)]
pub struct InKernel {
    /// Bytes.
    pub bytes: u64,
    /// Messages (socket buffers).
    pub messages: u64,
    /// Bytes that the kernel could not forward: the mesh did, or the connection was cut.
    pub errors: u64,
    /// Connections that were cut because not everything could be kept exactly in order.
    pub cut: u64,
    /// Directions of connections that lived for longer than 100 ms, and have ended; without those that `auto` has
    /// kept in user space.
    pub long_flows: u64,
    /// Of these, the ones that the kernel forwarded for.
    pub long_flows_kernel: u64,
    /// Bytes that the send buffers of open connections may hold.
    pub send_buffers: u64,
    /// How often one of them could not grow.
    pub growth_refused: u64,
    /// Open connections that stay in user space.
    pub stay: Stay,
}

/// Open connections that stay in user space though the link goes through the kernel, by the reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, DeriveDeserialize)]
#[serde(default)]
pub struct Stay {
    /// `auto` has picked it: both ends share one processor.
    pub picked: u64,
    /// There are no flows left for the link.
    pub flows: u64,
    /// There is no memory for send buffers left for the link.
    pub send_buffers: u64,
    /// There are no descriptors left for the link.
    pub descriptors: u64,
    /// The kernel would not have them.
    pub refused: u64,
}

/// The counters of a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, DeriveDeserialize)]
#[serde(default)]
pub struct Counters {
    /// Connections.
    pub connections: Connections,
    /// Bytes.
    pub bytes: Directions,
    /// Messages.
    pub messages: Directions,
    /// What the kernel moved.
    pub kernel: InKernel,
    /// What the mesh moved.
    pub user: Moved,
    /// Descriptors passed, both ways.
    pub fds: u64,
    /// Messages and requests that the policy stopped.
    pub denied: u64,
    /// Requests; only of rest links.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
}

/// What our engine tells the mesh beyond upstream's fields.
#[derive(Debug, Clone, PartialEq, Serialize, DeriveDeserialize)]
#[serde(default)]
pub struct Options {
    /// The user that the provider sees.
    pub uid: u32,
    /// The group that the provider sees.
    pub gid: u32,
    /// Why the link is refused by policy.
    pub refused: Option<String>,
    /// How bytes are moved.
    pub forward: Forward,
    /// The socket's type.
    pub socket_type: SocketType,
    /// Whether lost descriptors are accepted on the kernel path.
    pub lossy_fds: bool,
    /// Limit of open connections.
    pub max_connections: u32,
    /// Seconds; `None`: never.
    pub idle_timeout: Option<Seconds>,
    /// Seconds.
    pub connect_timeout: Seconds,
    /// What only rest links have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rest: Option<Rest>,
}

impl Default for Options {
    fn default() -> Self {
        Self::new(Identity::NOBODY, None, Limits::default(), UnixOptions::default())
    }
}

impl Options {
    fn new(identity: Identity, refused: Option<String>, limits: Limits, unix: UnixOptions) -> Self {
        Self {
            uid: identity.uid,
            gid: identity.gid,
            refused,
            forward: unix.forward,
            socket_type: unix.socket_type,
            lossy_fds: unix.lossy_fds,
            max_connections: limits.max_connections,
            idle_timeout: limits.idle_timeout.map(Seconds),
            connect_timeout: Seconds(limits.connect_timeout),
            rest: None,
        }
    }

    pub(super) fn of(link: &Link) -> Self {
        let (identity, refused) = match &link.grant {
            Ok(grant) => (grant.identity(), None),
            Err(refusal) => (Identity::NOBODY, Some(refusal.to_string())),
        };
        Self { rest: Rest::of(link), ..Self::new(identity, refused, link.limits, link.unix) }
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            max_connections: self.max_connections,
            // As in a manifest, no time is no limit.
            idle_timeout: self.idle_timeout.map(|idle| idle.0).filter(|idle| !idle.is_zero()),
            connect_timeout: self.connect_timeout.0,
        }
    }

    pub(super) fn unix(&self) -> UnixOptions {
        UnixOptions { forward: self.forward, socket_type: self.socket_type, lossy_fds: self.lossy_fds }
    }
}

/// A duration as a JSON number of seconds, kept to the millisecond, at most a year.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(pub Duration);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.subsec_millis() == 0 {
            serializer.serialize_u64(self.0.as_secs())
        } else {
            serializer.serialize_f64(self.0.as_secs_f64())
        }
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        let wrong = || serde::de::Error::custom("must be a number of seconds, at most a year");
        milliseconds(seconds).map(Self).ok_or_else(wrong)
    }
}

/// One link of the graph JSON, with no more checks than that each field has its type: for those who
/// show a graph. [`super::parse()`] makes links of entries.
#[derive(Debug, Clone, PartialEq, DeriveDeserialize)]
pub struct LinkEntry {
    /// The type of the service.
    #[serde(rename = "type")]
    pub kind: String,
    /// The service.
    pub name: String,
    /// The consumer's name.
    pub consumer: String,
    /// Its pid; 0: the host, where the name says so; −1: not running.
    #[serde(default = "not_running", deserialize_with = "pid_or_null")]
    pub consumer_pid: i64,
    /// The provider's name.
    pub provider: String,
    /// Its pid, as above.
    #[serde(default = "not_running", deserialize_with = "pid_or_null")]
    pub provider_pid: i64,
    /// The role; empty where the source names none.
    #[serde(default, deserialize_with = "text_or_null")]
    pub role: String,
    /// The interface; empty where the source names none.
    #[serde(default, deserialize_with = "text_or_null")]
    pub interface: String,
    /// Where the consumer has it.
    pub target: String,
    /// Where the provider has it.
    pub socket: String,
    /// The status; `None` in the desired state.
    #[serde(default)]
    pub status: Option<Status>,
    /// Why it is not up.
    #[serde(default)]
    pub reason: Option<String>,
    /// Who moves its bytes.
    #[serde(default)]
    pub path: Option<Path>,
    /// The revision of the manifests.
    #[serde(default)]
    pub revision: Option<String>,
    /// Since when it has its status, RFC 3339.
    #[serde(default)]
    pub since: Option<String>,
    /// Its counters.
    #[serde(default)]
    pub counters: Option<Counters>,
    /// The consumer's start time in clock ticks since boot.
    #[serde(default)]
    pub consumer_start: Option<u64>,
    /// The provider's start time in clock ticks since boot.
    #[serde(default)]
    pub provider_start: Option<u64>,
    /// Why the mesh moves the bytes and not the kernel, or those of some of the open connections.
    #[serde(default)]
    pub path_reason: Option<String>,
    /// What our engine tells the mesh.
    #[serde(default)]
    pub options: Option<Options>,
}

impl Serialize for LinkEntry {
    /// In the order of the fields. An entry with a status has reason, path, revision, since and counters
    /// in any case, if need be as null; one without has none of them but the revision.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut entry = serializer.serialize_struct("LinkEntry", 20)?;
        entry.serialize_field("type", &self.kind)?;
        entry.serialize_field("name", &self.name)?;
        entry.serialize_field("consumer", &self.consumer)?;
        entry.serialize_field("consumer_pid", &self.consumer_pid)?;
        entry.serialize_field("provider", &self.provider)?;
        entry.serialize_field("provider_pid", &self.provider_pid)?;
        entry.serialize_field("role", &self.role)?;
        entry.serialize_field("interface", &self.interface)?;
        entry.serialize_field("target", &self.target)?;
        entry.serialize_field("socket", &self.socket)?;
        if self.status.is_some() {
            entry.serialize_field("status", &self.status)?;
            entry.serialize_field("reason", &self.reason)?;
            entry.serialize_field("path", &self.path)?;
        }
        if self.status.is_some() || self.revision.is_some() {
            entry.serialize_field("revision", &self.revision)?;
        }
        if self.status.is_some() {
            entry.serialize_field("since", &self.since)?;
            entry.serialize_field("counters", &self.counters)?;
        }
        if let Some(start) = self.consumer_start {
            entry.serialize_field("consumer_start", &start)?;
        }
        if let Some(start) = self.provider_start {
            entry.serialize_field("provider_start", &start)?;
        }
        if let Some(reason) = &self.path_reason {
            entry.serialize_field("path_reason", reason)?;
        }
        if let Some(options) = &self.options {
            entry.serialize_field("options", options)?;
        }
        entry.end()
    }
}

fn not_running() -> i64 {
    -1
}

fn pid_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_else(not_running))
}

fn text_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// An end as a pid.
pub(super) fn pid_of(presence: Presence) -> i64 {
    match presence {
        Presence::Host => 0,
        Presence::Running(process) => i64::from(process.pid),
        Presence::NotRunning => -1,
    }
}

/// The start time of an end.
pub(super) fn start_of(presence: Presence) -> Option<u64> {
    match presence {
        Presence::Running(process) => process.start,
        Presence::Host | Presence::NotRunning => None,
    }
}
