//! `lint`: format, lints, the feature sets, docs, licences and the house rules; all of them, then a sum.

mod house;

use anyhow::bail;

use crate::cmd::Cmd;
use crate::setup::{self, CARGO_DENY};
use crate::workspace::Workspace;

/// What the steps said.
#[derive(Debug, Default)]
struct Outcome {
    failed: Vec<String>,
    skipped: Vec<String>,
}

pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    setup::build_tools()?;
    let mut outcome = Outcome::default();
    outcome.component(workspace, "fmt", "rustfmt", &["--all", "--check"]);
    let workspace_wide = ["--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    outcome.component(workspace, "clippy", "clippy-driver", &workspace_wide);
    // The command line tools, and pv-xconnect alone, are built by packagers without the rest.
    for features in [&["--no-default-features"][..], &["--no-default-features", "--features", "mesh"]] {
        let arguments = ["--locked", "-p", "xconnect", "--bins"].iter().chain(features);
        let arguments: Vec<_> = arguments.copied().chain(["--", "-D", "warnings"]).collect();
        outcome.component(workspace, "clippy", "clippy-driver", &arguments);
    }
    kernel_side(workspace, &mut outcome);
    let doc =
        workspace.cargo("doc").args(["--workspace", "--no-deps", "--locked", "--document-private-items"]);
    outcome.step(doc.env("RUSTDOCFLAGS", "-D warnings"));
    deny(workspace, &mut outcome);
    let broken = house::check(workspace)?;
    for rule in &broken {
        eprintln!("{rule}");
    }
    if !broken.is_empty() {
        outcome.failed.push(format!("house rules ({})", broken.len()));
    }
    outcome.report()
}

/// What is built for the kernel, seen by this host's clippy: no tool chain has one for BPF with `core` compiled
/// already. The structures of the maps are seen as the mesh uses them.
fn kernel_side(workspace: &Workspace, outcome: &mut Outcome) {
    let common = ["--locked", "-p", "xconnect-common", "--features", "user", "--", "-D", "warnings"];
    outcome.component(workspace, "clippy", "clippy-driver", &common);
    if !Cmd::new("clippy-driver").arg("--version").quiet().succeeds() {
        return;
    }
    let clippy = workspace
        .cargo("clippy")
        .args(["--locked", "-p", "xconnect-ebpf", "--features", "bpf", "--profile", "ebpf", "--target-dir"])
        .arg(workspace.target().join("ebpf-lint"))
        .args(["--", "-D", "warnings"]);
    // As the object is built: intrinsics are unstable, and Debian's compiler is none of rustup's nightlies.
    outcome.step(clippy.env("RUSTC_BOOTSTRAP", "1"));
}

/// Licences, bans and sources; advisories where their database can be had.
fn deny(workspace: &Workspace, outcome: &mut Outcome) {
    let Some(program) = setup::find_cargo_deny(workspace) else {
        outcome.skipped.push(format!("cargo deny {CARGO_DENY} (not installed: `cargo xtask setup --lint`)"));
        return;
    };
    let deny = || Cmd::new(&program).directory(workspace.root());
    outcome.step(deny().args(["--all-features", "check", "bans", "licenses", "sources"]));
    if deny().arg("fetch").succeeds() {
        outcome.step(deny().args(["--all-features", "check", "--disable-fetch", "advisories"]));
    } else {
        outcome.skipped.push("advisories (their database cannot be fetched)".to_owned());
    }
}

impl Outcome {
    /// Runs one step.
    fn step(&mut self, command: Cmd) {
        let line = command.line();
        if let Err(error) = command.run() {
            eprintln!("failed: {error:#}");
            self.failed.push(line);
        }
    }

    /// Runs a cargo subcommand that belongs to a component of the tool chain.
    fn component(&mut self, workspace: &Workspace, subcommand: &str, program: &str, arguments: &[&str]) {
        if Cmd::new(program).arg("--version").quiet().succeeds() {
            self.step(workspace.cargo(subcommand).args(arguments));
        } else {
            self.skipped.push(format!("cargo {subcommand} (not installed: `cargo xtask setup --lint`)"));
        }
    }

    fn report(&self) -> anyhow::Result<()> {
        for step in &self.skipped {
            println!("SKIPPED: {step}");
        }
        for step in &self.failed {
            println!("FAILED: {step}");
        }
        if !self.failed.is_empty() {
            bail!("{} steps failed", self.failed.len());
        }
        match self.skipped.len() {
            0 => println!("lint: clean"),
            count => println!("lint: clean as far as it was checked; {count} skipped"),
        }
        Ok(())
    }
}
