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
