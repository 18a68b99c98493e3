//! device.json: groups of containers, pools of addresses, doors for traffic from outside.

use std::collections::BTreeMap;
use std::time::Duration;

use super::getters;
use super::ingress::{self, Ingress};
use super::network::{self, Pool};
use super::reader::Value;
use super::recovery::{self, AutoRecovery, RestartPolicy, StatusGoal};
use crate::ids::ServiceName;

/// A group of containers, started together.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    name: String,
    description: String,
    status_goal: StatusGoal,
    restart_policy: RestartPolicy,
    timeout: Duration,
    auto_recovery: Option<AutoRecovery>,
}

getters! { Group:
    /// Its name.
    by_ref name: String;
    /// What it is for; may be empty.
    by_ref description: String;
    /// The goal of members that name none.
    copy status_goal: StatusGoal;
    /// The restart policy of members that name none.
    copy restart_policy: RestartPolicy;
    /// How long members may take to reach their goal before the next group is started.
    copy timeout: Duration;
    /// The recovery of members that name none.
    opt auto_recovery: AutoRecovery;
}

/// What belongs to the host and not to a container.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    groups: Vec<Group>,
    pools: BTreeMap<String, Pool>,
    ingress: Vec<Ingress>,
}

getters! { Device:
    /// The groups in the order in which they start; never empty.
    slice groups: [Group];
    /// The pools by name.
    by_ref pools: BTreeMap<String, Pool>;
    /// The doors.
    slice ingress: [Ingress];
}

impl Device {
    /// The group of this name.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// The group of containers that name none: `app`, or the last one where there is no `app`.
    #[must_use]
    pub fn default_group(&self) -> &str {
        self.group("app").or(self.groups.last()).map_or("app", |group| &group.name)
    }
}

impl Default for Device {
    /// Without device.json: Pantavisor's built-in groups.
    fn default() -> Self {
        let group = |name: &str, status_goal, restart_policy| Group {
            name: name.to_owned(),
            description: String::new(),
            status_goal,
            restart_policy,
            timeout: TIMEOUT,
            auto_recovery: None,
        };
        Self {
            groups: vec![
                group("data", StatusGoal::Mounted, RestartPolicy::System),
                group("root", StatusGoal::Started, RestartPolicy::System),
                group("platform", StatusGoal::Started, RestartPolicy::System),
                group("app", StatusGoal::Started, RestartPolicy::Container),
            ],
            pools: BTreeMap::new(),
            ingress: Vec::new(),
        }
    }
}

/// Pantavisor's default of `timeout`.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Reads device.json.
pub(super) fn read(root: &Value<'_>) -> Device {
    let mut device = Device::default();
    let Some(object) = root.object() else { return device };
    // `disks` and `volumes` are Pantavisor's storage: known, and of no meaning here.
    object.only(&["#spec", "groups", "network", "ingress", "disks", "volumes"]);
    if let Some(groups) = object.get("groups") {
        device.groups = read_groups(&groups);
    }
    if let Some(network) = object.get("network") {
        device.pools = network::read_pools(&network);
    }
    if let Some(rules) = object.get("ingress") {
        device.ingress = ingress::read(&rules);
    }
    device
}

fn read_groups(value: &Value<'_>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let items = value.array();
    if items.as_ref().is_some_and(Vec::is_empty) {
        value.error("must have at least one group");
    }
    for item in items.unwrap_or_default() {
        let Some(group) = read_group(&item) else { continue };
        if groups.iter().any(|other| other.name == group.name) {
            item.error(format_args!("group \"{}\" is there twice", group.name));
        }
        groups.push(group);
    }
    groups
}

fn read_group(value: &Value<'_>) -> Option<Group> {
    let object = value.object()?;
    object.only(&["name", "description", "status_goal", "restart_policy", "timeout", "auto_recovery"]);
    let name = object.require("name").and_then(|name| name.parse(ServiceName::new));
    let description = object.get("description").and_then(|value| value.text());
    let status_goal = object.get("status_goal").and_then(|value| StatusGoal::read(&value));
    let restart_policy = object.get("restart_policy").and_then(|value| RestartPolicy::read(&value));
    let timeout = object.get("timeout").and_then(|value| value.duration());
    let auto_recovery = object.get("auto_recovery").and_then(|value| recovery::read(&value));
    Some(Group {
        name: name?.into(),
        description: description.unwrap_or_default().to_owned(),
        status_goal: status_goal.unwrap_or(StatusGoal::Started),
        restart_policy: restart_policy.unwrap_or(RestartPolicy::Container),
        timeout: timeout.unwrap_or(TIMEOUT),
        auto_recovery,
    })
}
