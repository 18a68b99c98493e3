//! run.json and args.json: what a container needs and how it is run, read into one shape and merged.

use super::network::{self, Network, NetworkMode};
use super::reader::{Object, Value, suggest};
use super::recovery::{self, AutoRecovery, RestartPolicy, StatusGoal};
use super::requirement::{self, Requirement};
use super::runtime::{self, Runtime};
use crate::ids::{ContainerName, Role};

/// A setting and where it stands, for messages about contradictions.
pub(super) type Placed<T> = Option<(T, String)>;

/// What one of the two files says.
#[derive(Default)]
pub(super) struct RunPart {
    pub(super) runtime: Option<Runtime>,
    pub(super) requires: Vec<Requirement>,
    pub(super) roles: Vec<Role>,
    pub(super) group: Placed<String>,
    pub(super) status_goal: Placed<StatusGoal>,
    pub(super) restart_policy: Placed<RestartPolicy>,
    pub(super) auto_recovery: Placed<AutoRecovery>,
    pub(super) network: Placed<Network>,
}

/// Whether the engine runs the containers that are read, or somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunBy {
    Engine,
    Other,
}

fn placed<T>(object: &Object<'_>, key: &str, read: impl FnOnce(&Value<'_>) -> Option<T>) -> Placed<T> {
    let value = object.get(key)?;
    Some((read(&value)?, value.path().to_owned()))
}

/// Reads run.json.
pub(super) fn read_run(root: &Value<'_>, folder: &ContainerName, run_by: RunBy) -> RunPart {
    let Some(object) = root.object() else { return RunPart::default() };
    if let Some(spec) = object.get("#spec") {
        spec.one_of(&[("service-manifest-run@1", ())]);
    }
    if let Some(value) = object.get("name")
        && let Some(name) = value.parse(ContainerName::new)
        && name != *folder
    {
        value.error(format_args!("must be the name of its folder, \"{folder}\""));
    }
    let mut part = RunPart {
        runtime: read_runtime(&object, run_by),
        roles: object.get("roles").and_then(|roles| read_roles(&roles)).unwrap_or_default(),
        group: placed(&object, "group", |value| value.text().map(str::to_owned)),
        status_goal: placed(&object, "status_goal", StatusGoal::read),
        restart_policy: placed(&object, "restart_policy", RestartPolicy::read),
        auto_recovery: placed(&object, "auto_recovery", recovery::read),
        network: placed(&object, "network", network::read_network),
        requires: Vec::new(),
    };
    if let Some(services) = object.get("services").and_then(|services| services.object()) {
        for (key, necessity) in requirement::NECESSITIES {
            if let Some(list) = services.get(key) {
                requirement::read_list(&list, necessity, &mut part.requires);
            }
        }
    }
    part
}

fn read_runtime(object: &Object<'_>, run_by: RunBy) -> Option<Runtime> {
    if run_by == RunBy::Other {
        return Some(Runtime::External);
    }
    let kind = object.require("type")?;
    match kind.string()? {
        "oci" => runtime::read_oci(object),
        "external" => Some(Runtime::External),
        "lxc" => {
            kind.error("type \"lxc\" is not supported: there is no LXC runtime; use \"oci\"");
            None
        }
        other => {
            kind.error(format_args!("must be \"oci\" or \"external\", not {other:?}"));
            None
        }
    }
}

fn read_roles(value: &Value<'_>) -> Option<Vec<Role>> {
    value.list(|role| role.parse(Role::new))
}

/// The keys of args.json that have a meaning here.
const ARGS: [&str; 12] = [
    "PV_SERVICES_REQUIRED",
    "PV_SERVICES_OPTIONAL",
    "PV_RESTART_POLICY",
    "PV_STATUS_GOAL",
    "PV_GROUP",
    "PV_ROLES",
    "PV_AUTO_RECOVERY",
    "PV_NETWORK_MODE",
    "PV_NETWORK_POOL",
    "PV_NETWORK_HOSTNAME",
    "PV_NETWORK_IP",
    "PV_NETWORK_MAC",
];

/// Reads args.json. Keys of pvr's templates that mean nothing here pass; those that look like one of
/// ours, misspelt, are refused, since their requirement would be lost silently.
pub(super) fn read_args(root: &Value<'_>) -> RunPart {
    let Some(object) = root.object() else { return RunPart::default() };
    for (key, value) in object.members().filter(|(key, _)| !ARGS.contains(key)) {
        if let Some(near) = suggest(key, ARGS) {
            value.error(format_args!("unknown key, did you mean \"{near}\"?"));
        }
    }
    let mut part = RunPart {
        roles: object.get("PV_ROLES").and_then(|roles| read_roles(&roles)).unwrap_or_default(),
        group: placed(&object, "PV_GROUP", |value| value.text().map(str::to_owned)),
        status_goal: placed(&object, "PV_STATUS_GOAL", StatusGoal::read),
        restart_policy: placed(&object, "PV_RESTART_POLICY", RestartPolicy::read),
        auto_recovery: placed(&object, "PV_AUTO_RECOVERY", recovery::read),
        network: read_args_network(&object),
        ..RunPart::default()
    };
    for (key, (_, necessity)) in ARGS.iter().zip(requirement::NECESSITIES) {
        if let Some(list) = object.get(key) {
            requirement::read_list(&list, necessity, &mut part.requires);
        }
    }
    part
}

fn read_args_network(object: &Object<'_>) -> Placed<Network> {
    const MODES: [(&str, NetworkMode); 3] =
        [("pool", NetworkMode::Pool), ("host", NetworkMode::Host), ("none", NetworkMode::None)];
    let mode = object.get("PV_NETWORK_MODE");
    let pool = object.get("PV_NETWORK_POOL");
    let hostname = object.get("PV_NETWORK_HOSTNAME");
    let address = object.get("PV_NETWORK_IP");
    let mac = object.get("PV_NETWORK_MAC");
    let at = [&mode, &pool, &hostname, &address, &mac].into_iter().flatten().next().cloned()?;
    if pool.is_none() {
        for value in [&address, &mac].into_iter().flatten() {
            value.error("needs PV_NETWORK_POOL");
        }
    }
    let address = address.and_then(|value| value.parse(network::ipv4));
    let mac = mac.and_then(|value| value.parse(network::mac));
    let hostname = hostname.and_then(|value| value.parse(network::host_name));
    let pool = pool.and_then(|value| value.parse(network::pool_name));
    let interfaces = pool.map(|pool| network::Interface::unnamed(pool, address, mac)).into_iter().collect();
    let mode = mode.map(|mode| mode.one_of(&MODES));
    Some((network::network(&at, mode, hostname, interfaces)?, at.path().to_owned()))
}

/// Adds what args.json says to what run.json says. `contradiction` is called with the place in args.json
/// and a message for what both say differently.
pub(super) fn merge(run: &mut RunPart, args: RunPart, contradiction: &mut dyn FnMut(&str, String)) {
    let mut differs = |path: &str, other: &str| {
        contradiction(path, format!("must not differ from run.json's {other}"));
    };
    merge_setting(&mut run.group, args.group, "group", &mut differs);
    merge_setting(&mut run.status_goal, args.status_goal, "status_goal", &mut differs);
    merge_setting(&mut run.restart_policy, args.restart_policy, "restart_policy", &mut differs);
    merge_setting(&mut run.auto_recovery, args.auto_recovery, "auto_recovery", &mut differs);
    merge_setting(&mut run.network, args.network, "network", &mut differs);
    for role in args.roles {
        if !run.roles.contains(&role) {
            run.roles.push(role);
        }
    }
    for theirs in args.requires {
        match run.requires.iter_mut().find(|ours| ours.is_same_need(&theirs)) {
            None => run.requires.push(theirs),
            Some(ours) => {
                let place = theirs.origin().path().to_owned();
                if let Err(field) = ours.merge(theirs) {
                    differs(&place, &format!("{} in its {field}", ours.origin().path()));
                }
            }
        }
    }
}

fn merge_setting<T: PartialEq>(
    run: &mut Placed<T>,
    args: Placed<T>,
    key: &str,
    differs: &mut dyn FnMut(&str, &str),
) {
    match (&*run, args) {
        (Some((ours, _)), Some((theirs, path))) if *ours != theirs => differs(&path, key),
        (None, args) => *run = args,
        _ => {}
    }
}
