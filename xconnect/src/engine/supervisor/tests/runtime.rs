//! What a container sees, how it ends, and what is left of it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::*;
use crate::engine::container::{ContainerSpec, Exit, IdMapping, NetworkMode, RootfsSpec, RuntimeSpec, State};
use crate::engine::supervisor::{StopContainers, Supervisor};

fn change(spec: &mut ContainerSpec, change: impl FnOnce(&mut RootfsSpec)) {
    if let RuntimeSpec::Rootfs(rootfs) = &mut spec.runtime {
        change(rootfs);
    }
}

/// Every file below `dir`, with what would show a change.
fn listing(dir: &Path) -> BTreeMap<PathBuf, (u32, u32, u64, i64)> {
    let mut all = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        all.insert(path, (meta.mode(), meta.uid(), meta.size(), meta.mtime()));
    }
    all
}

#[tokio::test]
async fn two_hundred_exits_are_told_exactly() {
    let Some(host) = Host::new() else { return };
    let supervisor = Supervisor::start(host.config()).unwrap();
    let codes: Vec<i32> = (0..=255).step_by(2).chain((1..=143).step_by(2)).collect();
    assert_eq!(codes.len(), 200);
    for batch in codes.chunks(20) {
        let specs = batch.iter().map(|code| host.spec(&format!("c{code}"), &["exit", &code.to_string()]));
        supervisor.apply(desired(specs));
        let all = until(&supervisor, |all| {
            let ended = all.iter().filter(|one| one.status == State::Stopped && one.last_exit.is_some());
            ended.count() == batch.len() && all.len() == batch.len()
        })
        .await;
        for one in all {
            let code = one.name.as_str()[1..].parse().unwrap();
            assert_eq!(one.last_exit.unwrap().0, Exit::Code(code), "{}", one.name);
        }
    }
    supervisor.shutdown(StopContainers::Yes).await;
}

#[tokio::test]
async fn signals_are_told_apart_from_codes() {
    let Some(host) = Host::new() else { return };
    let supervisor = Supervisor::start(host.config()).unwrap();
    supervisor.apply(desired([host.spec("fault", &["fault"]), host.spec("killed", &["sleep"])]));
    let killed =
        until_one(&supervisor, "killed", |killed| killed.status == State::Started).await.process.unwrap();
    let pidfd = crate::sys::process::open_verified(killed.pid, killed.start.unwrap()).unwrap();
    crate::sys::process::send_signal(&pidfd, libc::SIGKILL).unwrap();
    for (container, signal) in [("killed", libc::SIGKILL), ("fault", libc::SIGSEGV)] {
        let one = until_one(&supervisor, container, |one| one.status == State::Stopped).await;
        assert_eq!(one.last_exit.unwrap().0, Exit::Signal(signal), "{container}");
    }
    supervisor.shutdown(StopContainers::Yes).await;
}

#[tokio::test]
async fn a_container_sees_its_own_world_and_leaves_the_rootfs_alone() {
    let Some(host) = Host::new() else { return };
    let supervisor = Supervisor::start(host.config()).unwrap();
    let before = listing(&host.rootfs());
    let mut read_only = host.spec("fixed", &["look"]);
    change(&mut read_only, |rootfs| rootfs.read_only = true);
    let on_host = ContainerSpec { network: NetworkMode::Host, ..host.spec("nonet", &["look"]) };
    // Names that mean something to overlay options, and to cgroups.
    let odd = host.spec("a:b,c@d+e".replace(',', "-").as_str(), &["look"]);
    let kernel = host.spec("cgroup.procs", &["look"]);
    supervisor.apply(desired([host.spec("web", &["look"]), read_only, on_host, odd, kernel]));
    let all = until(&supervisor, |all| all.iter().all(|one| one.status == State::Stopped)).await;
    for one in &all {
        assert_eq!(one.last_exit.unwrap().0, Exit::Code(0), "{one:?}\n{}", host.log(one.name.as_str()));
    }
    let log = host.log("web");
    for line in [
        "pid 1",
        "uid 0",
        "host web",
        "root bin,dev,proc,run,sys,tmp",
        "net lo",
        "lo true",
        "flags 0x9",
        "fds 0,1,2,3",
        "write true",
        "null true",
        "kmsg false",
        "CapEff:\t00000000800405fb",
        "NoNewPrivs:\t1",
    ] {
        assert!(log.contains(&format!("{line}\n")), "{line} is not in:\n{log}");
    }
    let ignored = |status: &str| {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap().to_owned();
        // Signals 32 and 33 belong to the C library's threads (nptl(7)), and differ with it.
        u64::from_str_radix(&mask, 16).unwrap() & 0x7fff_ffff
    };
    // The program's own runtime ignores SIGPIPE, posix_spawn(3) the two signals of the thread library.
    assert_eq!(ignored(&log) & !0x1_8000_1000, 0);
    assert!(host.log("fixed").contains("write false\n"));
    assert_ne!(host.log("nonet").lines().find(|line| line.starts_with("net ")), Some("net lo"));
    assert_eq!(listing(&host.rootfs()), before);
    supervisor.shutdown(StopContainers::Yes).await;
}

#[tokio::test]
async fn a_user_namespace_maps_root_to_somebody() {
    let Some(host) = Host::new() else { return };
    let supervisor = Supervisor::start(host.config()).unwrap();
    let map = vec![IdMapping { inside: 0, outside: 200_000, count: 65536 }];
    let mapped = |container: &str, program: &str| {
        let mut spec = host.spec(container, &[program]);
        change(&mut spec, |rootfs| (rootfs.uid_map, rootfs.gid_map) = (map.clone(), map.clone()));
        spec
    };
    let on_host = ContainerSpec { network: NetworkMode::Host, ..mapped("onhost", "look") };
    supervisor.apply(desired([mapped("web", "look"), mapped("long", "sleep"), on_host]));
    for container in ["web", "onhost"] {
        let web = until_one(&supervisor, container, |web| web.status == State::Stopped).await;
        let log = host.log(container);
        assert_eq!(web.last_exit.unwrap().0, Exit::Code(0), "{web:?}\n{log}");
        assert!(
            log.contains("uid 0\n") && log.contains("write true\n") && log.contains("null true\n"),
            "{log}"
        );
    }
    assert!(host.log("web").contains("flags 0x9\n"));
    let long = until_one(&supervisor, "long", |long| long.status == State::Started).await.process.unwrap();
    assert_eq!(fs::metadata(format!("/proc/{}", long.pid)).unwrap().uid(), 200_000);
    supervisor.shutdown(StopContainers::Yes).await;
}

#[tokio::test]
async fn what_cannot_be_run_says_why() {
    let Some(host) = Host::new() else { return };
    let supervisor = Supervisor::start(host.config()).unwrap();
    let mut missing = host.spec("missing", &[]);
    change(&mut missing, |rootfs| rootfs.exec = vec!["/bin/nothing".to_owned()]);
    let mut text = host.spec("text", &[]);
    fs::write(host.rootfs().join("bin/text"), "not a program").unwrap();
    fs::set_permissions(host.rootfs().join("bin/text"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    change(&mut text, |rootfs| rootfs.exec = vec!["/bin/text".to_owned()]);
    let mut no_root = host.spec("noroot", &["look"]);
    change(&mut no_root, |rootfs| rootfs.rootfs = "/nowhere/at/all".into());
    let mut no_source = host.spec("nosource", &["look"]);
    change(&mut no_source, |rootfs| {
        rootfs.mounts.push(crate::engine::container::MountSpec {
            target: crate::ids::InsidePath::new("/data").unwrap(),
            kind: "bind".to_owned(),
            source: "/no/such/source".to_owned(),
            options: Vec::new(),
        });
    });
    let pool = ContainerSpec { network: NetworkMode::Pool, ..host.spec("pool", &["look"]) };
    let mut seccomp = host.spec("seccomp", &[]);
    let bundle = host.path().join("bundle");
    fs::create_dir(&bundle).unwrap();
    let config = serde_json::json!({"ociVersion": "1.0.2", "root": {"path": "../rootfs"}, "process": {"args": ["/bin/program"]},
        "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}});
    fs::write(bundle.join("config.json"), config.to_string()).unwrap();
    seccomp.runtime = RuntimeSpec::Bundle(bundle);
    supervisor.apply(desired([missing, text, no_root, no_source, pool, seccomp]));
    let all = until(&supervisor, |all| all.iter().all(|one| one.status == State::Stopped)).await;
    for (container, part) in [
        ("missing", "/bin/nothing"),
        ("text", "/bin/text"),
        ("noroot", "/nowhere/at/all"),
        ("nosource", "/no/such/source"),
        ("pool", "network.mode"),
        ("seccomp", "linux.seccomp"),
    ] {
        let one = all.iter().find(|one| one.name.as_str() == container).unwrap();
        let reason = one.reason.clone().unwrap_or_default();
        println!("{container}: {reason}");
        assert_eq!(one.last_exit.unwrap().0, Exit::NotCreated);
        assert!(reason.contains(part), "{container}: {reason}");
        assert!(host.processes(container).is_empty());
        assert!(!host.container_dir(container).oci_state().exists());
    }
    supervisor.shutdown(StopContainers::Yes).await;
}

#[tokio::test]
async fn a_bundle_is_run_as_it_says() {
    let Some(host) = Host::new() else { return };
    let bundle = host.path().join("bundle");
    fs::create_dir_all(bundle.join("data")).unwrap();
    let config = serde_json::json!({
        "ociVersion": "1.0.2", "hostname": "inside", "root": {"path": "../rootfs"},
        "process": {"args": ["/bin/program", "look"], "cwd": "/", "terminal": true, "user": {"uid": 5, "gid": 5},
                    "env": ["PATH=/bin"]},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
                   {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
                   {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
                   {"destination": "/data", "source": "data", "options": ["bind"]}],
        "linux": {"namespaces": [{"type": "mount"}, {"type": "network"}]}
    });
    fs::write(bundle.join("config.json"), config.to_string()).unwrap();
    let supervisor = Supervisor::start(host.config()).unwrap();
    supervisor.apply(desired([ContainerSpec::new(name("bundle"), RuntimeSpec::Bundle(bundle))]));
    let one = until_one(&supervisor, "bundle", |one| one.status == State::Stopped).await;
    let log = host.log("bundle");
    assert_eq!(one.last_exit.unwrap().0, Exit::Code(0), "{one:?}\n{log}");
    for line in ["uid 5", "host inside", "pid 1", "root bin,data,dev,proc,sys", "lo true"] {
        assert!(log.contains(&format!("{line}\n")), "{line} is not in:\n{log}");
    }
    supervisor.shutdown(StopContainers::Yes).await;
}

#[tokio::test]
async fn output_ends_up_in_the_log_and_no_further() {
    let Some(host) = Host::new() else { return };
    let supervisor = Supervisor::start(host.config()).unwrap();
    supervisor.apply(desired([host.spec("say", &["say", "hello"]), host.spec("flood", &["flood", "3000"])]));
    until(&supervisor, |all| all.iter().all(|one| one.status == State::Stopped)).await;
    let mut lines: Vec<_> = host.log("say").lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["error: hello", "hello"]);
    let new = host.log("flood");
    let old = fs::metadata(host.path().join("run/logs/flood.log.1")).unwrap().len();
    assert!(new.ends_with("end\n") && new.len() <= 1024 * 1024 && old <= 1024 * 1024);
    supervisor.shutdown(StopContainers::Yes).await;
}

#[tokio::test]
async fn twenty_at_once() {
    let Some(host) = Host::new() else { return };
    let supervisor = Supervisor::start(host.config()).unwrap();
    let begun = Instant::now();
    supervisor.apply(desired((0..20).map(|n| host.spec(&format!("c{n}"), &["sleep"]))));
    let all = until(&supervisor, |all| all.iter().all(|one| one.status == State::Started)).await;
    println!("20 containers up after {:?}", begun.elapsed());
    let shims = fs::read_dir(host.path().join("run/containers")).unwrap().map(|entry| {
        let running: serde_json::Value =
            serde_json::from_slice(&fs::read(entry.unwrap().path().join("shim.json")).unwrap()).unwrap();
        let status = fs::read_to_string(format!("/proc/{}/status", running["shim_pid"])).unwrap();
        let part = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").trim().parse().unwrap()
        };
        (part("VmRSS:"), part("RssAnon:"))
    });
    println!("shims' memory (resident, own) in KiB: {:?}", shims.max().unwrap());
    assert_eq!(all.len(), 20);
    let begun = Instant::now();
    supervisor.shutdown(StopContainers::Yes).await;
    println!("all gone after {:?}", begun.elapsed());
    for n in 0..20 {
        assert!(host.processes(&format!("c{n}")).is_empty());
    }
    let left = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!left.contains(&host.path().display().to_string()));
}

/// Prints the time from an order to start until the program runs.
#[tokio::test]
async fn starting_is_quick() {
    let Some(host) = Host::new() else { return };
    let supervisor = Supervisor::start(host.config()).unwrap();
    let mut times = Vec::new();
    for n in 0..20 {
        let container = format!("c{n}");
        let begun = Instant::now();
        supervisor.apply(desired([host.spec(&container, &["sleep"])]));
        until_one(&supervisor, &container, |one| one.status == State::Started).await;
        times.push(begun.elapsed());
        supervisor.apply(desired([]));
        until(&supervisor, <[_]>::is_empty).await;
    }
    times.sort();
    println!("apply to STARTED: median {:?}, longest {:?}", times[10], times[19]);
    supervisor.shutdown(StopContainers::Yes).await;
}
