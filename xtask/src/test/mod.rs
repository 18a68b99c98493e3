//! `test`: every test of the workspace; those between real namespaces get the built programs.

pub(crate) mod tally;

use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::cmd::Cmd;
use crate::workspace::Workspace;
use crate::{build, ebpf, setup};
use tally::{Tally, copy};

/// How long the rest of the output may take once cargo itself has ended.
const REST: Duration = Duration::from_secs(5);

/// Options of `test`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only tests whose name contains this.
    filter: Option<String>,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    let begin = Instant::now();
    setup::build_tools()?;
    ebpf::before_programs(workspace)?;
    let mut total = Tally::default();
    eprintln!("== 1/3: tests of the libraries and programs");
    let cmd = workspace.cargo("test").args(["--workspace", "--exclude", "xconnect-tests"]);
    total += cargo_test(cmd, options)?;
    eprintln!("== 2/3: the programs as they are shipped");
    build::programs(workspace)?;
    build::examples(workspace)?;
    eprintln!("== 3/3: the programs between real namespaces");
    let cmd = workspace
        .cargo("test")
        .args(["--package", "xconnect-tests"])
        .env("XCONNECT_BIN_DIR", workspace.programs())
        .env("XCONNECT_EXAMPLES_DIR", workspace.examples_static());
    total += cargo_test(cmd, options)?;
    report(&total, options, begin.elapsed())
}

fn report(total: &Tally, options: &Options, elapsed: Duration) -> anyhow::Result<()> {
    for name in &total.failures {
        println!("failed: {name}");
    }
    for line in &total.skips {
        println!("{line}");
    }
    println!(
        "{} ignored, {} said SKIP; {}:{:02} minutes",
        total.ignored,
        total.skips.len(),
        elapsed.as_secs() / 60,
        elapsed.as_secs() % 60
    );
    println!("{} passed, {} failed", total.passed, total.failed);
    if total.failed > 0 {
        bail!("tests failed");
    }
    if total.passed == 0 {
        match &options.filter {
            Some(filter) => bail!("no test's name contains {filter:?}"),
            None => bail!("no tests were found"),
        }
    }
    Ok(())
}

/// Runs cargo test, shows what matters of its output as it comes, and counts.
fn cargo_test(cmd: Cmd, options: &Options) -> anyhow::Result<Tally> {
    let mut command = cmd
        .args(["--locked", "--no-fail-fast"])
        .args(&options.filter)
        .args(["--", "--show-output"])
        .into_command();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cargo test")?;
    let output = child.stdout.take().context("cargo test has no output")?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(copy(output, &mut std::io::stdout())));
    let status = child.wait().context("cargo test")?;
    // A process that a test left behind may hold the pipe open: that must not keep us.
    let Ok(tally) = receiver.recv_timeout(REST) else {
        bail!("cargo test has ended ({status}), but a process that a test started still holds its output");
    };
    let mut tally = tally.context("output of cargo test")?;
    if !status.success() && tally.failed == 0 {
        // It did not compile, or a test program died before its summary.
        tally.failed = 1;
        tally.failures.push(format!("cargo test itself: {status}"));
    }
    Ok(tally)
}
