//! Shims that hang, come late or hold what nobody can be asked about.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::process::{Pid, Signal, kill_process};

use super::*;
use crate::engine::container::State;
use crate::engine::runtime::files::{self, Running};
use crate::engine::shim;
use crate::engine::supervisor::{StopContainers, Supervisor};

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

#[tokio::test]
async fn a_shim_that_hangs_is_killed_and_reaped() {
    let Some(host) = Host::new() else { return };
    let supervisor = Supervisor::start(host.config()).unwrap();
    supervisor.apply(desired([host.spec("web", &["sleep"])]));
    let web = until_one(&supervisor, "web", |web| web.status == State::Started).await;
    let running: Running = files::read(&host.container_dir("web").running()).unwrap().unwrap();
    signal(running.shim_pid, Signal::STOP);
    signal(web.process.unwrap().pid, Signal::KILL);
    until_one(&supervisor, "web", |web| web.status == State::Stopped).await;
    // A zombie would still have its entry.
    assert!(!fs::exists(format!("/proc/{}", running.shim_pid)).unwrap());
    supervisor.shutdown(StopContainers::Yes).await;
}

#[tokio::test]
async fn a_shim_that_comes_late_is_not_wanted() {
    let Some(host) = Host::new() else { return };
    let dir = host.container_dir("web");
    let supervisor = Supervisor::start(host.config()).unwrap();
    supervisor.apply(desired([host.spec("web", &["sleep"])]));
    until_one(&supervisor, "web", |web| web.status == State::Started).await;
    supervisor.shutdown(StopContainers::Leave).await;
    let running: Running = files::read(&dir.running()).unwrap().unwrap();
    shim::clean_up(&dir, host.cgroup_root(), "web").unwrap();
    // As if the engine had been killed between starting the shim and the shim's first step.
    let mut late = Command::new(std::env::current_exe().unwrap())
        .arg("shim")
        .args([dir.path().as_os_str(), running.id.as_ref()])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let status = loop {
        match late.try_wait().unwrap() {
            None if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(5)).await,
            status => break status,
        }
    };
    let made = host.processes("web");
    if status.is_none() {
        late.kill().unwrap();
        late.wait().unwrap();
    }
    assert_eq!((status.and_then(|status| status.code()), made), (Some(1), vec![]));
}

#[test]
fn a_lock_of_nobody_in_particular_is_waited_for_and_not_for_ever() {
    let Some(host) = Host::new() else { return };
    let dir = host.container_dir("web");
    dir.create().unwrap();
    let lock = File::create(dir.lock()).unwrap();
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).unwrap();
    let (tx, rx) = mpsc::channel();
    let (cgroup_root, of) = (host.cgroup_root().to_owned(), dir.clone());
    std::thread::spawn(move || tx.send(shim::clean_up(&of, &cgroup_root, "web")));
    assert!(rx.recv_timeout(Duration::from_secs(20)).expect("it gives up").is_err());
    drop(lock);
    shim::clean_up(&dir, host.cgroup_root(), "web").unwrap();
}
