//! Containers and groups as the control API shows them.

use crate::api::types::{AutoRecovery, Consumes, Container, Flag, Group, Provides};
use crate::engine::container::{
    ContainerStatus, GroupStatus, Policy, RecoveryPolicy, RestartPolicy, StatusGoal,
};
use crate::ids::Role;
use crate::manifest::{ContainerManifest, Necessity, Requirement, Revision, Service};

/// `GET /containers`.
pub(super) fn containers(statuses: &[ContainerStatus], manifests: &Revision) -> Vec<Container> {
    statuses.iter().map(|status| container(status, manifests)).collect()
}

/// `GET /groups`.
pub(super) fn groups(statuses: &[GroupStatus]) -> Vec<Group> {
    let group = |status: &GroupStatus| Group {
        name: status.name.clone(),
        status_goal: goal(status.status_goal).to_owned(),
        restart_policy: restart_policy(status.restart_policy).to_owned(),
        status: status.status.to_string(),
        auto_recovery: Some(recovery(&status.recovery)),
    };
    statuses.iter().map(group).collect()
}

fn container(status: &ContainerStatus, manifests: &Revision) -> Container {
    let manifest = manifests.containers().get(&status.name);
    let by_operator = status.restart_policy == RestartPolicy::Container;
    let standing = &status.recovery;
    Container {
        name: status.name.to_string(),
        group: status.group.clone(),
        status: status.status.to_string(),
        status_goal: goal(status.status_goal).to_owned(),
        restart_policy: restart_policy(status.restart_policy).to_owned(),
        pid: status.process.map_or(-1, |process| i64::from(process.pid)),
        uptime_secs: status.uptime.map_or(0, |uptime| uptime.as_secs()),
        roles: status.roles.iter().map(|role| role.as_str().to_owned()).collect(),
        user_stopped: by_operator.then(|| Flag::from(status.user_stopped)),
        auto_recovery: Some(AutoRecovery {
            current_retries: Some(standing.current_retries),
            is_stable: Some(Flag::from(standing.is_stable)),
            ..recovery(&standing.policy)
        }),
        provides: manifest.map(|it| it.provides().iter().filter_map(provides).collect()).unwrap_or_default(),
        consumes: manifest
            .map(|it| it.requires().iter().map(|need| consumes(it, need, manifests)).collect())
            .unwrap_or_default(),
        last_exit: status.last_exit.map(|(exit, _)| exit.to_string()),
        reason: status.reason.clone(),
    }
}

fn provides(service: &Service) -> Option<Provides> {
    Some(Provides {
        name: service.name().to_string(),
        kind: service.kind().as_str().to_owned(),
        socket: service.socket().map(|socket| socket.as_str().to_owned()).unwrap_or_default(),
    })
}

fn consumes(consumer: &ContainerManifest, need: &Requirement, manifests: &Revision) -> Consumes {
    let provided = manifests
        .containers()
        .values()
        .filter(|other| need.provider().map_or(other.name() != consumer.name(), |name| other.name() == name))
        .find_map(|other| other.service(need.name()));
    let kind = need.kind().or(provided.map(Service::kind));
    let device =
        provided.filter(|it| it.kind() == crate::manifest::ServiceType::Drm).and_then(Service::socket);
    Consumes {
        name: need.name().to_string(),
        kind: kind.map(|kind| kind.as_str().to_owned()),
        requirement: match need.necessity() {
            Necessity::Required => "required".to_owned(),
            Necessity::Optional => "optional".to_owned(),
        },
        role: need.role().map_or_else(|| Role::any().as_str().to_owned(), |role| role.as_str().to_owned()),
        interface: need.interface().cloned(),
        target: need.target(device).map(|target| target.as_str().to_owned()).unwrap_or_default(),
    }
}

fn goal(goal: StatusGoal) -> &'static str {
    match goal {
        StatusGoal::Mounted => "MOUNTED",
        StatusGoal::Started => "STARTED",
        StatusGoal::Ready => "READY",
    }
}

fn restart_policy(policy: RestartPolicy) -> &'static str {
    match policy {
        RestartPolicy::System => "system",
        RestartPolicy::Container => "container",
    }
}

fn recovery(policy: &RecoveryPolicy) -> AutoRecovery {
    let name = match policy.policy {
        Policy::No => "no",
        Policy::Always => "always",
        Policy::OnFailure => "on-failure",
        Policy::UnlessStopped => "unless-stopped",
    };
    AutoRecovery {
        policy: name.to_owned(),
        kind: name.to_owned(),
        max_retries: policy.max_retries,
        current_retries: None,
        retry_delay: policy.retry_delay.as_secs(),
        backoff_factor: policy.backoff_factor,
        reset_window: policy.reset_window.as_secs(),
        stable_timeout: policy.stable_timeout.as_secs(),
        is_stable: None,
        backoff_policy: policy.backoff_policy.to_string(),
    }
}
