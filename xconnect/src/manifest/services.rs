//! services.json: what a container provides, and who may have it.

use std::collections::HashSet;

use crate::ids::{InsidePath, Role, ServiceName};

use super::getters;
use super::options::{Forward, Limits, ServiceType, SocketType, UnixOptions};
use super::policy::{self, RolePolicy, bus_name};
use super::reader::{Object, Value};
use super::rest::{self, RestOptions};

/// The service of the host's own control socket, which no container can provide.
pub const CONTROL_SERVICE: &str = "pv-ctrl";

/// Where a service is found in its provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix socket or (drm) a device node.
    Socket(InsidePath),
    /// A TCP port of the container's own address (tcp and http).
    Port(u16),
}

/// What becomes of a role that the provider's `roles` do not list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UnknownRole {
    /// The link fails.
    #[default]
    Deny,
    /// It connects as nobody.
    Nobody,
}

/// One service of a provider.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    name: ServiceName,
    kind: ServiceType,
    endpoint: Endpoint,
    roles: Option<Vec<(Role, RolePolicy)>>,
    unknown_role: UnknownRole,
    limits: Limits,
    unix: UnixOptions,
    rest: RestOptions,
}

getters! { Service:
    /// Its name, by which consumers ask for it.
    by_ref name: ServiceName;
    /// Its type.
    copy kind: ServiceType;
    /// Where it is in the provider.
    by_ref endpoint: Endpoint;
    /// What becomes of a role that is not listed.
    copy unknown_role: UnknownRole;
    /// Limits of each link.
    copy limits: Limits;
    /// Options of unix services (defaults elsewhere).
    copy unix: UnixOptions;
    /// Options of rest services (defaults elsewhere).
    copy rest: RestOptions;
}

impl Service {
    /// The socket or device node, where it has one.
    #[must_use]
    pub fn socket(&self) -> Option<&InsidePath> {
        match &self.endpoint {
            Endpoint::Socket(path) => Some(path),
            Endpoint::Port(_) => None,
        }
    }

    /// The roles that may link, in the order of the manifest; `None`: any.
    #[must_use]
    pub fn roles(&self) -> Option<&[(Role, RolePolicy)]> {
        self.roles.as_deref()
    }

    /// The policy of a role, where the manifest has one.
    #[must_use]
    pub fn role(&self, role: &Role) -> Option<&RolePolicy> {
        self.roles.as_ref()?.iter().find(|(name, _)| name == role).map(|(_, policy)| policy)
    }
}

/// A name on the hosted bus that the container's program owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusName {
    bus: ServiceName,
    owns: String,
    role: Role,
    allow: Vec<Role>,
    origin: String,
}

getters! { BusName:
    /// The hosted bus.
    by_ref bus: ServiceName;
    /// The well-known name.
    by_ref owns: String;
    /// The role as which the owner connects.
    by_ref role: Role;
    /// The roles that may call it.
    slice allow: [Role];
    /// The place in services.json.
    by_ref origin: String;
}

/// A services.json.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Services {
    pub(super) services: Vec<Service>,
    pub(super) bus_names: Vec<BusName>,
}

getters! { Services:
    /// The services.
    slice services: [Service];
    /// The names owned on the hosted bus.
    slice bus_names: [BusName];
}

/// Reads either form of services.json.
pub(super) fn read(root: &Value<'_>) -> Services {
    let list = if root.is_array() {
        Some(root.clone())
    } else if let Some(object) = root.is_object().then(|| root.object()).flatten() {
        object.only(&["#spec", "services"]);
        if let Some(spec) = object.get("#spec") {
            spec.one_of(&[("service-manifest-xconnect@1", ())]);
        }
        object.require("services")
    } else {
        root.error("must be an object with \"services\", or a list of services");
        None
    };
    let mut read = Services::default();
    let mut names = HashSet::new();
    for item in list.and_then(|list| list.array()).unwrap_or_default() {
        let Some(object) = item.object() else { continue };
        if object.get("owns").is_some() || object.get("bus").is_some() {
            read.bus_names.extend(read_bus_name(&object));
        } else if let Some(service) = read_service(&object) {
            if !names.insert(service.name.clone()) {
                item.error(format_args!("service \"{}\" is there twice", service.name));
            }
            read.services.push(service);
        }
    }
    read
}

const COMMON_KEYS: [&str; 7] =
    ["name", "type", "roles", "unknown_role", "max_connections", "idle_timeout", "connect_timeout"];

fn read_service(object: &Object<'_>) -> Option<Service> {
    let name = object.require("name").and_then(|value| {
        let name = value.parse(ServiceName::new)?;
        if name.as_str() == CONTROL_SERVICE {
            value.error(format_args!("\"{CONTROL_SERVICE}\" is the host's own service"));
        }
        Some(name)
    });
    let kind = object.require("type").and_then(|value| read_type(&value));
    let mut known = COMMON_KEYS.to_vec();
    match kind {
        Some(ServiceType::Unix) => known.extend(["socket", "forward", "socket_type", "lossy_fds"]),
        Some(ServiceType::Rest) => {
            known.push("socket");
            known.extend(rest::KEYS);
        }
        Some(ServiceType::Tcp) => known.push("port"),
        Some(ServiceType::Http) => known.extend(["port", "socket"]),
        Some(_) => known.push("socket"),
        None => {
            known.extend(["socket", "port", "forward", "socket_type", "lossy_fds"]);
            known.extend(rest::KEYS);
        }
    }
    object.only(&known);
    let endpoint = read_endpoint(object, kind);
    let roles = object.get("roles").and_then(|roles| {
        let policy = |(name, value): (&str, Value<'_>)| {
            let role = Role::new(name).map_err(|error| value.error(format_args!("role name {error}"))).ok();
            let policy = policy::read(&value, kind);
            Some((role?, policy?))
        };
        Some(roles.object()?.members().filter_map(policy).collect())
    });
    let unknown_role = object
        .get("unknown_role")
        .and_then(|value| value.one_of(&[("deny", UnknownRole::Deny), ("nobody", UnknownRole::Nobody)]));
    let limits = read_limits(object);
    let unix =
        if matches!(kind, Some(ServiceType::Unix) | None) { read_unix(object) } else { <_>::default() };
    let rest =
        if matches!(kind, Some(ServiceType::Rest) | None) { rest::read(object) } else { <_>::default() };
    Some(Service {
        name: name?,
        kind: kind?,
        endpoint: endpoint?,
        roles,
        unknown_role: unknown_role.unwrap_or_default(),
        limits,
        unix,
        rest,
    })
}

/// The type of a service or of a requirement.
pub(super) fn read_type(value: &Value<'_>) -> Option<ServiceType> {
    value.one_of(&ServiceType::ALL.map(|kind| (kind.as_str(), kind)))
}

fn read_endpoint(object: &Object<'_>, kind: Option<ServiceType>) -> Option<Endpoint> {
    let port = object.get("port").filter(|_| !matches!(kind, Some(kind) if !kind.is_ingress()));
    let socket = object.get("socket").filter(|_| kind != Some(ServiceType::Tcp));
    match (port, socket) {
        (Some(port), Some(_)) => {
            port.error("a service has either a port or a socket");
            None
        }
        (Some(port), None) => port.narrow(1..=65535).map(Endpoint::Port),
        (None, Some(socket)) => {
            let path = socket.parse(InsidePath::new)?;
            // A device node is planted under the provider's path where the consumer names none.
            if kind == Some(ServiceType::Drm) {
                path.check_creatable().map_err(|error| socket.error(error)).ok()?;
            }
            Some(Endpoint::Socket(path))
        }
        (None, None) if kind == Some(ServiceType::Tcp) => {
            object.require("port");
            None
        }
        (None, None) => {
            object.require("socket");
            None
        }
    }
}

fn read_limits(object: &Object<'_>) -> Limits {
    let default = Limits::default();
    Limits {
        max_connections: object
            .get("max_connections")
            .and_then(|value| value.narrow(1..=1_000_000))
            .unwrap_or(default.max_connections),
        idle_timeout: object
            .get("idle_timeout")
            .and_then(|value| value.duration())
            .filter(|idle| !idle.is_zero())
            .or(default.idle_timeout),
        connect_timeout: object
            .get("connect_timeout")
            .and_then(|value| value.duration())
            .unwrap_or(default.connect_timeout),
    }
}

fn read_unix(object: &Object<'_>) -> UnixOptions {
    let forward = object.get("forward").and_then(|value| {
        value.one_of(&[("user", Forward::User), ("kernel", Forward::Kernel), ("auto", Forward::Auto)])
    });
    let socket_type = object.get("socket_type").and_then(|value| {
        value.one_of(&[("stream", SocketType::Stream), ("seqpacket", SocketType::Seqpacket)])
    });
    let lossy_fds = object.get("lossy_fds").and_then(|value| value.one_of(&[("accepted", true)]));
    UnixOptions {
        forward: forward.unwrap_or_default(),
        socket_type: socket_type.unwrap_or_default(),
        lossy_fds: lossy_fds.unwrap_or_default(),
    }
}

fn read_bus_name(object: &Object<'_>) -> Option<BusName> {
    object.only(&["type", "bus", "owns", "role", "allow"]);
    if let Some(kind) = object.require("type") {
        kind.one_of(&[("dbus", ())]);
    }
    let role = |value: &Value<'_>| value.parse(Role::new);
    let bus = object.require("bus").and_then(|value| value.parse(ServiceName::new));
    let owns = object.require("owns").and_then(|value| value.parse(bus_name));
    let owner = object.require("role").and_then(|value| role(&value));
    let allow = object.get("allow").and_then(|value| value.list(role));
    Some(BusName {
        bus: bus?,
        owns: owns?,
        role: owner?,
        allow: allow.unwrap_or_default(),
        origin: object.at().path().to_owned(),
    })
}
