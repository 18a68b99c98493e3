//! A private run directory, cgroup and root file system for one test, and their end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::engine::container::{ContainerSpec, ContainerStatus, Desired, GroupSpec, RootfsSpec, RuntimeSpec};
use crate::engine::runtime::cgroup;
use crate::engine::runtime::files::ContainerDir;
use crate::engine::shim;
use crate::engine::supervisor::{Config, Supervisor};
use crate::ids::ContainerName;

const PROGRAM: &str = include_str!("program.rs");

/// Longest wait for anything in a test.
const DEADLINE: Duration = Duration::from_secs(30);

pub(super) struct Host {
    dir: tempfile::TempDir,
    cgroup_root: String,
}

pub(super) fn name(text: &str) -> ContainerName {
    ContainerName::new(text).unwrap()
}

impl Host {
    /// A new one; `None` where the test cannot be run.
    pub(super) fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "this test needs root");
            println!("SKIP: needs root");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let cgroup_root = format!("xconnect-test-{}-{number}", std::process::id());
        let host = Self { dir, cgroup_root };
        fs::create_dir_all(host.rootfs().join("bin")).unwrap();
        fs::copy(program(), host.rootfs().join("bin/program")).unwrap();
        Some(host)
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn rootfs(&self) -> PathBuf {
        self.dir.path().join("rootfs")
    }

    pub(super) fn config(&self) -> Config {
        let mut config = Self::config_of(self.dir.path(), &self.cgroup_root);
        config.stop_grace = Duration::from_millis(500);
        config
    }

    pub(super) fn config_of(dir: &Path, cgroup_root: &str) -> Config {
        Config { cgroup_root: cgroup_root.to_owned(), ..Config::new(dir.join("run")) }
    }

    pub(super) fn cgroup_root(&self) -> &str {
        &self.cgroup_root
    }

    pub(super) fn container_dir(&self, container: &str) -> ContainerDir {
        self.config().container_dir(&name(container))
    }

    pub(super) fn spec(&self, container: &str, args: &[&str]) -> ContainerSpec {
        spec_in(&self.rootfs(), container, args)
    }

    pub(super) fn log(&self, container: &str) -> String {
        fs::read_to_string(self.dir.path().join(format!("run/logs/{container}.log"))).unwrap_or_default()
    }

    /// Processes in a container's cgroup.
    pub(super) fn processes(&self, container: &str) -> Vec<u32> {
        let folder = cgroup::folder(&self.cgroup_root, container);
        ["pids", "devices", ""]
            .into_iter()
            .filter_map(|hierarchy| {
                let path = Path::new("/sys/fs/cgroup").join(hierarchy).join(folder.trim_start_matches('/'));
                fs::read_to_string(path.join("cgroup.procs")).ok()
            })
            .flat_map(|text| text.lines().map(|line| line.parse().unwrap()).collect::<Vec<_>>())
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect()
    }
}

pub(super) fn spec_in(rootfs: &Path, container: &str, args: &[&str]) -> ContainerSpec {
    let exec = std::iter::once("/bin/program").chain(args.iter().copied()).map(str::to_owned).collect();
    let rootfs = RootfsSpec { rootfs: rootfs.to_owned(), exec, ..RootfsSpec::default() };
    ContainerSpec::new(name(container), RuntimeSpec::Rootfs(rootfs))
}

impl Drop for Host {
    fn drop(&mut self) {
        let containers = fs::read_dir(self.dir.path().join("run/containers")).into_iter().flatten().flatten();
        for entry in containers {
            let container = entry.file_name().into_string().unwrap_or_default();
            if let Err(error) =
                shim::clean_up(&ContainerDir::new(entry.path()), &self.cgroup_root, &container)
            {
                println!("cannot clean up {container}: {error}");
            }
        }
        cgroup::remove_root(&self.cgroup_root);
    }
}

/// The tests' program, linked statically, built once beside the test binary.
fn program() -> &'static Path {
    static PROGRAM_PATH: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM_PATH.get_or_init(|| {
        let hash: String = Sha256::digest(PROGRAM).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let path = std::env::current_exe().unwrap().with_file_name(format!("test-program-{hash}"));
        if !path.exists() {
            let dir = tempfile::tempdir_in(path.parent().unwrap()).unwrap();
            let (source, new) = (dir.path().join("program.rs"), dir.path().join("program"));
            fs::write(&source, PROGRAM).unwrap();
            let mut rustc = Command::new("rustc");
            rustc
                .args(["--edition=2021", "-O", "-C", "target-feature=+crt-static", "-o"])
                .arg(&new)
                .arg(&source);
            assert!(rustc.status().unwrap().success());
            fs::rename(new, &path).unwrap();
        }
        path
    })
}

pub(super) fn desired(containers: impl IntoIterator<Item = ContainerSpec>) -> Desired {
    Desired { groups: GroupSpec::built_in(), containers: containers.into_iter().collect() }
}

/// Waits until what can be seen of the containers satisfies `condition`.
pub(super) async fn until(
    supervisor: &Supervisor,
    condition: impl Fn(&[ContainerStatus]) -> bool,
) -> Vec<ContainerStatus> {
    let mut changed = supervisor.subscribe();
    let wait = async {
        loop {
            changed.borrow_and_update();
            let snapshot = supervisor.snapshot();
            if condition(&snapshot) {
                return snapshot;
            }
            changed.changed().await.unwrap();
        }
    };
    match tokio::time::timeout(DEADLINE, wait).await {
        Ok(snapshot) => snapshot,
        Err(_) => {
            let all = supervisor.snapshot();
            let short =
                all.iter().map(|one| (&one.name, one.status, one.process, one.last_exit, &one.reason));
            panic!("not reached: {:#?}", short.collect::<Vec<_>>())
        }
    }
}

/// Waits until one container satisfies `condition`.
pub(super) async fn until_one(
    supervisor: &Supervisor,
    container: &str,
    condition: impl Fn(&ContainerStatus) -> bool,
) -> ContainerStatus {
    let find = |all: &[ContainerStatus]| all.iter().find(|one| one.name.as_str() == container).cloned();
    let all = until(supervisor, |all| find(all).is_some_and(|one| condition(&one))).await;
    find(&all).unwrap()
}

/// Waits until `condition` holds, for what nothing tells of.
pub(super) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
