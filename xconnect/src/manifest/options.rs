//! The small closed sets and numbers that a service's manifest fixes for each of its links.

use std::time::Duration;

use serde::{Deserialize, Serialize};

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
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Unix, Self::Rest, Self::Dbus, Self::Drm, Self::Wayland, Self::Tcp, Self::Http];

    /// The type of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// True for the types that only traffic from outside the host can reach.
    #[must_use]
    pub fn is_ingress(self) -> bool {
        matches!(self, Self::Tcp | Self::Http)
    }

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
