//! `test`: every test of the workspace; those between real namespaces get the built programs. What waits (for packages,
//! for deadlines) runs beside what compiles.

mod programs;
mod steps;
pub(crate) mod tally;

use std::{env, io, thread};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::cmd::Cmd;
use crate::workspace::{PROGRAMS, Workspace};
use crate::{build, executables, setup};
use steps::Steps;
use tally::Tally;

/// All packages but that of the tests between namespaces.
const OTHERS: [&str; 4] = ["--workspace", "--exclude", "xconnect-tests", "--locked"];

/// Options of `test`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only tests whose name contains this.
    filter: Option<String>,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    let steps = Steps::new(io::stdout());
    let total = all(workspace, options, &steps);
    println!("\n{steps}");
    report(&total?, options, &steps)
}

fn all(workspace: &Workspace, options: &Options, steps: &Steps) -> anyhow::Result<Tally> {
    steps.alone("packages", || setup::build_tools().and_then(|()| setup::test_programs()))?;
    compile(workspace, steps)?;
    let (others, between) = thread::scope(|scope| {
        let others = scope.spawn(|| libraries(workspace, options, steps));
        let between = programs::run(workspace, steps, options);
        (others.join(), between)
    });
    let mut total = others.map_err(|_| anyhow::anyhow!("a thread panicked"))?;
    total += between?;
    Ok(total)
}

/// All that the tests between namespaces need. The object's tool chain may have to be installed, which is mostly
/// waiting; so all that does not embed the object is compiled beside it.
fn compile(workspace: &Workspace, steps: &Steps) -> anyhow::Result<()> {
    let ourselves = env::current_exe().context("this program")?;
    thread::scope(|scope| {
        let object = scope.spawn(|| {
            let cmd = Cmd::new(&ourselves).arg("ebpf-if-possible").directory(workspace.root());
            steps.run("eBPF tool chain and object", cmd)
        });
        steps.run("compile: tests between namespaces", programs::compile(workspace))?;
        steps.run("compile: examples", build::compile_examples(workspace)?)?;
        build::place_examples(workspace)?;
        steps.run("compile: process of test containers", executables::build_static_pod(workspace)?)?;
        object.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?
    })?;
    steps.run("compile: programs", build::compile_programs(workspace, &PROGRAMS))
}

/// Tests of the libraries and programs, compiled while the tests between namespaces wait.
fn libraries(workspace: &Workspace, options: &Options, steps: &Steps) -> Tally {
    let compile = workspace.cargo_behind("test").arg("--no-run").args(OTHERS);
    // Where it fails, so does the next step.
    let _ = steps.run("compile: libraries and programs with tests", compile);
    let cmd = workspace.cargo("test").args(OTHERS).arg("--no-fail-fast").args(&options.filter);
    let mut total = steps.tests("libraries and programs", cmd.args(["--", "--show-output"]));
    total += steps.tests("documentation of the tests' harness", programs::documentation(workspace, options));
    total
}

/// Adds libtest's arguments to a program of tests.
fn libtest(program: Cmd, options: &Options) -> Cmd {
    program.arg("--show-output").args(&options.filter)
}

fn report(total: &Tally, options: &Options, steps: &Steps) -> anyhow::Result<()> {
    for name in &total.failures {
        println!("failed: {name}");
    }
    for line in &total.skips {
        println!("{line}");
    }
    let elapsed = steps.elapsed();
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
