//! The command line of `pvcontrol`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Look at and control the containers of this host and the links between them.
#[derive(Debug, Parser)]
#[command(name = "pvcontrol", version, propagate_version = true, subcommand_required = true)]
#[command(
    after_help = "The control socket is the first one that answers of /run/pantavisor/pv/pv-ctrl, /pv/pv-ctrl and /pantavisor/pv-ctrl; \
of XCONNECT_RUN_DIR only, where that is set.\n\nExit codes: 0 done; 1 no usable answer; 2 wrong usage; 48 no disk space; \
60 bad checksum; 70 revision refused; 255 any other error of the API (its body is on standard error)."
)]
pub(super) struct Cli {
    /// The control socket.
    #[arg(short, long, global = true, value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,
    /// Write the output to a file instead of standard output.
    #[arg(short, long, global = true, value_name = "PATH")]
    pub(super) file: Option<PathBuf>,
    /// Show every exchange on standard error.
    #[arg(short, long, global = true)]
    pub(super) verbose: bool,
    /// The form of the output [default: table on a terminal, else json].
    #[arg(short, long, global = true, value_enum)]
    pub(super) output: Option<Format>,
    /// Commit message (steps put only).
    #[arg(short, long, global = true, value_name = "TEXT")]
    pub(super) message: Option<String>,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// The form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Columns that fit the terminal.
    Table,
    /// All columns.
    Wide,
    /// As the API gives it.
    Json,
    /// For graphviz (graph only).
    Dot,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the containers (the same as `containers ls`).
    #[command(visible_alias = "list")]
    Ls,
    /// The links between containers.
    #[command(subcommand)]
    Graph(Graph),
    /// List, start, stop and restart containers.
    #[command(subcommand)]
    Containers(Containers),
    /// List, start, stop and restart the daemons that the engine runs.
    #[command(subcommand)]
    Daemons(Daemons),
    /// Groups of containers.
    #[command(subcommand)]
    Groups(Listing),
    /// Tell the engine that this container is ready.
    #[command(subcommand)]
    Signal(Signal),
    /// Show which revision is applied, and why a newer one is refused (exit code 70).
    Revision,
    /// Show what the engine was built from.
    Buildinfo,
    /// The configuration, under its older dotted names.
    #[command(subcommand)]
    Config(Listing),
    /// The configuration, under its full names.
    #[command(subcommand, visible_alias = "configuration")]
    Conf(Listing),
    /// Print the metrics in Prometheus' text format.
    Metrics,
    /// Who changed what, and when.
    Audit(Audit),
    /// Send a command to Pantavisor's state machine.
    #[command(subcommand, name = "cmd", visible_aliases = ["command", "commands"])]
    Cmd(StateCommand),
    /// Device metadata (Pantavisor only).
    #[command(subcommand)]
    Devmeta(Metadata),
    /// User metadata (Pantavisor only).
    #[command(subcommand)]
    Usrmeta(Metadata),
    /// Stored objects (Pantavisor only).
    #[command(subcommand)]
    Objects(Objects),
    /// Stored revisions (Pantavisor only).
    #[command(subcommand)]
    Steps(Steps),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: Shell,
        /// The program to complete.
        #[arg(long, value_enum, default_value = "pvcontrol")]
        program: Program,
    },
    /// Write the manual pages: one for each program and each command.
    Man {
        /// An existing directory.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
}

/// A program of this package with completions.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Program {
    Pvcontrol,
    Pvcurl,
}

#[derive(Debug, Subcommand)]
pub(super) enum Graph {
    /// List the links with their status and traffic.
    #[command(visible_alias = "list")]
    Ls {
        /// Milliseconds between the two looks that give the rate; 0: one look, no rate.
        #[arg(long, default_value_t = 250, value_name = "MS", value_parser = clap::value_parser!(u64).range(..=60_000))]
        sample: u64,
    },
    /// Follow the links: redrawn on a terminal, else one JSON array a line whenever something changed.
    Watch {
        /// Seconds between two looks.
        #[arg(long, default_value = "1", value_name = "SECONDS", value_parser = interval)]
        interval: Duration,
        /// Follow what is wanted only, as it is pushed: no status, no counters (never redrawn).
        #[arg(long)]
        desired: bool,
    },
    /// Print the graph for graphviz (`pvcontrol graph dot | dot -Tsvg`).
    Dot,
}

#[derive(Debug, Subcommand)]
pub(super) enum Containers {
    /// List the containers and their status.
    #[command(visible_alias = "list")]
    Ls,
    /// Start stopped containers.
    Start(Names),
    /// Stop running containers.
    Stop(Names),
    /// Stop and start containers.
    Restart(Names),
    /// Let a container that something else started take part in the mesh.
    Register {
        /// Its name.
        name: String,
        /// Its first process, as the host numbers it.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        pid: u32,
        /// Start time of that process in clock ticks since boot: a recycled pid is then refused.
        #[arg(long, value_name = "TICKS")]
        start: Option<u64>,
        /// Directory with its services.json, and run.json or args.json.
        #[arg(long, value_name = "DIR")]
        manifests: Option<PathBuf>,
    },
    /// Take such a container off again.
    Unregister {
        /// Its name.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Daemons {
    /// List the daemons.
    #[command(visible_alias = "list")]
    Ls,
    /// Start stopped daemons.
    Start(Names),
    /// Stop daemons, and do not start them again.
    Stop(Names),
    /// Stop and start daemons.
    Restart(Names),
}

#[derive(Debug, Args)]
pub(super) struct Names {
    /// The names.
    #[arg(required = true, value_name = "NAME")]
    pub(super) names: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Listing {
    /// List them.
    #[command(visible_alias = "list")]
    Ls,
}

#[derive(Debug, Subcommand)]
pub(super) enum Signal {
    /// The container has started.
    Ready,
    /// The container is alive (not every Pantavisor takes it).
    Alive,
}

#[derive(Debug, Args)]
pub(super) struct Audit {
    /// Only entries from this time on (as in 2026-01-31T08:00:00Z) or after this position in the log.
    #[arg(long, value_name = "TIME|SEQ")]
    pub(super) since: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum StateCommand {
    /// Run an installed revision.
    Run {
        /// As in `locals/my-revision`.
        revision: String,
    },
    /// Run an installed revision and commit it.
    RunCommit {
        /// As in `locals/my-revision`.
        revision: String,
    },
    /// Power the device off.
    Poweroff {
        /// Why.
        reason: Option<String>,
    },
    /// Reboot the device.
    Reboot {
        /// Why.
        reason: Option<String>,
    },
    /// Run the garbage collector.
    RunGc,
    /// Make a revision the factory revision.
    MakeFactory {
        /// The current one where none is named.
        revision: Option<String>,
    },
    /// Start the SSH server until the next reboot.
    EnableSsh,
    /// Stop the SSH server until the next reboot.
    DisableSsh,
    /// Go remote from a local revision.
    GoRemote,
    /// Put a pending reboot off.
    DeferReboot {
        /// The new time-out.
        timeout: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Metadata {
    /// List all.
    #[command(visible_alias = "list")]
    Ls,
    /// Create or replace one.
    #[command(visible_alias = "upload")]
    Save {
        /// Its key.
        key: String,
        /// Its value; empty where none is given.
        #[arg(default_value = "", allow_hyphen_values = true)]
        value: String,
    },
    /// Remove one.
    Delete {
        /// Its key.
        key: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Objects {
    /// List all.
    #[command(visible_alias = "list")]
    Ls,
    /// Print an object.
    Get {
        /// Its SHA-256.
        sha: String,
    },
    /// Store an object.
    Put {
        /// A file, or `-SIZE`: so many bytes of standard input.
        #[arg(allow_hyphen_values = true)]
        path: String,
        /// Its SHA-256.
        sha: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Steps {
    /// List all.
    #[command(visible_alias = "list")]
    Ls,
    /// Print a revision's state.
    Get {
        /// A revision, or `current`.
        revision: String,
    },
    /// Print how an update goes.
    ShowProgress {
        /// A revision, or `current`.
        revision: String,
    },
    /// Store a state under a name.
    Put {
        /// A file, or `-` for standard input.
        #[arg(allow_hyphen_values = true)]
        path: String,
        /// As in `locals/my-revision`.
        revision: String,
    },
}

fn interval(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if !(0.05..=3600.0).contains(&seconds) {
        return Err("must be from 0.05 to 3600".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}
