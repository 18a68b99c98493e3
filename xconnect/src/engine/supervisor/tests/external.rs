//! Containers that another runtime runs, or runs from now on.

use std::process::{Child, Command};

use super::*;
use crate::engine::container::{ContainerSpec, NetworkMode, RuntimeSpec, State};
use crate::engine::supervisor::{StopContainers, Supervisor};
use crate::graph::{Presence, ProcessId};

/// A process of somebody else.
struct Theirs(Child);

impl Theirs {
    fn new() -> Self {
        Self(Command::new("sleep").arg("1000").spawn().unwrap())
    }

    fn process(&self) -> ProcessId {
        ProcessId { pid: self.0.id(), start: None }
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn external(container: &str) -> ContainerSpec {
    ContainerSpec::new(name(container), RuntimeSpec::External)
}

#[tokio::test]
async fn a_container_that_others_run_from_now_on_is_stopped_first() {
    let Some(host) = Host::new() else { return };
    let mut theirs = Theirs::new();
    let supervisor = Supervisor::start(host.config()).unwrap();
    supervisor.apply(desired([host.spec("web", &["polite"])]));
    let ours = until_one(&supervisor, "web", |web| web.status == State::Started).await.process.unwrap();
    supervisor.apply(desired([external("web")]));
    // Before ours is gone: it is watched as soon as that is so.
    supervisor.register(external("web"), theirs.process()).unwrap();
    let web = until_one(&supervisor, "web", |web| {
        web.status == State::Started && web.process.is_some_and(|process| process != ours)
    })
    .await;
    assert_eq!(web.process.unwrap().pid, theirs.0.id());
    assert!(host.processes("web").is_empty());
    supervisor.shutdown(StopContainers::Yes).await;
    assert!(theirs.0.try_wait().unwrap().is_none());
}

#[tokio::test]
async fn a_container_that_others_run_from_now_on_is_stopped_when_it_is_adopted() {
    let Some(host) = Host::new() else { return };
    let supervisor = Supervisor::start(host.config()).unwrap();
    supervisor.apply(desired([host.spec("web", &["sleep"])]));
    until_one(&supervisor, "web", |web| web.status == State::Started).await;
    supervisor.shutdown(StopContainers::Leave).await;
    let supervisor = Supervisor::start(host.config()).unwrap();
    supervisor.apply(desired([external("web")]));
    until_one(&supervisor, "web", |web| web.last_exit.is_some() && web.process.is_none()).await;
    assert!(host.processes("web").is_empty());
    // Nothing of ours runs: it is only forgotten.
    supervisor.apply(desired([]));
    until(&supervisor, <[_]>::is_empty).await;
    supervisor.shutdown(StopContainers::Yes).await;
}

#[tokio::test]
async fn a_container_that_we_run_from_now_on_is_started_beside_what_others_left() {
    let Some(host) = Host::new() else { return };
    let mut theirs = Theirs::new();
    let supervisor = Supervisor::start(host.config()).unwrap();
    supervisor.apply(desired([external("web")]));
    supervisor.register(external("web"), theirs.process()).unwrap();
    until_one(&supervisor, "web", |web| web.status == State::Started).await;
    supervisor.shutdown(StopContainers::Leave).await;
    let supervisor = Supervisor::start(host.config()).unwrap();
    supervisor.apply(desired([host.spec("web", &["sleep"])]));
    until_one(&supervisor, "web", |web| {
        web.status == State::Started && web.process.is_some_and(|process| process.pid != theirs.0.id())
    })
    .await;
    assert_eq!(host.processes("web").len(), 1);
    supervisor.shutdown(StopContainers::Yes).await;
    assert!(theirs.0.try_wait().unwrap().is_none());
}

#[tokio::test]
async fn a_registration_outlives_another_manifest() {
    let Some(host) = Host::new() else { return };
    let theirs = Theirs::new();
    let supervisor = Supervisor::start(host.config()).unwrap();
    supervisor.apply(desired([external("web")]));
    supervisor.register(external("web"), theirs.process()).unwrap();
    let before = until_one(&supervisor, "web", |web| web.status == State::Started).await;
    let other =
        ContainerSpec { network: NetworkMode::Host, hostname: Some("other".to_owned()), ..external("web") };
    // The other one runs after all commands of the first were done.
    supervisor.apply(desired([other, host.spec("next", &["sleep"])]));
    until_one(&supervisor, "next", |next| next.status == State::Started).await;
    assert_eq!(supervisor.presence(&name("web")), Presence::Running(before.process.unwrap()));
    supervisor.shutdown(StopContainers::Yes).await;
}
