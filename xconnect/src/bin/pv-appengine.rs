//! `pv-appengine`, the control plane: arguments, logging, signals, one library call.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use xconnect::engine::{self, Asked, Config};
use xconnect::program::{log_to_stderr, seconds};

/// Exit code for a state directory that would be refused; `pvcontrol` uses the same.
const REFUSED: u8 = 70;

/// The control plane: runs the containers of a state directory and keeps the mesh between them.
#[derive(Debug, Parser)]
#[command(name = "pv-appengine", version, about, max_term_width = 100)]
#[command(
    after_help = "SIGTERM ends containers, mesh and engine in order; SIGHUP reads the state directory again.\n\
    After SIGKILL containers and links go on, and the next engine in the same run directory takes them over."
)]
struct Args {
    /// State directory: device.json, and run.json, args.json and services.json in a folder for each container
    #[arg(long, env = "XCONNECT_STATE", default_value = "/var/lib/xconnect", value_name = "DIR")]
    state: PathBuf,
    /// Directory for sockets, locks, logs and what is known of running containers
    #[arg(long, env = "XCONNECT_RUN_DIR", default_value = engine::DEFAULT_RUN_DIR, value_name = "DIR")]
    run_dir: PathBuf,
    /// The mesh's program, or "none" where something else runs it [default: pv-xconnect beside this program]
    #[arg(long, value_name = "PATH")]
    xconnect: Option<PathBuf>,
    /// Directory for the audit log and the state that was applied last [default: .xconnect in the state directory]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Folder of the containers' cgroups, below each controller's root; one engine's own [default: xconnect, with
    /// a hash of the run directory where that is not the usual one]
    #[arg(long, value_name = "NAME", value_parser = cgroup_name)]
    cgroup_root: Option<String>,
    /// Seconds that a container may take to end before it is killed
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS", value_parser = seconds)]
    stop_grace: f64,
    /// Only tell whether the state directory is valid: exit code 0, or 70 and all errors
    #[arg(long)]
    check: bool,
    /// Say more; twice: everything (RUST_LOG overrides)
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

fn cgroup_name(text: &str) -> Result<String, String> {
    let fits = |part: &str| !matches!(part, "" | "." | "..");
    if text.split('/').all(fits) {
        Ok(text.to_owned())
    } else {
        Err("must be a relative path without \"..\"".to_owned())
    }
}

impl Args {
    fn config(self) -> anyhow::Result<Config> {
        let xconnect = match self.xconnect {
            Some(path) if path.as_os_str() == "none" => None,
            Some(path) => Some(path),
            None => Some(
                std::env::current_exe().context("cannot find this program")?.with_file_name("pv-xconnect"),
            ),
        };
        if let Some(path) = &xconnect {
            std::fs::metadata(path).with_context(|| {
                format!("{}: cannot find the mesh (--xconnect names it, or \"none\")", path.display())
            })?;
        }
        Ok(Config {
            data_dir: self.data_dir.unwrap_or_else(|| engine::default_data_dir(&self.state)),
            cgroup_root: self.cgroup_root.unwrap_or_else(|| engine::default_cgroup_root(&self.run_dir)),
            state: self.state,
            run_dir: self.run_dir,
            xconnect,
            stop_grace: Duration::from_secs_f64(self.stop_grace),
        })
    }
}

fn main() -> ExitCode {
    // First of all: a shim must be single-threaded, with nothing set up before it.
    engine::shim::run_if_asked();
    let args = Args::parse();
    if args.check {
        return check(&args.state);
    }
    log_to_stderr(args.verbose);
    match args.config().and_then(start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn check(state: &Path) -> ExitCode {
    match engine::check(state) {
        Ok(checked) => {
            println!(
                "{}: valid, {} containers, {} links, revision {}",
                state.display(),
                checked.containers,
                checked.links,
                checked.revision
            );
            ExitCode::SUCCESS
        }
        Err(errors) => {
            eprintln!("{errors}");
            ExitCode::from(REFUSED)
        }
    }
}

fn start(config: Config) -> anyhow::Result<()> {
    engine::prepare_process().context("cannot prepare the process")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    runtime.block_on(async {
        let (stop, stopped) = watch::channel(false);
        let (reread, rereads) = watch::channel(());
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let mut hang_up = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
        let engine = engine::run(config, Asked { stop: stopped, reread: rereads });
        tokio::pin!(engine);
        loop {
            tokio::select! {
                ended = &mut engine => return ended.map_err(anyhow::Error::from),
                _ = terminate.recv() => drop(stop.send_replace(true)),
                _ = interrupt.recv() => drop(stop.send_replace(true)),
                _ = hang_up.recv() => reread.send_replace(()),
            }
        }
    })
}
