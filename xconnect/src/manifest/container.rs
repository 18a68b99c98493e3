//! One container: what its files say, with its group's settings where they say nothing.

use super::device::Device;
use super::getters;
use super::network::Network;
use super::reader::{Report, suggest};
use super::recovery::{AutoRecovery, RestartPolicy, StatusGoal};
use super::requirement::Requirement;
use super::run::RunPart;
use super::runtime::{self, Runtime};
use super::services::{BusName, Service, Services};
use crate::ids::{ContainerName, Role, ServiceName};

/// One container's manifests.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerManifest {
    name: ContainerName,
    group: String,
    status_goal: StatusGoal,
    restart_policy: RestartPolicy,
    auto_recovery: AutoRecovery,
    roles: Vec<Role>,
    runtime: Runtime,
    services: Services,
    requires: Vec<Requirement>,
    network: Option<Network>,
}

getters! { ContainerManifest:
    /// The container's name, also that of its folder.
    by_ref name: ContainerName;
    /// The group in which it starts.
    by_ref group: String;
    /// What it is to reach: its own word, or its group's.
    copy status_goal: StatusGoal;
    /// Who may start and stop it: its own word, or its group's.
    copy restart_policy: RestartPolicy;
    /// How it is recovered: its own word, or its group's, or not at all.
    by_ref auto_recovery: AutoRecovery;
    /// The roles that it has towards the control socket (`mgmt`).
    slice roles: [Role];
    /// How it is run.
    by_ref runtime: Runtime;
    /// What it needs.
    slice requires: [Requirement];
    /// The network that it asks for; `None`: it says nothing.
    opt network: Network;
}

impl ContainerManifest {
    /// What it provides.
    #[must_use]
    pub fn provides(&self) -> &[Service] {
        self.services.services()
    }

    /// The service of this name.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Option<&Service> {
        self.provides().iter().find(|service| service.name() == name)
    }

    /// The names that it owns on the hosted bus.
    #[must_use]
    pub fn bus_names(&self) -> &[BusName] {
        self.services.bus_names()
    }

    /// Whether its manifest names this role.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|own| own.as_str() == role)
    }

    /// Puts the parts together. A group that does not exist is reported as an error of `report`.
    pub(super) fn assemble(
        name: ContainerName,
        part: RunPart,
        services: Services,
        has_config: bool,
        device: &Device,
        report: &Report,
    ) -> Self {
        let (group, place) = part.group.unzip();
        let group = group.unwrap_or_else(|| device.default_group().to_owned());
        let settings = device.group(&group);
        if settings.is_none() {
            let names = device.groups().iter().map(|group| group.name().as_str());
            let hint = suggest(&group, names).map(|near| format!(", did you mean \"{near}\"?"));
            let hint = hint.unwrap_or_default();
            report.add(&place.unwrap_or_default(), format_args!("there is no group {group:?}{hint}"));
        }
        let own = |part: Option<(_, String)>| part.map(|(value, _)| value);
        let inherited = settings.and_then(|group| group.auto_recovery().cloned());
        Self {
            name,
            status_goal: part
                .status_goal
                .map(|(goal, _)| goal)
                .or(settings.map(|group| group.status_goal()))
                .unwrap_or(StatusGoal::Started),
            restart_policy: part
                .restart_policy
                .map(|(policy, _)| policy)
                .or(settings.map(|group| group.restart_policy()))
                .unwrap_or(RestartPolicy::Container),
            auto_recovery: own(part.auto_recovery).or(inherited).unwrap_or_default(),
            group,
            roles: part.roles,
            runtime: part.runtime.unwrap_or_else(|| runtime::from_folder(has_config)),
            services,
            requires: part.requires,
            network: part.network.map(|(network, _)| network),
        }
    }
}
