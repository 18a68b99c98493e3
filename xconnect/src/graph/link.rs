//! What a link is: who asks, who serves, under which role and with which rights.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::{ContainerName, InsidePath, LinkKey, Role};
use crate::manifest::{CONTROL_SERVICE, Identity, Limits, RestOptions, RestRule, ServiceType, UnixOptions};

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

/// Why the provider's policy does not let this consumer link.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The provider lists roles, and this one is not among them.
    #[error("role \"{0}\" is not granted by the provider")]
    Role(Role),
    /// The role is there, but its `consumers` leave this container out.
    #[error("role \"{0}\" is not granted to this container")]
    Consumer(Role),
    /// The role may render only, and the service is a card node.
    #[error("role \"{0}\" must not have a card node")]
    CardNode(Role),
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
    rest_rules: Option<Arc<[RestRule]>>,
}

impl Grant {
    pub(super) fn new(role: Role, identity: Identity) -> Self {
        Self { role, identity, rest_rules: None }
    }

    /// Only requests that one of the rules fits.
    pub(super) fn with_rest_rules(self, rules: Option<Arc<[RestRule]>>) -> Self {
        Self { rest_rules: rules, ..self }
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

    /// rest: the only requests that may pass, for [`super::rest::decide`]; `None`: all.
    #[must_use]
    pub fn rest_rules(&self) -> Option<&Arc<[RestRule]>> {
        self.rest_rules.as_ref()
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
    /// Options of rest links (defaults elsewhere).
    pub rest: RestOptions,
}

impl Link {
    /// True for a link to the host's control socket.
    #[must_use]
    pub fn is_to_control(&self) -> bool {
        self.kind == ServiceType::Rest
            && self.provider.presence == Presence::Host
            && self.provider.name.as_str() == ContainerName::HOST
            && self.key.service.as_str() == CONTROL_SERVICE
    }
}

/// All links of one revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    /// The revision of the manifests, where the source names one.
    pub revision: Option<String>,
    /// The links by key.
    pub links: BTreeMap<LinkKey, Arc<Link>>,
}
