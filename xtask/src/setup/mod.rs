//! `setup`: installs what building, benches or lint need, and does nothing where it is all there.

mod bpf;
mod linker;
mod packages;

use std::path::Path;

use clap::Args;

use crate::cmd::Cmd;
use crate::kernels;
use crate::workspace::Workspace;
pub(crate) use bpf::{BpfTools, bpf_tools};
pub(crate) use packages::update_lists;

/// What a build needs. libelf and zlib: libcontainer's device filter for cgroup2 links libbpf, whose
/// own build calls make and pkg-config.
const BUILD: [&str; 6] = ["gcc", "libc6-dev", "make", "pkg-config", "libelf-dev", "zlib1g-dev"];
/// Clients and servers as others wrote them, which tests run over rest links.
const TEST: [&str; 3] = ["curl", "nodejs", "python3"];
/// What the benches compare with.
const BENCH: [&str; 3] = ["socat", "haproxy", "nginx"];
/// The version of cargo-deny that deny.toml is written for.
pub(crate) const CARGO_DENY: &str = "0.20.2";

/// Options of `setup`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Also what benches compare with: socat, haproxy and nginx (never started as a service).
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
    test_programs()?;
    if let Err(error) = bpf_tools(workspace) {
        eprintln!("warning: programs will be built without eBPF: {error:#}");
    }
    if options.bench {
        packages::ensure(&BENCH)?;
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

/// Makes sure that there are the programs that tests run beside our own.
pub(crate) fn test_programs() -> anyhow::Result<()> {
    packages::ensure(&TEST)
}

/// Makes sure that the workspace can be built.
pub(crate) fn build_tools() -> anyhow::Result<()> {
    packages::ensure(&BUILD)
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
