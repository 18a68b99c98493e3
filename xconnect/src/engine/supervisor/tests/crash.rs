//! Engines that die, shims that die, and what the next engine makes of it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;
use crate::engine::container::{Action, ContainerSpec, Exit, Policy, RecoveryPolicy, State};
use crate::engine::runtime::cgroup;
use crate::engine::supervisor::{StopContainers, Supervisor};
use crate::sys::process;

fn shim_pid(host: &Host, container: &str) -> u32 {
    let text = fs::read(host.container_dir(container).running()).unwrap();
    let running: serde_json::Value = serde_json::from_slice(&text).unwrap();
    u32::try_from(running["shim_pid"].as_u64().unwrap()).unwrap()
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_new_engine_adopts_what_runs_and_learns_what_ended() {
    let Some(host) = Host::new() else { return };
    let specs = || {
        let always = RecoveryPolicy { policy: Policy::Always, ..RecoveryPolicy::default() };
        let never = RecoveryPolicy { policy: Policy::UnlessStopped, ..RecoveryPolicy::default() };
        desired([
            host.spec("on", &["sleep"]),
            host.spec("ends", &["polite"]),
            ContainerSpec { recovery: always, ..host.spec("again", &["polite"]) },
            ContainerSpec { recovery: never, ..host.spec("rests", &["sleep"]) },
        ])
    };
    let first = Supervisor::start(host.config()).unwrap();
    first.apply(specs());
    let before = until(&first, |all| all.iter().all(|one| one.status == State::Started)).await;
    first.action(&name("rests"), Action::Stop).unwrap();
    until_one(&first, "rests", |rests| rests.status == State::Stopped).await;
    for container in ["ends", "again"] {
        eventually("its handler is installed", || host.log(container).contains("polite")).await;
    }
    first.shutdown(StopContainers::Leave).await;
    drop(first);

    for one in before.iter().filter(|one| matches!(one.name.as_str(), "ends" | "again")) {
        let at = one.process.unwrap();
        let pidfd = process::open_verified(at.pid, at.start.unwrap()).unwrap();
        process::send_signal(&pidfd, libc::SIGTERM).unwrap();
        let exit = host.container_dir(one.name.as_str()).exit();
        eventually("the shim wrote the exit down", || exit.exists()).await;
    }
    let second = Supervisor::start(host.config()).unwrap();
    second.apply(specs());
    let on = until_one(&second, "on", |on| on.status == State::Started).await;
    let was = before.iter().find(|one| one.name.as_str() == "on").unwrap();
    assert_eq!(on.process, was.process);
    assert!(on.uptime.unwrap() >= was.uptime.unwrap());
    let ends = until_one(&second, "ends", |ends| ends.status == State::Stopped).await;
    assert_eq!(ends.last_exit.unwrap().0, Exit::Code(7));
    let again = until_one(&second, "again", |again| again.status == State::Started).await;
    assert_eq!((again.last_exit.unwrap().0, again.recovery.current_retries), (Exit::Code(7), 1));
    let rests = until_one(&second, "rests", |_| true).await;
    assert_eq!((rests.status, rests.user_stopped), (State::Stopped, true));

    // Adopted containers are stopped like any other, with their exit status.
    second.action(&name("on"), Action::Stop).unwrap();
    let on = until_one(&second, "on", |on| on.status == State::Stopped).await;
    assert_eq!(on.last_exit.unwrap().0, Exit::Signal(9));
    second.shutdown(StopContainers::Yes).await;
}

#[tokio::test]
async fn what_is_wanted_no_more_or_otherwise_is_not_adopted() {
    let Some(host) = Host::new() else { return };
    let first = Supervisor::start(host.config()).unwrap();
    first.apply(desired([host.spec("gone", &["sleep"]), host.spec("other", &["sleep"])]));
    let before = until(&first, |all| all.iter().all(|one| one.status == State::Started)).await;
    first.shutdown(StopContainers::Leave).await;
    let second = Supervisor::start(host.config()).unwrap();
    second.apply(desired([host.spec("other", &["polite"])]));
    until(&second, |all| {
        all.len() == 1 && all[0].status == State::Started && all[0].process != before[1].process
    })
    .await;
    assert!(host.processes("gone").is_empty());
    assert_eq!(host.processes("other").len(), 1);
    second.shutdown(StopContainers::Yes).await;
}

#[tokio::test]
async fn a_container_outlives_its_shim() {
    let Some(host) = Host::new() else { return };
    let supervisor = Supervisor::start(host.config()).unwrap();
    supervisor.apply(desired([host.spec("web", &["sleep"])]));
    let before = until_one(&supervisor, "web", |web| web.status == State::Started).await;
    kill(shim_pid(&host, "web"));
    let after = until_one(&supervisor, "web", |web| web.reason.is_some()).await;
    assert_eq!((after.status, after.process), (State::Started, before.process));
    // And the next engine adopts it without one.
    supervisor.shutdown(StopContainers::Leave).await;
    let supervisor = Supervisor::start(host.config()).unwrap();
    supervisor.apply(desired([host.spec("web", &["sleep"])]));
    let adopted = until_one(&supervisor, "web", |web| web.status == State::Started).await;
    assert_eq!(adopted.process, before.process);
    supervisor.action(&name("web"), Action::Restart).unwrap();
    let after =
        until_one(&supervisor, "web", |web| web.status == State::Started && web.process != before.process)
            .await;
    assert_eq!(after.last_exit.unwrap().0, Exit::Unknown);
    assert_eq!(host.processes("web").len(), 1);
    supervisor.shutdown(StopContainers::Yes).await;
}

const RUN: &str = "XCONNECT_TEST_ENGINE";

/// Not a test: an engine in a process of its own.
#[test]
#[ignore = "is an engine, which another test starts"]
fn engine_process() {
    let Ok(text) = std::env::var(RUN) else { return };
    let (dir, cgroup_root) = text.split_once('\n').unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let dir = PathBuf::from(dir);
        let supervisor = Supervisor::start(Host::config_of(&dir, cgroup_root)).unwrap();
        let specs = (0..4).map(|n| host::spec_in(&dir.join("rootfs"), &format!("c{n}"), &["sleep"]));
        supervisor.apply(desired(specs));
        std::future::pending::<()>().await;
    });
}

/// Processes of the tests' program that run in this host's containers.
fn instances(host: &Host) -> usize {
    (0..4).map(|n| host.processes(&format!("c{n}")).len()).sum()
}

#[tokio::test]
async fn an_engine_killed_at_any_moment_leaves_one_of_each() {
    let Some(host) = Host::new() else { return };
    for millis in (0..24).map(|n| n * 9) {
        let mut engine = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "engine::supervisor::tests::crash::engine_process"])
            .env(RUN, format!("{}\n{}", host.path().display(), host.cgroup_root()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The moment of the crash is what is varied here; nothing is awaited.
        std::thread::sleep(Duration::from_millis(millis));
        engine.kill().unwrap();
        engine.wait().unwrap();
        let supervisor = Supervisor::start(host.config()).unwrap();
        supervisor.apply(desired((0..4).map(|n| host.spec(&format!("c{n}"), &["sleep"]))));
        let all = until(&supervisor, |all| all.iter().all(|one| one.status == State::Started)).await;
        let known: Vec<_> = all.iter().map(|one| one.process.unwrap().pid).collect();
        assert_eq!(instances(&host), 4, "after {millis} ms");
        for (n, pid) in known.iter().enumerate() {
            assert_eq!(host.processes(&format!("c{n}")), [*pid], "after {millis} ms");
        }
        // Every other time the containers stay, so that the next crash finds some of them running.
        let stop = if millis % 2 == 0 { StopContainers::Yes } else { StopContainers::Leave };
        supervisor.shutdown(stop).await;
    }
}

#[tokio::test]
async fn halves_of_containers_are_cleaned_up() {
    let Some(host) = Host::new() else { return };
    let first = Supervisor::start(host.config()).unwrap();
    first.apply(desired([host.spec("web", &["sleep"])]));
    let before = until_one(&first, "web", |web| web.status == State::Started).await;
    first.shutdown(StopContainers::Leave).await;
    // As if the shim had been killed before its container executed anything.
    kill(shim_pid(&host, "web"));
    let dir = host.container_dir("web");
    let mut running: serde_json::Value = serde_json::from_slice(&fs::read(dir.running()).unwrap()).unwrap();
    running["executed"] = serde_json::json!(false);
    fs::write(dir.running(), running.to_string()).unwrap();
    assert!(dir.oci_state().exists());
    let second = Supervisor::start(host.config()).unwrap();
    second.apply(desired([host.spec("web", &["sleep"])]));
    let after = until_one(&second, "web", |web| web.status == State::Started).await;
    assert_ne!(after.process, before.process);
    assert_eq!(after.recovery.current_retries, 0);
    assert_eq!(host.processes("web").len(), 1);
    second.shutdown(StopContainers::Yes).await;
    cgroup::kill(&cgroup::folder(host.cgroup_root(), "web")).unwrap();
}
