//! `demo`: the example containers under a private pv-appengine, until every link is shown to work,
//! and those that may go through the kernel do.

mod goal;
mod kernel;
mod leftovers;
mod progress;
mod session;
mod silence;
mod state;

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;

use crate::cmd::Cmd;
use crate::stop::Stop;
use crate::workspace::Workspace;
use crate::{build, ebpf, setup};
use goal::{Goal, View};
use progress::Progress;
pub(crate) use session::Session;

/// Between two looks at the engine.
const LOOK: Duration = Duration::from_millis(50);

/// Options of `demo`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Leave everything running, and say how to look around.
    #[arg(long)]
    keep: bool,
    /// End what a former `--keep` left running.
    #[arg(long, conflicts_with = "keep")]
    stop: bool,
    /// Seconds until the demo counts as failed.
    #[arg(long, default_value_t = 60)]
    timeout: u64,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    if options.stop {
        return session::stop_kept(workspace);
    }
    if !rustix::process::geteuid().is_root() {
        bail!("containers need root: run it as root, for example in `sudo -s`");
    }
    if options.keep {
        session::refuse_second(workspace)?;
    }
    setup::build_tools()?;
    ebpf::before_programs(workspace)?;
    build::programs(workspace)?;
    build::examples(workspace)?;
    let stop = Stop::on_signals()?;
    let mut session = Session::start(workspace)?;
    let shown = watch(workspace, &mut session, &stop, Duration::from_secs(options.timeout))
        .and_then(|()| kernel::show(workspace, &session, &stop))
        .and_then(|()| show(&session));
    if let Err(error) = &shown {
        eprintln!("\ndemo failed: {error:#}");
        if !stop.requested() {
            eprintln!("{}", session.tail());
        }
    }
    if options.keep && !stop.requested() {
        session.keep(workspace)?;
    } else {
        session.end()?;
        println!("stopped; no process, mount, cgroup or file is left");
    }
    shown
}

/// Waits until all is well.
fn watch(workspace: &Workspace, session: &mut Session, stop: &Stop, limit: Duration) -> anyhow::Result<()> {
    let goal = Goal::of_examples(workspace)?;
    let mut progress = Progress::new(std::io::stdout().is_terminal());
    let begin = Instant::now();
    let mut view = View::default();
    loop {
        stop.check()?;
        session.check_runs()?;
        // Until the socket is there, and while a daemon restarts, there is nothing to see.
        if let Ok(seen) = View::of(session) {
            view = seen;
            progress.show(&goal.lines(&view));
        }
        refuse_failure(&view)?;
        let missing = goal.missing(&view);
        if missing.is_empty() {
            println!("every link works, {:.1} s after the start", begin.elapsed().as_secs_f64());
            return Ok(());
        }
        if begin.elapsed() > limit {
            bail!("after {} s still not: {}", limit.as_secs(), missing.join("; "));
        }
        std::thread::sleep(LOOK);
    }
}

/// An error where a container reports what must not be.
fn refuse_failure(view: &View) -> anyhow::Result<()> {
    match view.failure() {
        Some(failure) => bail!("{failure}"),
        None => Ok(()),
    }
}

/// What an operator sees.
fn show(session: &Session) -> anyhow::Result<()> {
    // The containers have gone on checking meanwhile.
    refuse_failure(&View::of(session)?)?;
    for words in [["graph", "ls"], ["containers", "ls"]] {
        println!();
        Cmd::new(&session.pvcontrol)
            .arg("-s")
            .arg(session.socket())
            .args(["-o", "table"])
            .args(words)
            .run()?;
    }
    println!();
    Ok(())
}
