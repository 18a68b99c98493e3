//! The end of the engine and of containers, while somebody still wants something of them.

use std::time::Duration;

use super::*;
use crate::engine::container::{Action, ContainerSpec, RuntimeSpec, State};
use crate::engine::supervisor::{StopContainers, Supervisor};
use crate::graph::ProcessId;

#[tokio::test]
async fn a_container_wanted_again_while_the_engine_ends_is_stopped_nevertheless() {
    let Some(host) = Host::new() else { return };
    let supervisor = Supervisor::start(host.config()).unwrap();
    supervisor.apply(desired([host.spec("mule", &["stubborn"])]));
    until_one(&supervisor, "mule", |mule| mule.status == State::Started).await;
    eventually("it ignores the signal", || host.log("mule").contains("stubborn")).await;
    let ending = tokio::spawn({
        let supervisor = supervisor.clone();
        async move { supervisor.shutdown(StopContainers::Yes).await }
    });
    until_one(&supervisor, "mule", |mule| mule.status == State::Stopping).await;

    supervisor.apply(desired([host.spec("mule", &["stubborn"]), host.spec("late", &["sleep"])]));
    assert!(supervisor.action(&name("mule"), Action::Start).is_err());
    assert!(supervisor.signal_ready(&name("mule")).is_err());
    let process = ProcessId { pid: std::process::id(), start: None };
    let external = ContainerSpec::new(name("theirs"), RuntimeSpec::External);
    assert!(supervisor.register(external, process).is_err());
    assert!(supervisor.unregister(&name("mule")).is_err());
    tokio::time::timeout(Duration::from_secs(20), ending).await.expect("the engine ends").unwrap();
    for container in ["mule", "late", "theirs"] {
        assert!(host.processes(container).is_empty());
        assert!(!host.container_dir(container).path().exists());
    }
}

#[tokio::test]
async fn what_is_asked_of_a_removed_container_does_not_keep_it() {
    let Some(host) = Host::new() else { return };
    let supervisor = Supervisor::start(host.config()).unwrap();
    supervisor.apply(desired([host.spec("web", &["exit", "0"])]));
    until_one(&supervisor, "web", |web| web.status == State::Stopped).await;
    // Both are in its task's queue before the task sees the first.
    supervisor.apply(desired([]));
    supervisor.action(&name("web"), Action::Start).unwrap();
    until(&supervisor, <[_]>::is_empty).await;
    assert!(host.processes("web").is_empty());
    supervisor.shutdown(StopContainers::Yes).await;
}

#[tokio::test]
async fn a_container_stopped_right_after_its_start_still_gets_its_signal() {
    let Some(host) = Host::new() else { return };
    let mut config = host.config();
    config.stop_grace = Duration::from_secs(20);
    let supervisor = Supervisor::start(config).unwrap();
    supervisor.apply(desired([host.spec("slow", &["polite", "300"])]));
    until_one(&supervisor, "slow", |slow| slow.status == State::Started).await;
    supervisor.action(&name("slow"), Action::Stop).unwrap();
    let slow = until_one(&supervisor, "slow", |slow| slow.status == State::Stopped).await;
    assert_eq!(slow.last_exit.unwrap().0, crate::engine::container::Exit::Code(7));
    supervisor.shutdown(StopContainers::Yes).await;
}
