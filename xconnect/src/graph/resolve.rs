//! Containers and their manifests into links, and every provider's policy into a leave or a refusal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::link::{End, Grant, Graph, Link, Presence, Refusal};
use crate::ids::{ContainerName, InsidePath, LinkKey, Role, ServiceName};
use crate::manifest::{
    CONTROL_SERVICE, ContainerManifest, DrmAccess, Identity, Limits, Requirement, RestOptions, Revision,
    Rights, Service, ServiceType, UnixOptions, UnknownRole,
};

/// The role that opens the control socket's management part to a container.
pub const MANAGEMENT_ROLE: &str = "mgmt";

/// The name of the control socket for links, beside the control socket.
pub const CONTROL_LINKS: &str = "pv-ctrl-links";

/// What the host itself provides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostServices {
    /// Where the control socket for links is, on the host.
    pub pv_ctrl_links: InsidePath,
}

impl Default for HostServices {
    /// The places in the default run directory.
    fn default() -> Self {
        let path = format!("/run/pantavisor/pv/{CONTROL_LINKS}");
        Self { pv_ctrl_links: InsidePath::new(path).expect("invariant: a constant absolute path") }
    }
}

/// Who answers a requirement.
#[derive(Clone, Copy)]
pub(super) enum Found<'r> {
    /// A container's service.
    Service(&'r ContainerManifest, &'r Service),
    /// The host's control socket.
    Control,
}

impl Found<'_> {
    pub(super) fn kind(self) -> ServiceType {
        match self {
            Self::Service(_, service) => service.kind(),
            Self::Control => ServiceType::Rest,
        }
    }

    /// The target that this service gives to a requirement without one: a device keeps its path.
    pub(super) fn device(&self) -> Option<&InsidePath> {
        match self {
            Self::Service(_, service) if service.kind() == ServiceType::Drm => service.socket(),
            _ => None,
        }
    }
}

/// Every service by name, with those that provide it.
pub(super) struct Index<'r> {
    by_name: BTreeMap<&'r ServiceName, Vec<(&'r ContainerManifest, &'r Service)>>,
}

impl<'r> Index<'r> {
    pub(super) fn new(revision: &'r Revision) -> Self {
        let mut by_name: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for container in revision.containers().values() {
            for service in container.provides() {
                by_name.entry(service.name()).or_default().push((container, service));
            }
        }
        Self { by_name }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'r str> {
        self.by_name.keys().map(|name| name.as_str())
    }

    /// All that can answer a requirement of `consumer`. A container's own service answers only where
    /// the requirement names the container: it may take a service in and give it on under its name.
    pub(super) fn candidates(&self, consumer: &ContainerName, requirement: &Requirement) -> Vec<Found<'r>> {
        let wanted = requirement.provider();
        if requirement.name().as_str() == CONTROL_SERVICE {
            let host = wanted.is_none_or(|name| name.as_str() == ContainerName::HOST);
            return if host { vec![Found::Control] } else { Vec::new() };
        }
        let providers = self.by_name.get(requirement.name()).map(Vec::as_slice).unwrap_or_default();
        let fits = |container: &ContainerManifest| match wanted {
            Some(name) => container.name() == name,
            None => container.name() != consumer,
        };
        let found = providers.iter().filter(|(container, _)| fits(container));
        found.map(|(container, service)| Found::Service(container, service)).collect()
    }
}

/// The links of a revision, with the host's services where they are by default.
///
/// `presence` tells where a container runs. What [`super::check()`] refuses gives no link here.
pub fn resolve(revision: &Revision, presence: &dyn Fn(&ContainerName) -> Presence) -> Graph {
    resolve_with(&HostServices::default(), revision, presence)
}

/// As [`resolve`], with the host's services elsewhere.
pub fn resolve_with(
    host: &HostServices,
    revision: &Revision,
    presence: &dyn Fn(&ContainerName) -> Presence,
) -> Graph {
    let index = Index::new(revision);
    let mut links = BTreeMap::new();
    for consumer in revision.containers().values() {
        let at = presence(consumer.name());
        for requirement in consumer.requires() {
            let [found] = index.candidates(consumer.name(), requirement)[..] else { continue };
            if let Some(mut link) = link(host, consumer, requirement, found) {
                link.consumer = at;
                if let Found::Service(provider, _) = found {
                    link.provider.presence = presence(provider.name());
                }
                links.insert(link.key.clone(), Arc::new(link));
            }
        }
    }
    Graph { revision: Some(revision.id().clone()), links }
}

/// What a service's manifest fixes for each of its links.
#[derive(Default)]
struct Options {
    limits: Limits,
    unix: UnixOptions,
    rest: RestOptions,
}

impl Options {
    fn of(service: &Service) -> Self {
        Self { limits: service.limits(), unix: service.unix(), rest: service.rest() }
    }

    /// As on the control socket itself: little for those who manage nothing.
    fn of_control(role: &Role) -> Self {
        let limits = Limits::default();
        let limits = match role.as_str() {
            MANAGEMENT_ROLE => limits,
            _ => Limits { max_connections: 16, idle_timeout: Some(Duration::from_secs(30)), ..limits },
        };
        // A graph that is watched is silent for as long as nothing changes.
        let rest =
            RestOptions { response_timeout: Duration::from_secs(24 * 60 * 60), ..RestOptions::default() };
        Self { limits, rest, ..Self::default() }
    }
}

fn link(
    host: &HostServices,
    consumer: &ContainerManifest,
    requirement: &Requirement,
    found: Found<'_>,
) -> Option<Link> {
    let kind = found.kind();
    let (provider, socket, role, grant, options) = match found {
        Found::Control => {
            let role = control_role(consumer, requirement);
            let name = ContainerName::new(ContainerName::HOST).ok()?;
            let end = End { name, presence: Presence::Host };
            let grant = grant_control(consumer, &role);
            let options = Options::of_control(&role);
            (end, host.pv_ctrl_links.clone(), role, grant, options)
        }
        Found::Service(provider, service) => {
            let socket = service.socket()?.clone();
            let role = role(requirement, service, &socket);
            let end = End { name: provider.name().clone(), presence: Presence::NotRunning };
            let grant = grant(consumer.name(), &role, service, &socket);
            (end, socket, role, grant, Options::of(service))
        }
    };
    Some(Link {
        key: LinkKey {
            consumer: consumer.name().clone(),
            service: requirement.name().clone(),
            target: requirement.target(found.device())?,
        },
        kind,
        consumer: Presence::NotRunning,
        provider,
        role,
        interface: requirement.interface().map_or_else(|| kind.as_str().to_owned(), Clone::clone),
        socket,
        grant,
        limits: options.limits,
        unix: options.unix,
        rest: options.rest,
    })
}

/// Whether a path names a card node, by which modes are set, and no render node.
fn is_card(node: &InsidePath) -> bool {
    !node.file_name().starts_with("renderD")
}

/// The role asked for, or the type's default.
fn role(requirement: &Requirement, service: &Service, socket: &InsidePath) -> Role {
    match (requirement.role(), service.kind()) {
        (Some(role), _) => role.clone(),
        (None, ServiceType::Drm) => {
            let name = if is_card(socket) { "master" } else { "render" };
            Role::new(name).unwrap_or_else(|_| Role::any())
        }
        (None, _) => Role::any(),
    }
}

fn grant(
    consumer: &ContainerName,
    role: &Role,
    service: &Service,
    socket: &InsidePath,
) -> Result<Grant, Refusal> {
    let policy = service.role(role);
    let identity = match (service.roles(), policy) {
        (_, Some(policy)) if !policy.admits(consumer) => return Err(Refusal::Consumer(role.clone())),
        (_, Some(policy)) => policy.identity(),
        (None, None) => Identity::NOBODY,
        (Some(_), None) if service.unknown_role() == UnknownRole::Nobody => Identity::NOBODY,
        // The bus's own policy decides about those who ask for no role, as upstream.
        (Some(_), None) if service.kind() == ServiceType::Dbus && *role == Role::any() => Identity::NOBODY,
        (Some(_), None) => return Err(Refusal::Role(role.clone())),
    };
    if service.kind() == ServiceType::Drm && is_card(socket) {
        let render = match policy.map(crate::manifest::RolePolicy::rights) {
            Some(Rights::Drm(access)) => *access == DrmAccess::Render,
            _ => role.as_str() == "render",
        };
        if render {
            return Err(Refusal::CardNode(role.clone()));
        }
    }
    let rules = match policy.map(crate::manifest::RolePolicy::rights) {
        Some(Rights::Rest(rules)) => Some(Arc::clone(rules)),
        _ => None,
    };
    Ok(Grant::new(role.clone(), identity).with_rest_rules(rules))
}

/// A manager is one on the control socket without asking for it, as upstream.
fn control_role(consumer: &ContainerManifest, requirement: &Requirement) -> Role {
    match requirement.role() {
        Some(role) => role.clone(),
        None if consumer.has_role(MANAGEMENT_ROLE) => {
            Role::new(MANAGEMENT_ROLE).unwrap_or_else(|_| Role::any())
        }
        None => Role::any(),
    }
}

fn grant_control(consumer: &ContainerManifest, role: &Role) -> Result<Grant, Refusal> {
    if role.as_str() == MANAGEMENT_ROLE && !consumer.has_role(MANAGEMENT_ROLE) {
        return Err(Refusal::Consumer(role.clone()));
    }
    Ok(Grant::new(role.clone(), Identity::NOBODY))
}
