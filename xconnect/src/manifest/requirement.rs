//! What a container needs from others.

use super::getters;
use super::options::ServiceType;
use super::reader::Value;
use super::services::{CONTROL_SERVICE, read_type};
use crate::ids::{ContainerName, InsidePath, Role, ServiceName};

/// Whether a container can do without a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Necessity {
    /// Somebody must provide it.
    Required,
    /// It is linked where somebody provides it.
    Optional,
}

/// Where a requirement stands, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    file: String,
    path: String,
}

getters! { Origin:
    /// The file, relative to the state directory.
    by_ref file: String;
    /// The JSON path.
    by_ref path: String;
}

/// One service that a container asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    name: ServiceName,
    necessity: Necessity,
    provider: Option<ContainerName>,
    kind: Option<ServiceType>,
    target: Option<InsidePath>,
    role: Option<Role>,
    interface: Option<String>,
    origin: Origin,
}

getters! { Requirement:
    /// The service's name.
    by_ref name: ServiceName;
    /// Whether the container can do without.
    copy necessity: Necessity;
    /// The provider, where it must be that one.
    opt provider: ContainerName;
    /// The type, where it must be that one.
    copy kind: Option<ServiceType>;
    /// The role asked for; `None`: the type's default.
    opt role: Role;
    /// The type's own identifier (an interface of the bus); `None`: the type's name.
    opt interface: String;
    /// Where it stands in the manifests.
    by_ref origin: Origin;
}

impl Requirement {
    /// Where the container wants it, which depends on the service that was found where the manifest
    /// names no place: a device node keeps its provider's path (`device`), the control socket has
    /// Pantavisor's, all others go to `/run/pv/services/NAME.sock`.
    #[must_use]
    pub fn target(&self, device: Option<&InsidePath>) -> Option<InsidePath> {
        if let Some(target) = self.target.as_ref().or(device) {
            return Some(target.clone());
        }
        let name = &self.name;
        let default = match name.as_str() {
            CONTROL_SERVICE => "/pantavisor/pv-ctrl".to_owned(),
            _ => format!("/run/pv/services/{name}.sock"),
        };
        // The suffix can make the component longer than a file name may be.
        InsidePath::new(default).ok()
    }

    /// The place that the manifest names itself.
    #[must_use]
    pub fn explicit_target(&self) -> Option<&InsidePath> {
        self.target.as_ref()
    }

    /// Whether two entries are about the same link: the same service at the same place.
    pub(super) fn is_same_need(&self, other: &Self) -> bool {
        self.name == other.name
            && match (&self.target, &other.target) {
                (Some(ours), Some(theirs)) => ours == theirs,
                // One of them takes the default, which the other may have been given by pvr.
                _ => self.target(self.target.as_ref()) == other.target(other.target.as_ref()),
            }
    }

    /// Takes over what this one lacks.
    ///
    /// # Errors
    /// The first field in which the two differ.
    pub(super) fn merge(&mut self, other: Self) -> Result<(), &'static str> {
        fn field<T: PartialEq>(
            ours: &mut Option<T>,
            theirs: Option<T>,
            name: &'static str,
        ) -> Result<(), &'static str> {
            match (&*ours, theirs) {
                (Some(ours), Some(theirs)) if *ours != theirs => Err(name),
                (None, theirs) => {
                    *ours = theirs;
                    Ok(())
                }
                _ => Ok(()),
            }
        }
        if self.necessity != other.necessity {
            return Err("necessity");
        }
        field(&mut self.provider, other.provider, "provider")?;
        field(&mut self.kind, other.kind, "type")?;
        field(&mut self.role, other.role, "role")?;
        field(&mut self.interface, other.interface, "interface")?;
        field(&mut self.target, other.target, "target")
    }
}

/// The lists of run.json.
pub(super) const NECESSITIES: [(&str, Necessity); 2] =
    [("required", Necessity::Required), ("optional", Necessity::Optional)];

/// Reads a list of requirements.
pub(super) fn read_list(value: &Value<'_>, necessity: Necessity, into: &mut Vec<Requirement>) {
    for item in value.array().unwrap_or_default() {
        into.extend(read(&item, necessity));
    }
}

fn read(value: &Value<'_>, necessity: Necessity) -> Option<Requirement> {
    let object = value.object()?;
    let name = object.require("name").and_then(|value| {
        let name = value.parse(ServiceName::new)?;
        if object.get("target").is_none() && name.as_str().len() > 250 {
            value.error("is too long to make a file name of it: name a target");
        }
        Some(name)
    });
    let provider = object.get("provider").and_then(|value| value.parse(ContainerName::new));
    let kind = object.get("type").and_then(|value| read_type(&value));
    let target = object.get("target").and_then(|value| {
        let target = value.parse(InsidePath::new)?;
        target.check_creatable().map_err(|error| value.error(error)).ok()?;
        Some(target)
    });
    let role = object.get("role").and_then(|value| value.parse(Role::new));
    let interface = object.get("interface").and_then(|value| value.text()).map(str::to_owned);
    Some(Requirement {
        name: name?,
        necessity,
        provider,
        kind,
        target,
        role,
        interface,
        origin: Origin { file: value.report().file().to_owned(), path: value.path().to_owned() },
    })
}
