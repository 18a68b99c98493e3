//! A private directory for one test, and the proof that the test left nothing behind.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::FlockOperation;
use rustix::mount::UnmountFlags;
use rustix::process::{Resource, Rlimit};
use tempfile::TempDir;

use crate::wait::{OrFail, ensure, eventually};
use crate::{cgroup, process, programs};

/// Runs a privileged test in a sandbox, beside others.
///
/// # Panics
/// Where the test fails or leaves something behind; without privilege, where `CI=true`.
#[track_caller]
pub fn run(test: impl FnOnce(&Sandbox)) {
    guarded(FlockOperation::LockShared, test);
}

/// Like [`run`], for a test that is heavy or that measures its process: no other runs beside it.
///
/// # Panics
/// As [`run`].
#[track_caller]
pub fn run_alone(test: impl FnOnce(&Sandbox)) {
    guarded(FlockOperation::LockExclusive, test);
}

#[track_caller]
fn guarded(mode: FlockOperation, test: impl FnOnce(&Sandbox)) {
    if let Err(why) = privileged() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "no privilege in CI: {why}");
        println!("SKIP: {why}");
        return;
    }
    raise_descriptor_limit();
    let lock = File::create(programs::profile_dir().join(".xconnect-tests.lock")).or_fail("lock file");
    rustix::fs::flock(&lock, mode).or_fail("lock");
    let sandbox = Sandbox::new();
    test(&sandbox);
    sandbox.assert_clean();
}

fn privileged() -> Result<(), String> {
    ensure(rustix::process::geteuid().is_root(), "needs root, for namespaces")?;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    // CAP_SYS_ADMIN is bit 21 (linux/capability.h).
    ensure(effective & (1 << 21) != 0, "needs CAP_SYS_ADMIN, for namespaces")
}

/// Some tests hold more than a thousand connections, and a login's soft limit is 1024.
#[track_caller]
fn raise_descriptor_limit() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(Resource::Nofile, raised).or_fail("RLIMIT_NOFILE");
}

/// A private directory. Dropping it ends what was started with its path in arguments or environment.
#[derive(Debug)]
pub struct Sandbox {
    dir: TempDir,
    serial: AtomicU32,
}

impl Sandbox {
    #[track_caller]
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("xt-").tempdir_in("/tmp").or_fail("sandbox");
        // Mapped users of a user namespace pass through on their way to their root.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).or_fail("sandbox");
        let sandbox = Self { dir, serial: AtomicU32::new(0) };
        fs::create_dir(sandbox.run_dir()).or_fail("run directory");
        sandbox
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The run directory of the daemons.
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        self.path().join("run")
    }

    /// The name of the daemons' control group: the sandbox's own.
    #[must_use]
    pub fn cgroup_name(&self) -> String {
        self.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// A name that no one else in this sandbox has.
    #[must_use]
    pub fn unique(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.serial.fetch_add(1, Ordering::Relaxed))
    }

    /// A new directory with such a name.
    #[track_caller]
    #[must_use]
    pub fn new_dir(&self, prefix: &str) -> PathBuf {
        let dir = self.path().join(self.unique(prefix));
        fs::create_dir(&dir).or_fail(dir.display());
        dir
    }

    /// A program that any user may run: a copy, as the build directory may be closed to others.
    #[track_caller]
    #[must_use]
    pub fn copy_of(&self, program: &Path) -> PathBuf {
        let copy = self.path().join(self.unique("bin"));
        programs::copy(program, &copy);
        fs::set_permissions(&copy, Permissions::from_mode(0o755)).or_fail(copy.display());
        copy
    }

    #[track_caller]
    fn assert_clean(&self) {
        eventually("every process of the test ends", || {
            let left: Vec<_> = process::marked(self.path());
            let lines: Vec<_> = left.iter().map(|pid| process::command_line(*pid)).collect();
            ensure(left.is_empty(), format_args!("{lines:?}"))
        });
        let mounts = process::mounts_below(self.path());
        assert!(mounts.is_empty(), "mounts are left: {mounts:?}");
        eventually("the engine's control groups are removed", || {
            let left = cgroup::folders(&self.cgroup_name());
            ensure(left.is_empty(), format_args!("{left:?}"))
        });
    }

    fn show_logs(&self) {
        for entry in fs::read_dir(self.path()).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                let text = fs::read(&path).unwrap_or_default();
                let tail = &text[text.len().saturating_sub(8192)..];
                eprintln!("--- {}\n{}", path.display(), String::from_utf8_lossy(tail));
            }
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_logs();
        }
        // Twice: one that is being born while the first pass reads /proc is seen by the second.
        for _ in 0..2 {
            process::kill_marked(self.path());
            cgroup::remove(&self.cgroup_name());
        }
        for mount in process::mounts_below(self.path()).iter().rev() {
            let _ = rustix::mount::unmount(mount, UnmountFlags::DETACH);
        }
    }
}
