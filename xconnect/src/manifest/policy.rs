//! What a provider's manifest grants to a role: an identity, a choice of consumers, and rights by type.

use std::sync::Arc;

use super::dbus_policy::{self, DbusPolicy};
use super::getters;
use super::glob::Glob;
use super::options::{Identity, ServiceType};
use super::reader::{Object, Value};
use super::rest::{self, RestRule};
use crate::ids::ContainerName;

pub(super) use super::dbus_policy::bus_name;

/// The rights of one role on one service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RolePolicy {
    uid: Option<u32>,
    gid: Option<u32>,
    consumers: Option<Vec<Glob>>,
    rights: Rights,
}

getters! { RolePolicy:
    /// The user that the provider sees; for dbus, without it, the provider's passwd decides.
    copy uid: Option<u32>;
    /// The group that the provider sees.
    copy gid: Option<u32>;
    /// What the role may do there, by type.
    by_ref rights: Rights;
}

impl RolePolicy {
    /// The containers that may take the role; `None`: all.
    #[must_use]
    pub fn consumers(&self) -> Option<&[Glob]> {
        self.consumers.as_deref()
    }

    /// Whether a container may take the role.
    #[must_use]
    pub fn admits(&self, consumer: &ContainerName) -> bool {
        self.consumers.as_ref().is_none_or(|globs| globs.iter().any(|glob| glob.matches(consumer)))
    }

    /// The identity that the provider sees; nobody's, as far as the manifest names none.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let Identity { uid, gid } = Identity::NOBODY;
        Identity { uid: self.uid.unwrap_or(uid), gid: self.gid.unwrap_or(gid) }
    }
}

/// The part of a policy that only services of one type have.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Rights {
    /// All that the service can.
    #[default]
    All,
    /// rest: only requests that one of the rules fits.
    Rest(Arc<[RestRule]>),
    /// dbus: names, rules and descriptors.
    Dbus(DbusPolicy),
    /// drm: which kind of node.
    Drm(DrmAccess),
    /// wayland: a set of globals of that name, shipped with the mesh.
    WaylandPreset(WaylandPreset),
    /// wayland: only these globals.
    WaylandGlobals(Vec<WaylandGlobal>),
}

/// Which node of a graphics card a role gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrmAccess {
    /// The card node, which can set modes.
    Master,
    /// The render node only.
    Render,
}

/// The shipped sets of Wayland globals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaylandPreset {
    /// What an ordinary application needs.
    App,
    /// Also layer shell and full-screen shell.
    Kiosk,
    /// Everything.
    Trusted,
}

/// One global that a role may bind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaylandGlobal {
    interface: String,
    version: Option<u32>,
}

getters! { WaylandGlobal:
    /// The interface's name.
    by_ref interface: String;
    /// The highest version shown; `None`: the compositor's.
    copy version: Option<u32>;
}

/// The largest id that names a user: -1 means "leave as it is" to setresuid(2).
pub(super) const ID_MAX: u64 = u32::MAX as u64 - 1;

/// Reads the policy of one role. Without a type (it is wrong) only the common part is read.
pub(super) fn read(value: &Value<'_>, kind: Option<ServiceType>) -> Option<RolePolicy> {
    let object = value.object()?;
    let mut known = vec!["uid", "gid", "consumers"];
    let rights = match kind {
        Some(ServiceType::Rest) => {
            known.push("allow");
            object.get("allow").and_then(|allow| rest::read_rules(&allow)).map(Rights::Rest)
        }
        Some(ServiceType::Dbus) => {
            known.extend(dbus_policy::KEYS);
            dbus_policy::read(&object).map(Rights::Dbus)
        }
        Some(ServiceType::Drm) => {
            known.push("access");
            let choices = [("master", DrmAccess::Master), ("render", DrmAccess::Render)];
            object.get("access").and_then(|access| access.one_of(&choices)).map(Rights::Drm)
        }
        Some(ServiceType::Wayland) => {
            known.extend(["preset", "globals"]);
            read_wayland(&object)
        }
        _ => None,
    };
    if kind.is_some() {
        object.only(&known);
    }
    Some(RolePolicy {
        uid: object.get("uid").and_then(|uid| uid.narrow(0..=ID_MAX)),
        gid: object.get("gid").and_then(|gid| gid.narrow(0..=ID_MAX)),
        consumers: object.get("consumers").and_then(|list| list.list(|glob| glob.parse(Glob::new))),
        rights: rights.unwrap_or_default(),
    })
}

fn read_wayland(object: &Object<'_>) -> Option<Rights> {
    const PRESETS: [(&str, WaylandPreset); 3] =
        [("app", WaylandPreset::App), ("kiosk", WaylandPreset::Kiosk), ("trusted", WaylandPreset::Trusted)];
    match (object.get("preset"), object.get("globals")) {
        (Some(preset), Some(_)) => {
            preset.error("a role has either a preset or a list of globals");
            None
        }
        (Some(preset), None) => preset.one_of(&PRESETS).map(Rights::WaylandPreset),
        (None, Some(globals)) => globals.list(read_global).map(Rights::WaylandGlobals),
        (None, None) => None,
    }
}

fn read_global(value: &Value<'_>) -> Option<WaylandGlobal> {
    let interface = |value: &Value<'_>| {
        value.parse(|text| {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let fits = !text.is_empty() && text.len() <= 255 && text.chars().all(plain);
            if fits { Ok(text.to_owned()) } else { Err("must be the name of an interface, like \"wl_seat\"") }
        })
    };
    if value.is_string() {
        return Some(WaylandGlobal { interface: interface(value)?, version: None });
    }
    if !value.is_object() {
        value.error("must be the name of an interface, or an object with \"interface\" and \"version\"");
        return None;
    }
    let object = value.object()?;
    object.only(&["interface", "version"]);
    let name = object.require("interface").and_then(|name| interface(&name));
    let version = object.get("version").and_then(|version| version.narrow(1..=u64::from(u32::MAX)));
    Some(WaylandGlobal { interface: name?, version })
}
