//! `setup`: installs what building, benches or lint need, and does nothing where it is all there.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use clap::Args;

use crate::cmd::Cmd;
use crate::kernels;
use crate::workspace::Workspace;

/// What a build needs. libelf and zlib: libcontainer's device filter for cgroup2 links libbpf, whose
/// own build calls make and pkg-config.
const BUILD: [&str; 6] = ["gcc", "libc6-dev", "make", "pkg-config", "libelf-dev", "zlib1g-dev"];
/// What the benches compare with.
const BENCH: [&str; 2] = ["socat", "haproxy"];
/// The version of cargo-deny that deny.toml is written for.
pub(crate) const CARGO_DENY: &str = "0.20.2";
/// apt asks this script whether a package may start its service: 101 says no.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Options of `setup`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Also what `bench unix` compares with: socat and haproxy (never started as a service).
    #[arg(long)]
    bench: bool,
    /// Also what `kernels` runs: kernels and QEMU, unpacked into the target directory (200 MB to fetch).
    #[arg(long)]
    kernels: bool,
    /// Also what `lint` uses: rustfmt, clippy, and cargo-deny (compiled: takes minutes).
    #[arg(long)]
    lint: bool,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    build_tools()?;
    if options.bench {
        packages(&BENCH)?;
    }
    if options.kernels {
        kernels::prepare(workspace)?;
    }
    if options.lint {
        rust_components()?;
        cargo_deny(workspace)?;
    }
    eprintln!("setup: everything is there");
    Ok(())
}

/// Makes sure that the workspace can be built.
pub(crate) fn build_tools() -> anyhow::Result<()> {
    packages(&BUILD)
}

/// Installs the Debian packages that are missing, or says how to.
fn packages(wanted: &[&str]) -> anyhow::Result<()> {
    if !Cmd::new("dpkg-query").arg("--version").quiet().succeeds() {
        return without_dpkg(wanted);
    }
    let missing = missing(wanted);
    if missing.is_empty() {
        return Ok(());
    }
    let install = format!("apt-get install -y --no-install-recommends {}", missing.join(" "));
    if !rustix::process::geteuid().is_root() {
        bail!("missing: {}. Run: sudo apt-get update && sudo {install}", missing.join(", "));
    }
    let _policy = NoServices::start()?;
    apt(&["update"])?;
    apt(&install.split_whitespace().skip(1).collect::<Vec<_>>())?;
    if missing.contains(&"haproxy") && Cmd::new("systemctl").arg("--version").quiet().succeeds() {
        // Its package enables the service for the next boot; the bench runs a proxy of its own.
        Cmd::new("systemctl").args(["disable", "haproxy"]).run()?;
    }
    Ok(())
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
        "socat" => Cmd::new("socat").arg("-V").quiet().succeeds(),
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

fn rust_components() -> anyhow::Result<()> {
    for (program, component) in [("rustfmt", "rustfmt"), ("clippy-driver", "clippy")] {
        if !Cmd::new(program).arg("--version").quiet().succeeds() {
            Cmd::new("rustup").args(["component", "add", component]).run()?;
        }
    }
    Ok(())
}

fn cargo_deny(workspace: &Workspace) -> anyhow::Result<()> {
    if find_cargo_deny(workspace).is_some() {
        return Ok(());
    }
    workspace
        .cargo("install")
        .args(["--locked", "--version", CARGO_DENY, "--root"])
        .arg(workspace.tools())
        .arg("cargo-deny")
        .run()
}

/// The program cargo-deny of the right version: in the workspace's tools, or in PATH.
pub(crate) fn find_cargo_deny(workspace: &Workspace) -> Option<String> {
    let own = workspace.tools().join("bin/cargo-deny");
    [own.as_path(), Path::new("cargo-deny")].into_iter().find_map(|path| {
        let version = Cmd::new(path).arg("--version").quiet().output().ok()?;
        version.trim().ends_with(CARGO_DENY).then(|| path.display().to_string())
    })
}
