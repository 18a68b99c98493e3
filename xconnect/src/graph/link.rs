//! What a link is: who asks, who serves, under which role and with which rights.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{ContainerName, InsidePath, LinkKey, Role};

/// The kind of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceType {
    /// Bytes, datagrams-in-order and descriptors over a Unix socket.
    Unix,
    /// HTTP over a Unix socket.
    Rest,
    /// A message bus.
    Dbus,
    /// A device node of the Direct Rendering Manager.
    Drm,
    /// A compositor's socket.
    Wayland,
    /// A TCP port (ingress only).
    Tcp,
    /// An HTTP port (ingress only).
    Http,
}

impl ServiceType {
    /// The name in manifests and in the graph.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unix => "unix",
            Self::Rest => "rest",
            Self::Dbus => "dbus",
            Self::Drm => "drm",
            Self::Wayland => "wayland",
            Self::Tcp => "tcp",
            Self::Http => "http",
        }
    }
}

/// One process of the host's PID namespace, safe against a recycled number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProcessId {
    /// The number, above 0.
    pub pid: u32,
    /// Start time in clock ticks since boot (`/proc/PID/stat` field 22, proc(5)), where it is known.
    pub start: Option<u64>,
}

/// Where one end of a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Presence {
    /// On the host itself; only for an end that is named so (`ContainerName::is_host`).
    Host,
    /// In the container of this process.
    Running(ProcessId),
    /// Nowhere: the link waits.
    NotRunning,
}

/// One end of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The container's name.
    pub name: ContainerName,
    /// Where it is.
    pub presence: Presence,
}

/// The user and group that a provider sees, with no supplementary groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// User id on the host.
    pub uid: u32,
    /// Group id on the host.
    pub gid: u32,
}

impl Identity {
    /// `nobody` and `nogroup`: the identity of a role without one.
    pub const NOBODY: Self = Self { uid: 65534, gid: 65534 };
}

/// How the bytes of a unix link are to be moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Forward {
    /// In user space: descriptors, half-close, everything a Unix socket can.
    #[default]
    User,
    /// In the kernel, where it can: the provider promises a plain protocol.
    Kernel,
    /// The same promise; the mesh picks the faster path.
    Auto,
}

/// The type of a unix service's socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SocketType {
    /// `SOCK_STREAM`.
    #[default]
    Stream,
    /// `SOCK_SEQPACKET`.
    Seqpacket,
}

/// Options of unix services.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct UnixOptions {
    /// How bytes are moved.
    pub forward: Forward,
    /// The socket's type.
    pub socket_type: SocketType,
    /// Kernels before 6.16 cannot refuse descriptors on the kernel path; true where the provider's
    /// manifest accepts that they are lost there (`"lossy_fds": "accepted"`).
    pub lossy_fds: bool,
}

/// Limits of one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Open connections; further ones are refused.
    pub max_connections: u32,
    /// A connection on which nothing moves for so long is closed; `None`: never.
    pub idle_timeout: Option<Duration>,
    /// How long a consumer's connection is held while the provider cannot be reached.
    pub connect_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_connections: 1024, idle_timeout: None, connect_timeout: Duration::from_secs(10) }
    }
}

/// Why the provider's policy does not let this consumer link.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The provider lists roles, and this one is not among them.
    #[error("role \"{0}\" is not granted by the provider")]
    Role(Role),
    /// The role is there, but its `consumers` leave this container out.
    #[error("role \"{0}\" is not granted to this container")]
    Consumer(Role),
    /// A reason that came with the graph.
    #[error("{0}")]
    Other(String),
}

/// Leave to connect, as a certain identity. Made by the graph only: holding one proves that the
/// provider's policy was asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Grant {
    role: Role,
    identity: Identity,
}

impl Grant {
    pub(super) fn new(role: Role, identity: Identity) -> Self {
        Self { role, identity }
    }

    /// The role under which the consumer connects.
    #[must_use]
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// The identity that the provider sees.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }
}

/// A link as it is wanted: no status, no counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The key: consumer, service, target.
    pub key: LinkKey,
    /// What kind of service.
    pub kind: ServiceType,
    /// Where the consumer is (its name is in the key).
    pub consumer: Presence,
    /// Who provides, and where it is.
    pub provider: End,
    /// The role that the consumer asked for.
    pub role: Role,
    /// The `interface` of the graph JSON: the requirement's, else the type's name.
    pub interface: String,
    /// The socket or device node, below the provider's root.
    pub socket: InsidePath,
    /// Leave to connect, or why not.
    pub grant: Result<Grant, Refusal>,
    /// Limits.
    pub limits: Limits,
    /// Options of unix links (defaults elsewhere).
    pub unix: UnixOptions,
}

/// All links of one revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    /// The revision of the manifests, where the source names one.
    pub revision: Option<String>,
    /// The links by key.
    pub links: BTreeMap<LinkKey, Link>,
}
