//! Manifests: bytes into validated values, with every error and its place. Pure: files come as bytes,
//! and nothing is looked up on the host.

mod container;
mod dbus_policy;
mod device;
mod error;
mod glob;
mod ingress;
mod json;
mod load;
mod network;
mod options;
mod policy;
mod reader;
mod recovery;
mod requirement;
mod rest;
mod run;
mod runtime;
mod services;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;

pub use container::ContainerManifest;
pub use dbus_policy::{DbusPolicy, Effect, Fds, MessageRule, NameLevel, NameRule, On};
pub use device::{Device, Group};
pub use error::{Error, Errors};
pub use glob::Glob;
pub use ingress::{Ingress, IngressKind};
pub use load::{load, load_external};
pub use network::{Interface, Network, NetworkMode, Pool, PoolLink, Subnet};
pub use options::{Forward, Identity, Limits, ServiceType, SocketType, UnixOptions};
pub use policy::{DrmAccess, Rights, RolePolicy, WaylandGlobal, WaylandPreset};
pub use recovery::{AutoRecovery, BackoffPolicy, RecoveryPolicy, RestartPolicy, StatusGoal};
pub use requirement::{Necessity, Origin, Requirement};
pub(crate) use rest::PATH_MAX as RULE_PATH_MAX;
pub use rest::{Forwarded, RestOptions, RestRule, Tracing};
pub use runtime::{IdRange, Mount, Rootfs, Runtime, Source, UserNamespace};
pub use services::{BusName, CONTROL_SERVICE, Endpoint, Service, Services, UnknownRole};

pub(crate) use reader::{milliseconds, suggest};

use crate::ids::ContainerName;

/// Writes getters for private fields: `copy`, `by_ref`, `opt` (reference inside the option), `slice`.
macro_rules! getters {
    ($type:ident: $($(#[$doc:meta])* $how:ident $name:ident: $ret:ty;)*) => {
        impl $type {
            $(
                $(#[$doc])*
                #[must_use]
                pub fn $name(&self) -> crate::manifest::getters!(@type $how $ret) {
                    crate::manifest::getters!(@value $how self.$name)
                }
            )*
        }
    };
    (@type copy $ret:ty) => { $ret };
    (@type by_ref $ret:ty) => { &$ret };
    (@type opt $ret:ty) => { Option<&$ret> };
    (@type slice $ret:ty) => { &$ret };
    (@value copy $field:expr) => { $field };
    (@value by_ref $field:expr) => { &$field };
    (@value opt $field:expr) => { $field.as_ref() };
    (@value slice $field:expr) => { &$field };
}
use getters;

/// The name of the host's manifest.
pub const DEVICE: &str = "device.json";
/// How a container is run and what it needs.
pub const RUN: &str = "run.json";
/// What a container needs, before it is rendered into run.json.
pub const ARGS: &str = "args.json";
/// What a container provides.
pub const SERVICES: &str = "services.json";
/// The OCI configuration of a bundle.
pub const CONFIG: &str = "config.json";

/// The files that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `device.json`.
    Device,
    /// `NAME/run.json`.
    Run,
    /// `NAME/args.json`.
    Args,
    /// `NAME/services.json`.
    Services,
    /// `NAME/config.json`.
    Config,
}

/// What a file of the state directory is, by its relative name, and the folder of its container;
/// `None` for files that are no manifests.
#[must_use]
pub fn classify(file: &str) -> Option<(Option<&str>, Kind)> {
    if file == DEVICE {
        return Some((None, Kind::Device));
    }
    let (folder, name) = file.split_once('/')?;
    if folder.is_empty() || folder.starts_with('.') || load::NO_CONTAINERS.contains(&folder) {
        return None;
    }
    let kind = match name {
        RUN => Kind::Run,
        ARGS => Kind::Args,
        SERVICES => Kind::Services,
        CONFIG => Kind::Config,
        _ => return None,
    };
    Some((Some(folder), kind))
}

/// All manifests of one state, each valid in itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Revision {
    containers: BTreeMap<ContainerName, ContainerManifest>,
    device: Device,
    id: String,
}

getters! { Revision:
    /// The containers by name.
    by_ref containers: BTreeMap<ContainerName, ContainerManifest>;
    /// The host.
    by_ref device: Device;
    /// SHA-256 over the canonical JSON of all manifests, as 64 hexadecimal digits.
    by_ref id: String;
}

impl Default for Revision {
    /// That of an empty state directory.
    fn default() -> Self {
        load(&BTreeMap::new()).expect("invariant: where there is no file, there is no error")
    }
}

impl Revision {
    /// The same state with one more container (or another in place of one of its name), as when one
    /// is registered that somebody else runs. The id stays: it is that of the files.
    #[must_use]
    pub fn with(&self, container: ContainerManifest) -> Self {
        let mut revision = self.clone();
        revision.containers.insert(container.name().clone(), container);
        revision
    }
}
