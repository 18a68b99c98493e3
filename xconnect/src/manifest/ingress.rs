//! The doors of device.json for traffic from outside the host.

use core::net::SocketAddrV4;

use super::getters;
use super::reader::{Object, Value};
use crate::ids::{ContainerName, ServiceName};

/// What is forwarded from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IngressKind {
    /// Bytes.
    Tcp,
    /// Requests.
    Http,
}

/// A door for traffic from outside the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingress {
    name: ServiceName,
    kind: IngressKind,
    listen: SocketAddrV4,
    prefix: String,
    provider: ContainerName,
    service: ServiceName,
    origin: String,
}

getters! { Ingress:
    /// The rule's name.
    by_ref name: ServiceName;
    /// What is forwarded.
    copy kind: IngressKind;
    /// Where the host listens.
    copy listen: SocketAddrV4;
    /// The prefix of the path, `/` where none is given (and for tcp).
    by_ref prefix: String;
    /// The container behind it.
    by_ref provider: ContainerName;
    /// Its service.
    by_ref service: ServiceName;
    /// The place in device.json.
    by_ref origin: String;
}

/// Reads `ingress` of device.json; rules that take the same place are refused.
pub(super) fn read(value: &Value<'_>) -> Vec<Ingress> {
    let mut rules: Vec<Ingress> = Vec::new();
    for item in value.array().unwrap_or_default() {
        let Some(rule) = item.object().and_then(|object| read_rule(&object)) else { continue };
        for other in &rules {
            if other.name == rule.name {
                item.error(format_args!("rule \"{}\" is there twice", rule.name));
            }
            if clash(other, &rule) {
                item.error(format_args!(
                    "rule \"{}\" wants the same place as rule \"{}\"",
                    rule.name, other.name
                ));
            }
        }
        rules.push(rule);
    }
    rules
}

/// Two rules cannot have one port, unless both are http with different prefixes at the same address.
fn clash(a: &Ingress, b: &Ingress) -> bool {
    let (one, other) = (a.listen, b.listen);
    if one.port() != other.port() {
        return false;
    }
    if one.ip() == other.ip() && a.kind == IngressKind::Http && b.kind == IngressKind::Http {
        return a.prefix == b.prefix;
    }
    one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified()
}

fn read_rule(object: &Object<'_>) -> Option<Ingress> {
    object.only(&["name", "type", "external", "provider", "service"]);
    let name = object.require("name").and_then(|value| value.parse(ServiceName::new));
    let kind = object
        .require("type")
        .and_then(|value| value.one_of(&[("tcp", IngressKind::Tcp), ("http", IngressKind::Http)]));
    let external = object.require("external").and_then(|value| {
        let text = value.string()?;
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        // `:80` is Pantavisor's short form for every address.
        let full = if address.starts_with(':') { format!("0.0.0.0{address}") } else { address.to_owned() };
        let Some(listen) = full.parse().ok().filter(|listen: &SocketAddrV4| listen.port() != 0) else {
            value.error("must be IP:PORT, or IP:PORT/prefix for http");
            return None;
        };
        if kind == Some(IngressKind::Tcp) && prefix.is_some() {
            value.error("must not have a path: the rule's type is tcp");
        }
        Some((listen, format!("/{}", prefix.unwrap_or_default())))
    });
    let provider = object.require("provider").and_then(|value| value.parse(ContainerName::new));
    let service = object.require("service").and_then(|value| value.parse(ServiceName::new));
    let (listen, prefix) = external?;
    Some(Ingress {
        name: name?,
        kind: kind?,
        listen,
        prefix,
        provider: provider?,
        service: service?,
        origin: object.at().path().to_owned(),
    })
}
