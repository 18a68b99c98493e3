//! `pv-xconnect`, the mesh daemon: arguments, logging, signals, one library call.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use xconnect::mesh::{self, Config, GraphFrom, KernelOptions};
use xconnect::program::{log_to_stderr, seconds};

/// The mesh: plants sockets into containers and carries what goes through them.
#[derive(Debug, Parser)]
#[command(name = "pv-xconnect", version, about, max_term_width = 100)]
struct Args {
    /// Directory for the lock, the status socket and the record of injected sockets
    #[arg(long, env = "XCONNECT_RUN_DIR", default_value = "/run/pantavisor/pv", value_name = "DIR")]
    run_dir: PathBuf,
    /// Control socket that the graph comes from [default: pv-ctrl in the run directory]
    #[arg(long, value_name = "PATH", conflicts_with = "graph")]
    pv_ctrl: Option<PathBuf>,
    /// Take the graph from a file of graph JSON instead, read again on every change
    #[arg(long, value_name = "FILE")]
    graph: Option<PathBuf>,
    /// Where to serve /status, /links and /metrics [default: pv-xconnect in the run directory]
    #[arg(long, value_name = "PATH")]
    status_socket: Option<PathBuf>,
    /// Where listeners are kept for a successor, or "none" [default: fdstore in the run directory]
    #[arg(long, value_name = "PATH")]
    fdstore: Option<PathBuf>,
    /// Seconds between two looks at a control socket that cannot stream
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS", value_parser = seconds)]
    poll_interval: f64,
    /// Seconds that open connections may go on after a request to stop
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS", value_parser = seconds)]
    drain: f64,
    /// Relay threads [default: one per processor, four at most]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: Option<u16>,
    /// Load this eBPF object instead of the one that is part of the program
    #[arg(long, value_name = "FILE")]
    bpf_object: Option<PathBuf>,
    /// Directions of connections that can go through the kernel at once; 0: everything goes through user space
    #[arg(long, default_value_t = 16384, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
    kernel_flows: u32,
    /// MiB that the send buffers of all connections in the kernel may hold [default: a quarter of the memory, 8192 at most]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
    kernel_send_buffers: Option<u32>,
    /// Say more; twice: everything (RUST_LOG overrides)
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

impl Args {
    fn config(self) -> Config {
        let run_dir = self.run_dir;
        let graph = match self.graph {
            Some(file) => GraphFrom::File(file),
            None => GraphFrom::ControlSocket {
                socket: self.pv_ctrl.unwrap_or_else(|| run_dir.join("pv-ctrl")),
                poll_interval: Duration::from_secs_f64(self.poll_interval.max(0.01)),
            },
        };
        let fdstore = match self.fdstore {
            Some(path) if path.as_os_str() == "none" => None,
            Some(path) => Some(path),
            None => Some(run_dir.join("fdstore")),
        };
        Config {
            status_socket: self.status_socket.unwrap_or_else(|| run_dir.join("pv-xconnect")),
            run_dir,
            graph,
            fdstore,
            drain: Duration::from_secs_f64(self.drain),
            workers: self.workers.map(usize::from),
            kernel: KernelOptions {
                object: self.bpf_object,
                flows: self.kernel_flows,
                send_buffers: self.kernel_send_buffers,
            },
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    log_to_stderr(args.verbose);
    match start(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(args: Args) -> anyhow::Result<()> {
    mesh::prepare_process().context("cannot prepare the process")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    runtime.block_on(async {
        let (stop, stopped) = watch::channel(false);
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let mesh = mesh::run(args.config(), stopped);
        tokio::pin!(mesh);
        loop {
            tokio::select! {
                ended = &mut mesh => return ended.map_err(anyhow::Error::from),
                _ = terminate.recv() => stop.send_replace(true),
                _ = interrupt.recv() => stop.send_replace(true),
            };
        }
    })
}
