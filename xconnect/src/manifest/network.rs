//! Networks: the pools of device.json, and what a container asks for.

use core::net::Ipv4Addr;
use std::collections::BTreeMap;
use std::fmt;

use super::getters;
use super::reader::{Object, Value};
use crate::ids::ServiceName;

/// A range of IPv4 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subnet {
    network: Ipv4Addr,
    prefix: u8,
}

impl Subnet {
    /// Reads `ADDRESS/PREFIX`; the address must be the network's own.
    ///
    /// # Errors
    /// What is wrong with it, as text.
    pub fn new(text: &str) -> Result<Self, String> {
        let shape = || "must be an IPv4 network, like \"10.0.3.0/24\"".to_owned();
        let (address, prefix) = text.split_once('/').ok_or_else(shape)?;
        let address: Ipv4Addr = address.parse().map_err(|_| shape())?;
        let prefix: u8 = prefix.parse().map_err(|_| shape())?;
        // A pool needs a gateway, one container at least, and the two reserved addresses.
        if !(1..=30).contains(&prefix) {
            return Err("must have a prefix from 1 to 30".to_owned());
        }
        let subnet = Self { network: Ipv4Addr::from_bits(address.to_bits() & Self::mask(prefix)), prefix };
        if subnet.network == address {
            Ok(subnet)
        } else {
            Err(format!("must not have bits below its prefix (the network is {subnet})"))
        }
    }

    fn mask(prefix: u8) -> u32 {
        u32::MAX << (32 - u32::from(prefix))
    }

    /// The network's address.
    #[must_use]
    pub fn network(self) -> Ipv4Addr {
        self.network
    }

    /// The length of the prefix, 1 to 30.
    #[must_use]
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The last address.
    #[must_use]
    pub fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() | !Self::mask(self.prefix))
    }

    /// Whether an address lies in it and can belong to an interface.
    #[must_use]
    pub fn has_host(self, address: Ipv4Addr) -> bool {
        self.network < address && address < self.broadcast()
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

/// What joins the containers of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolLink {
    /// A bridge of this name.
    Bridge(String),
    /// Macvlan on this parent interface.
    Macvlan(String),
}

/// A pool of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    link: PoolLink,
    subnet: Subnet,
    gateway: Ipv4Addr,
    nat: bool,
}

getters! { Pool:
    /// What joins its containers.
    by_ref link: PoolLink;
    /// Its range.
    copy subnet: Subnet;
    /// The host's address in it.
    copy gateway: Ipv4Addr;
    /// Whether what leaves it is masqueraded.
    copy nat: bool;
}

/// How a container is joined to a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkMode {
    /// Interfaces in pools.
    Pool,
    /// The host's own network.
    Host,
    /// No network but the loopback.
    None,
}

/// One interface of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    name: Option<String>,
    pool: String,
    address: Option<Ipv4Addr>,
    mac: Option<[u8; 6]>,
}

getters! { Interface:
    /// Its name in the container; `None`: the engine's choice.
    opt name: String;
    /// The pool.
    by_ref pool: String;
    /// A fixed address.
    copy address: Option<Ipv4Addr>;
    /// A fixed hardware address.
    copy mac: Option<[u8; 6]>;
}

/// The network that a container asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    pub(super) mode: NetworkMode,
    pub(super) hostname: Option<String>,
    pub(super) interfaces: Vec<Interface>,
}

getters! { Network:
    /// The mode.
    copy mode: NetworkMode;
    /// The host name in the container.
    opt hostname: String;
    /// The interfaces, with mode pool; else empty.
    slice interfaces: [Interface];
}

/// Reads `network.pools` of device.json.
pub(super) fn read_pools(value: &Value<'_>) -> BTreeMap<String, Pool> {
    let Some(object) = value.object() else { return BTreeMap::new() };
    object.only(&["pools"]);
    let Some(pools) = object.get("pools").and_then(|pools| pools.object()) else { return BTreeMap::new() };
    let pool = |(name, value): (&str, Value<'_>)| {
        if let Err(message) = pool_name(name) {
            value.error(format_args!("the pool's name {message}"));
        }
        Some((name.to_owned(), read_pool(&value.object()?)?))
    };
    pools.members().filter_map(pool).collect()
}

fn read_pool(object: &Object<'_>) -> Option<Pool> {
    object.only(&["type", "bridge", "parent", "subnet", "gateway", "nat"]);
    let macvlan =
        object.get("type").map_or(Some(false), |value| value.one_of(&[("bridge", false), ("macvlan", true)]));
    let device = |key: &str| object.require(key).and_then(|value| value.parse(interface_name));
    let link = macvlan.and_then(|macvlan| {
        if macvlan { device("parent").map(PoolLink::Macvlan) } else { device("bridge").map(PoolLink::Bridge) }
    });
    let subnet = object.require("subnet").and_then(|value| value.parse(Subnet::new));
    let gateway = object.require("gateway").and_then(|value| {
        let address = value.parse(ipv4)?;
        match subnet {
            Some(subnet) if !subnet.has_host(address) => {
                value.error(format_args!("must be an address inside {subnet}"));
                None
            }
            _ => Some(address),
        }
    });
    let nat = object.get("nat").and_then(|value| value.bool()).unwrap_or(false);
    Some(Pool { link: link?, subnet: subnet?, gateway: gateway?, nat })
}

/// Reads `network` of run.json.
pub(super) fn read_network(value: &Value<'_>) -> Option<Network> {
    const MODES: [(&str, NetworkMode); 3] =
        [("pool", NetworkMode::Pool), ("host", NetworkMode::Host), ("none", NetworkMode::None)];
    let object = value.object()?;
    let mode = object.get("mode").map(|mode| mode.one_of(&MODES));
    let hostname = object.get("hostname").and_then(|value| value.parse(host_name));
    let mut interfaces = Vec::new();
    if object.get("pool").is_some() {
        interfaces.extend(read_interface(&object));
    }
    if let Some(list) = object.get("interfaces") {
        interfaces.extend(list.list(|item| read_interface(&item.object()?)).unwrap_or_default());
    }
    network(value, mode, hostname, interfaces)
}

/// Puts the parts together and checks that they fit.
pub(super) fn network(
    at: &Value<'_>,
    mode: Option<Option<NetworkMode>>,
    hostname: Option<String>,
    interfaces: Vec<Interface>,
) -> Option<Network> {
    let mode = match mode {
        Some(mode) => mode?,
        None if interfaces.is_empty() => NetworkMode::Host,
        None => NetworkMode::Pool,
    };
    match (mode, interfaces.is_empty()) {
        (NetworkMode::Pool, true) => at.error("mode \"pool\" needs a pool"),
        (NetworkMode::Host | NetworkMode::None, false) => at.error("only mode \"pool\" can have pools"),
        _ => {}
    }
    Some(Network { mode, hostname, interfaces })
}

fn read_interface(object: &Object<'_>) -> Option<Interface> {
    let either = |ours: &str, theirs: &str| object.get(ours).or_else(|| object.get(theirs));
    let name = object.get("name").and_then(|value| value.parse(interface_name));
    let pool = object.require("pool").and_then(|value| value.parse(pool_name));
    let address = either("ipv4_address", "ip").and_then(|value| value.parse(ipv4));
    let mac = either("mac_address", "mac").and_then(|value| value.parse(mac));
    Some(Interface { name, pool: pool?, address, mac })
}

impl Interface {
    /// The one interface that args.json can ask for.
    pub(super) fn unnamed(pool: String, address: Option<Ipv4Addr>, mac: Option<[u8; 6]>) -> Self {
        Self { name: None, pool, address, mac }
    }
}

/// The name of a pool.
pub(super) fn pool_name(text: &str) -> Result<String, String> {
    ServiceName::new(text).map(String::from).map_err(|error| error.to_string())
}

/// An IPv4 address.
pub(super) fn ipv4(text: &str) -> Result<Ipv4Addr, &'static str> {
    text.parse().map_err(|_| "must be an IPv4 address, like \"10.0.3.2\"")
}

/// A hardware address of a single station.
pub(super) fn mac(text: &str) -> Result<[u8; 6], &'static str> {
    const WANTED: &str = "must be a unicast MAC address, like \"02:00:0a:00:03:02\"";
    let mut octets = [0; 6];
    let mut parts = text.split(':');
    for octet in &mut octets {
        let part = parts.next().filter(|part| part.len() == 2).ok_or(WANTED)?;
        *octet = u8::from_str_radix(part, 16).map_err(|_| WANTED)?;
    }
    // The lowest bit of the first octet marks a group (IEEE 802).
    let fits = parts.next().is_none() && octets[0] & 1 == 0 && octets != [0; 6];
    if fits { Ok(octets) } else { Err(WANTED) }
}

/// A host name (RFC 1123).
pub(super) fn host_name(text: &str) -> Result<String, &'static str> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // HOST_NAME_MAX (limits.h) is 64 on Linux.
    if text.len() <= 64 && text.split('.').all(label) {
        Ok(text.to_owned())
    } else {
        Err("must be a host name of at most 64 letters, digits, - and .")
    }
}

/// The name of a network interface (`dev_valid_name`, net/core/dev.c).
fn interface_name(text: &str) -> Result<String, &'static str> {
    let fits = (1..=15).contains(&text.len())
        && text != "."
        && text != ".."
        && text.chars().all(|c| c.is_ascii_graphic() && c != '/' && c != ':');
    if fits { Ok(text.to_owned()) } else { Err("must be the name of an interface, at most 15 bytes") }
}
