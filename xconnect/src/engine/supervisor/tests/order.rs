//! Whose turn it is, and when a container has arrived.

use super::*;
use crate::engine::container::{ContainerSpec, State, StatusGoal};
use crate::engine::supervisor::{StopContainers, Supervisor};

#[tokio::test]
async fn ready_counts_before_the_engine_knows_the_process() {
    let Some(host) = Host::new() else { return };
    let supervisor = Supervisor::start(host.config()).unwrap();
    supervisor
        .apply(desired([ContainerSpec { status_goal: StatusGoal::Ready, ..host.spec("web", &["sleep"]) }]));
    until_one(&supervisor, "web", |web| web.status == State::Starting).await;
    supervisor.signal_ready(&name("web")).unwrap();
    until_one(&supervisor, "web", |web| web.status == State::Ready).await;
    supervisor.shutdown(StopContainers::Yes).await;
}

#[tokio::test]
async fn a_goal_that_is_raised_starts_the_container() {
    let Some(host) = Host::new() else { return };
    let supervisor = Supervisor::start(host.config()).unwrap();
    let spec = |status_goal| ContainerSpec { status_goal, ..host.spec("data", &["sleep"]) };
    supervisor.apply(desired([spec(StatusGoal::Mounted)]));
    until_one(&supervisor, "data", |data| data.status == State::Mounted).await;
    supervisor.apply(desired([spec(StatusGoal::Started)]));
    until_one(&supervisor, "data", |data| data.status == State::Started).await;
    supervisor.shutdown(StopContainers::Yes).await;
}
