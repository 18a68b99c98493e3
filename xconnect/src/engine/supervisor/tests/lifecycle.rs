//! Start, stop, restart, recovery, groups, revisions, and containers of others.

use std::time::{Duration, Instant};

use super::*;
use crate::engine::container::{
    Action, ActionError, BackoffPolicy, ContainerSpec, Exit, Policy, RecoveryPolicy, RestartPolicy,
    RuntimeSpec, State, StatusGoal,
};
use crate::engine::supervisor::{Event, RegisterError, StopContainers, Supervisor};
use crate::graph::{Presence, ProcessId};

#[tokio::test]
async fn operators_start_stop_and_restart() {
    let Some(host) = Host::new() else { return };
    let supervisor = Supervisor::start(host.config()).unwrap();
    supervisor.apply(desired([host.spec("web", &["polite"])]));
    let first = until_one(&supervisor, "web", |web| web.status == State::Started).await;
    eventually("its handler is installed", || host.log("web").contains("polite")).await;
    assert_eq!(supervisor.action(&name("web"), Action::Start), Ok(()));
    assert_eq!(supervisor.action(&name("nobody"), Action::Start), Err(ActionError::NotFound));

    supervisor.action(&name("web"), Action::Restart).unwrap();
    let second =
        until_one(&supervisor, "web", |web| web.status == State::Started && web.process != first.process)
            .await;
    assert_eq!(second.last_exit.unwrap().0, Exit::Code(7));
    assert!(!second.user_stopped);
    eventually("its handler is installed", || host.log("web").matches("polite").count() == 2).await;

    supervisor.action(&name("web"), Action::Stop).unwrap();
    let stopped = until_one(&supervisor, "web", |web| web.status == State::Stopped).await;
    assert!(stopped.user_stopped && stopped.process.is_none() && stopped.uptime.is_none());
    assert_eq!(supervisor.presence(&name("web")), Presence::NotRunning);
    assert!(host.processes("web").is_empty());

    supervisor.action(&name("web"), Action::Start).unwrap();
    let again = until_one(&supervisor, "web", |web| web.status == State::Started).await;
    assert!(!again.user_stopped);
    assert_eq!(supervisor.presence(&name("web")), Presence::Running(again.process.unwrap()));
    supervisor.shutdown(StopContainers::Yes).await;
    assert!(host.processes("web").is_empty());
    assert!(!host.container_dir("web").path().exists());
}

#[tokio::test]
async fn who_ignores_sigterm_is_killed_and_the_last_word_counts() {
    let Some(host) = Host::new() else { return };
    let supervisor = Supervisor::start(host.config()).unwrap();
    supervisor.apply(desired([host.spec("mule", &["stubborn"])]));
    let first = until_one(&supervisor, "mule", |mule| mule.status == State::Started).await;
    eventually("it ignores the signal", || host.log("mule").contains("stubborn")).await;
    let begun = Instant::now();
    supervisor.action(&name("mule"), Action::Stop).unwrap();
    until_one(&supervisor, "mule", |mule| mule.status == State::Stopping).await;
    supervisor.action(&name("mule"), Action::Start).unwrap();
    let second =
        until_one(&supervisor, "mule", |mule| mule.status == State::Started && mule.process != first.process)
            .await;
    assert_eq!(second.last_exit.unwrap().0, Exit::Signal(9));
    assert!(!second.user_stopped);
    assert!(begun.elapsed() >= Duration::from_millis(500));
    supervisor.shutdown(StopContainers::Yes).await;
}

#[tokio::test]
async fn a_program_without_a_handler_ends_at_once() {
    let Some(host) = Host::new() else { return };
    let mut config = host.config();
    config.stop_grace = Duration::from_secs(20);
    let supervisor = Supervisor::start(config).unwrap();
    supervisor.apply(desired([host.spec("plain", &["sleep"])]));
    until_one(&supervisor, "plain", |plain| plain.status == State::Started).await;
    let begun = Instant::now();
    supervisor.action(&name("plain"), Action::Stop).unwrap();
    until_one(&supervisor, "plain", |plain| plain.status == State::Stopped).await;
    assert!(begun.elapsed() < Duration::from_secs(10));
    supervisor.shutdown(StopContainers::Yes).await;
}

#[tokio::test]
async fn recovery_follows_the_exit_code() {
    let Some(host) = Host::new() else { return };
    let supervisor = Supervisor::start(host.config()).unwrap();
    let mut events = supervisor.events();
    let recovery = RecoveryPolicy {
        policy: Policy::OnFailure,
        max_retries: 2,
        backoff_policy: BackoffPolicy::Reboot,
        ..RecoveryPolicy::default()
    };
    let good = ContainerSpec { recovery, ..host.spec("good", &["exit", "0"]) };
    let bad = ContainerSpec { recovery, ..host.spec("bad", &["exit", "3"]) };
    supervisor.apply(desired([good, bad]));
    let bad = until_one(&supervisor, "bad", |bad| bad.recovery.failed).await;
    assert_eq!((bad.status, bad.recovery.current_retries), (State::Stopped, 2));
    assert_eq!(bad.last_exit.unwrap().0, Exit::Code(3));
    let good = until_one(&supervisor, "good", |good| good.status == State::Stopped).await;
    assert_eq!((good.recovery.current_retries, good.recovery.failed), (0, false));
    let mut runs = 0;
    while let Ok(event) = events.try_recv() {
        match event {
            Event::Started { name } if name.as_str() == "bad" => runs += 1,
            Event::RecoveryExhausted { name, reboot } => assert_eq!((name.as_str(), reboot), ("bad", true)),
            _ => {}
        }
    }
    assert_eq!(runs, 3);
    supervisor.shutdown(StopContainers::Yes).await;
}

#[tokio::test]
async fn groups_wait_for_the_ones_before() {
    let Some(host) = Host::new() else { return };
    let supervisor = Supervisor::start(host.config()).unwrap();
    let mut wanted = desired([
        ContainerSpec {
            group: "platform".to_owned(),
            status_goal: StatusGoal::Ready,
            restart_policy: RestartPolicy::System,
            ..host.spec("base", &["sleep"])
        },
        ContainerSpec {
            group: "data".to_owned(),
            status_goal: StatusGoal::Mounted,
            ..host.spec("data", &["sleep"])
        },
        host.spec("app", &["sleep"]),
    ]);
    supervisor.apply(wanted.clone());
    until_one(&supervisor, "base", |base| base.status == State::Started).await;
    let all = supervisor.snapshot();
    let state = |name: &str| all.iter().find(|one| one.name.as_str() == name).unwrap().status;
    assert_eq!((state("data"), state("app")), (State::Mounted, State::Installed));
    assert_eq!(supervisor.action(&name("base"), Action::Stop), Err(ActionError::System));
    assert_eq!(supervisor.action(&name("app"), Action::Start), Err(ActionError::NotStartable));
    assert!(supervisor.signal_ready(&name("app")).is_err());
    supervisor.signal_ready(&name("base")).unwrap();
    until_one(&supervisor, "app", |app| app.status == State::Started).await;
    assert_eq!(until_one(&supervisor, "base", |_| true).await.status, State::Ready);
    assert!(supervisor.groups().iter().all(|group| group.reached));

    // A group that does not arrive does not hold up the next one for ever.
    let mut events = supervisor.events();
    wanted.groups[2].timeout = Duration::from_millis(50);
    if let RuntimeSpec::Rootfs(spec) = &mut wanted.containers[0].runtime {
        spec.env.push("NEW=1".to_owned());
    }
    wanted.containers.push(host.spec("late", &["sleep"]));
    supervisor.apply(wanted);
    until_one(&supervisor, "late", |late| late.status == State::Started).await;
    let mut timeout = None;
    while let Ok(event) = events.try_recv() {
        if let Event::GroupTimeout { group, waiting } = event {
            timeout = Some((group, waiting));
        }
    }
    assert_eq!(timeout.unwrap(), ("platform".to_owned(), vec![name("base")]));
    supervisor.shutdown(StopContainers::Yes).await;
}

#[tokio::test]
async fn a_revision_changes_what_it_names_only() {
    let Some(host) = Host::new() else { return };
    let supervisor = Supervisor::start(host.config()).unwrap();
    supervisor.apply(desired(["same", "changed", "removed"].map(|one| host.spec(one, &["sleep"]))));
    let running = |all: &[crate::engine::container::ContainerStatus]| {
        all.iter().all(|one| one.status == State::Started)
    };
    let before = until(&supervisor, |all| all.len() == 3 && running(all)).await;
    let changed = host.spec("changed", &["polite"]);
    supervisor.apply(desired([host.spec("same", &["sleep"]), changed, host.spec("new", &["sleep"])]));
    let after = until(&supervisor, |all| {
        let other = |one: &&crate::engine::container::ContainerStatus| one.process == before[0].process;
        all.len() == 3 && running(all) && !all.iter().any(|one| other(&one))
    })
    .await;
    let names: Vec<_> = after.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["changed", "new", "same"]);
    assert_eq!(after[2].process, before[2].process);
    eventually("its log is read", || host.log("changed").contains("polite")).await;

    // Removed, and wanted again before it is gone.
    let wanted = || desired([host.spec("same", &["sleep"])]);
    for _ in 0..5 {
        supervisor.apply(desired([]));
        supervisor.apply(wanted());
    }
    let one =
        until(&supervisor, |all| all.len() == 1 && running(all) && all[0].process != before[2].process).await;
    assert_eq!(host.processes("same").len(), 1);
    drop(one);
    supervisor.apply(desired([]));
    until(&supervisor, <[_]>::is_empty).await;
    assert!(host.processes("same").is_empty());
    supervisor.shutdown(StopContainers::Yes).await;
}

#[tokio::test]
async fn containers_of_others_are_watched_and_left_alone() {
    let Some(host) = Host::new() else { return };
    let supervisor = Supervisor::start(host.config()).unwrap();
    supervisor.apply(desired([host.spec("ours", &["sleep"])]));
    let ours = until_one(&supervisor, "ours", |ours| ours.status == State::Started).await;
    let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let external = || ContainerSpec::new(name("theirs"), RuntimeSpec::External);
    let process = ProcessId { pid: child.id(), start: None };
    supervisor.register(external(), process).unwrap();
    let theirs = until_one(&supervisor, "theirs", |theirs| theirs.status == State::Started).await;
    assert_eq!(theirs.process.unwrap().pid, child.id());
    assert_eq!(supervisor.action(&name("theirs"), Action::Stop), Err(ActionError::External));
    let refused = supervisor.register(ContainerSpec::new(name("ours"), RuntimeSpec::External), process);
    assert!(matches!(refused, Err(RegisterError::Ours(_))));

    assert_eq!(supervisor.container_of(ours.process.unwrap().pid), Some(name("ours")));
    assert_eq!(supervisor.container_of(child.id()), Some(name("theirs")));
    assert_eq!(supervisor.container_of(std::process::id()), None);

    supervisor.unregister(&name("theirs")).unwrap();
    until(&supervisor, |all| all.len() == 1).await;
    assert!(child.try_wait().unwrap().is_none());
    supervisor.register(external(), process).unwrap();
    until_one(&supervisor, "theirs", |theirs| theirs.status == State::Started).await;
    child.kill().unwrap();
    child.wait().unwrap();
    until_one(&supervisor, "theirs", |theirs| theirs.status == State::Stopped).await;
    assert!(matches!(supervisor.register(external(), process), Err(RegisterError::Process { .. })));
    supervisor.shutdown(StopContainers::Yes).await;
}
