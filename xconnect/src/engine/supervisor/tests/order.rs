//! Whose turn it is, and when a container has arrived.

use std::time::Duration;

use super::*;
use crate::engine::container::{ContainerSpec, Policy, RecoveryPolicy, State, StatusGoal};
use crate::engine::shim::ShimCommand;
use crate::engine::supervisor::{Event, StopContainers, Supervisor};

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
async fn a_process_is_its_containers_while_that_is_still_being_made() {
    let Some(host) = Host::new() else { return };
    let mut config = host.config();
    // Stands for a shim that has made its container and not yet told of it.
    let script = "sleep 1000 & echo $! > $0/made.new; mv $0/made.new $0/made; wait";
    config.shim = ShimCommand { program: "/bin/sh".into(), args: vec!["-c".into(), script.into()] };
    let supervisor = Supervisor::start(config).unwrap();
    supervisor.apply(desired([host.spec("web", &["sleep"])]));
    let made = host.container_dir("web").path().join("made");
    eventually("the container is made", || made.exists()).await;
    let pid: u32 = std::fs::read_to_string(&made).unwrap().trim().parse().unwrap();
    let status = until_one(&supervisor, "web", |_| true).await.status;
    let found = [pid, std::process::id()].map(|pid| supervisor.container_of(pid));
    // Nothing else ends them, should this test fail.
    let shim = crate::sys::process::parent(pid).unwrap();
    for pid in [shim, pid] {
        let pidfd = crate::sys::process::open_child(pid).unwrap();
        crate::sys::process::send_signal(&pidfd, libc::SIGKILL).unwrap();
    }
    assert_eq!((status, found), (State::Starting, [Some(name("web")), None]));
    until_one(&supervisor, "web", |web| web.status == State::Stopped).await;
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

#[tokio::test]
async fn a_crash_loop_does_not_hold_up_later_groups() {
    let Some(host) = Host::new() else { return };
    let supervisor = Supervisor::start(host.config()).unwrap();
    let mut events = supervisor.events();
    let recovery = RecoveryPolicy {
        policy: Policy::Always,
        retry_delay: Duration::from_secs(600),
        max_delay: Duration::from_secs(600),
        ..RecoveryPolicy::default()
    };
    let wanted = |app: &str| {
        let base =
            ContainerSpec { group: "platform".to_owned(), recovery, ..host.spec("base", &["exit", "1"]) };
        let mut wanted = desired([base, host.spec("app", &[app])]);
        wanted.groups[2].timeout = Duration::from_secs(10);
        wanted
    };
    supervisor.apply(wanted("sleep"));
    let first = until_one(&supervisor, "app", |app| app.status == State::Started).await;
    supervisor.apply(wanted("polite"));
    until_one(&supervisor, "app", |app| app.status == State::Started && app.process != first.process).await;
    while let Ok(event) = events.try_recv() {
        assert!(!matches!(event, Event::GroupTimeout { .. }), "{event:?}");
    }
    assert_eq!(until_one(&supervisor, "base", |_| true).await.status, State::Recovering);
    supervisor.shutdown(StopContainers::Yes).await;
}
