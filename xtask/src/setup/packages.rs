//! Debian's packages: which are missing, and installing them as root or saying how.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, bail};

use crate::cmd::Cmd;

/// apt asks this script whether a package may start its service: 101 says no.
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// Packages that bring a service of their name, which is not wanted here.
const SERVICES: [&str; 2] = ["haproxy", "nginx"];

/// Installs the Debian packages that are missing, or says how to.
pub(super) fn ensure(wanted: &[&str]) -> anyhow::Result<()> {
    if !are_debians() {
        return without_dpkg(wanted);
    }
    let missing = missing(wanted);
    if missing.is_empty() {
        return Ok(());
    }
    install(&missing)
}

/// Whether this system's packages are Debian's.
pub(super) fn are_debians() -> bool {
    Cmd::new("dpkg-query").arg("--version").quiet().succeeds()
}

/// Installs these packages, or their newest versions.
pub(super) fn install(missing: &[&str]) -> anyhow::Result<()> {
    // Nothing that someone else needs may have to go: rustc-web, for one, cannot be beside rustc.
    let install = format!("apt-get install -y --no-install-recommends --no-remove {}", missing.join(" "));
    if !rustix::process::geteuid().is_root() {
        bail!("missing: {}. Run: sudo apt-get update && sudo {install}", missing.join(", "));
    }
    let _policy = NoServices::start()?;
    update()?;
    apt(&install.split_whitespace().skip(1).collect::<Vec<_>>())?;
    let services: Vec<_> = SERVICES.iter().filter(|service| missing.contains(service)).collect();
    if !services.is_empty() && Cmd::new("systemctl").arg("--version").quiet().succeeds() {
        // Their packages enable the services for the next boot; benches run proxies of their own.
        Cmd::new("systemctl").arg("disable").args(services).run()?;
    }
    Ok(())
}

/// Fetches the lists of packages, once in a run; without root those that are there must do.
pub(super) fn update() -> anyhow::Result<()> {
    static DONE: AtomicBool = AtomicBool::new(false);
    if rustix::process::geteuid().is_root() && !DONE.swap(true, Ordering::Relaxed) {
        apt(&["update"])?;
    }
    Ok(())
}

/// The version that apt would install.
pub(super) fn candidate(package: &str) -> Option<String> {
    let policy = Cmd::new("apt-cache").args(["policy", package]).quiet().output().ok()?;
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (version != "(none)").then(|| version.to_owned())
}

/// Fetches apt's lists of packages, or says how to.
pub(crate) fn update_lists() -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("apt does not know or does not get a package. Run: sudo apt-get update");
    }
    apt(&["update"])
}

fn apt(arguments: &[&str]) -> anyhow::Result<()> {
    Cmd::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive").run()
}

/// The packages of this list that are not installed.
fn missing<'a>(wanted: &[&'a str]) -> Vec<&'a str> {
    let installed = |package: &str| {
        Cmd::new("dpkg-query")
            .args(["-W", "-f", "${db:Status-Status}", package])
            .quiet()
            .output()
            .is_ok_and(|status| status == "installed")
    };
    wanted.iter().copied().filter(|package| !installed(package)).collect()
}

/// On other distributions: tries whether it is there by any name, and otherwise says what to look for.
fn without_dpkg(wanted: &[&str]) -> anyhow::Result<()> {
    let there = |package: &str| match package {
        "gcc" | "libc6-dev" => Cmd::new("cc").arg("--version").quiet().succeeds(),
        "libelf-dev" => Cmd::new("pkg-config").args(["--exists", "libelf"]).quiet().succeeds(),
        "zlib1g-dev" => Cmd::new("pkg-config").args(["--exists", "zlib"]).quiet().succeeds(),
        "haproxy" => Cmd::new("haproxy").arg("-v").quiet().succeeds(),
        "nginx" => Cmd::new("nginx").arg("-v").quiet().succeeds(),
        "socat" => Cmd::new("socat").arg("-V").quiet().succeeds(),
        "nodejs" => Cmd::new("node").arg("--version").quiet().succeeds(),
        program => Cmd::new(program).arg("--version").quiet().succeeds(),
    };
    let missing: Vec<_> = wanted.iter().copied().filter(|package| !there(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "missing: {} (names of Debian's packages); install them with your package manager",
        missing.join(", ")
    )
}

/// While it lives, packages that apt installs do not start services.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn start() -> anyhow::Result<Self> {
        let created = fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(POLICY);
        match created {
            Ok(mut file) => {
                file.write_all(b"#!/bin/sh\nexit 101\n").context(POLICY)?;
                Ok(Self { ours: true })
            }
            // The machine has a policy of its own, which is respected.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(Self { ours: false }),
            Err(error) => Err(error).context(POLICY),
        }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("warning: {POLICY} was written by setup and is still there: {error}");
        }
    }
}
