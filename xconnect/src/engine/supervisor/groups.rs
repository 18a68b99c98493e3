//! Groups: which containers start when, and how far each group is.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{Event, Phase, Shared, lock};
use crate::engine::container::{
    Command, ContainerSpec, ContainerStatus, GroupSpec, GroupStatus, State, reached,
};
use crate::ids::ContainerName;

/// What is done about the groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// Each has its turn when the ones before it have arrived.
    InOrder,
    /// None has a turn any more: the engine is ending.
    Over,
}

/// The groups of the present revision, in their order.
#[derive(Default)]
pub(super) struct Groups {
    groups: Vec<Group>,
}

#[derive(Clone)]
struct Group {
    spec: GroupSpec,
    members: Vec<ContainerName>,
    late: Option<String>,
}

impl Groups {
    /// Takes over a revision's groups. Containers of a group that nobody declared come last.
    pub(super) fn set<'a>(
        &mut self,
        specs: Vec<GroupSpec>,
        containers: impl Iterator<Item = &'a ContainerSpec>,
    ) {
        self.groups = specs.into_iter().map(|spec| Group { spec, members: Vec::new(), late: None }).collect();
        let mut strays: BTreeMap<&str, Vec<ContainerName>> = BTreeMap::new();
        for container in containers {
            match self.groups.iter_mut().find(|group| group.spec.name == container.group) {
                Some(group) => group.members.push(container.name.clone()),
                None => strays.entry(&container.group).or_default().push(container.name.clone()),
            }
        }
        let last = GroupSpec::built_in().pop();
        for (name, members) in strays {
            if let Some(last) = &last {
                let spec = GroupSpec { name: name.to_owned(), ..last.clone() };
                self.groups.push(Group { spec, members, late: None });
            }
        }
    }

    pub(super) fn status(&self, containers: &[ContainerStatus]) -> Vec<GroupStatus> {
        let status = |group: &Group| {
            let members = || containers.iter().filter(|status| group.members.contains(&status.name));
            let goal = match group.spec.status_goal {
                crate::manifest::StatusGoal::Mounted => State::Mounted,
                crate::manifest::StatusGoal::Started => State::Started,
                crate::manifest::StatusGoal::Ready => State::Ready,
            };
            let least = members().map(|status| status.status).min_by_key(|state| progress(*state));
            let arrived = members().all(|status| reached(status.status_goal, status.status));
            GroupStatus {
                name: group.spec.name.clone(),
                status_goal: group.spec.status_goal,
                restart_policy: group.spec.restart_policy,
                status: least.unwrap_or(goal),
                reached: arrived,
                recovery: group.spec.recovery,
                reason: group.late.clone().filter(|_| !arrived),
            }
        };
        self.groups.iter().map(status).collect()
    }
}

/// How far a state is on the way up.
fn progress(state: State) -> u8 {
    match state {
        State::None => 0,
        State::Stopped => 1,
        State::Stopping => 2,
        State::Installed => 3,
        State::Blocked => 4,
        State::Recovering => 5,
        State::Starting => 6,
        State::Mounted => 7,
        State::Started => 8,
        State::Ready => 9,
    }
}

/// Gives each group its turn when the ones before it have arrived, for every revision anew.
pub(super) async fn start_in_order(shared: Arc<Shared>) {
    let mut plan = shared.plan.subscribe();
    loop {
        if *plan.borrow_and_update() == Plan::Over {
            return;
        }
        let count = lock(&shared.groups).groups.len();
        for index in 0..count {
            if !start_group(&shared, index, &mut plan).await {
                break;
            }
        }
        if plan.changed().await.is_err() {
            return;
        }
    }
}

/// Starts one group and waits until it arrived or its time is over; false if the plan changed.
async fn start_group(shared: &Shared, index: usize, plan: &mut watch::Receiver<Plan>) -> bool {
    let Some(group) = lock(&shared.groups).groups.get(index).cloned() else { return false };
    let mut changed = shared.context.changed.subscribe();
    {
        let entries = lock(&shared.entries);
        if entries.phase == Phase::Ending {
            return false;
        }
        for name in &group.members {
            if let Some(entry) = entries.all.get(name) {
                entry.handle.send(Command::Turn);
            }
        }
    }
    let deadline = Instant::now() + group.spec.timeout;
    loop {
        let waiting = unsettled(shared, &group);
        if waiting.is_empty() {
            return true;
        }
        tokio::select! {
            biased;
            // Seen again by `start_in_order`, which must not miss it.
            new = plan.changed() => {
                plan.mark_changed();
                return new.is_err();
            }
            _ = changed.changed() => {}
            () = tokio::time::sleep_until(deadline) => {
                report_late(shared, index, &group, waiting);
                return true;
            }
        }
    }
}

fn unsettled(shared: &Shared, group: &Group) -> Vec<ContainerName> {
    let entries = lock(&shared.entries);
    let waits = |name: &&ContainerName| {
        entries.all.get(*name).is_some_and(|entry| {
            let view = entry.handle.view();
            !view.gone && !view.is_settled()
        })
    };
    group.members.iter().filter(waits).cloned().collect()
}

fn report_late(shared: &Shared, index: usize, group: &Group, waiting: Vec<ContainerName>) {
    let names: Vec<_> = waiting.iter().map(ContainerName::as_str).collect();
    let reason = format!("not at its goal after {:?}: {}", group.spec.timeout, names.join(", "));
    tracing::warn!(group = %group.spec.name, %reason, "a group is late; the next one starts");
    if let Some(group) = lock(&shared.groups).groups.get_mut(index) {
        group.late = Some(reason);
    }
    shared.context.report(Event::GroupTimeout { group: group.spec.name.clone(), waiting });
    shared.context.bump();
}
