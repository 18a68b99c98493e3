//! The daemon as a narrative: lock, take over what is there, follow the graph, end in order.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::board::Board;
use super::config::Config;
use super::containers::Containers;
use super::edge::{FdBudget, RestThreads, Workers, WorkersError};
use super::fdstore::FdStore;
use super::inject::{self, Watcher};
use super::ledger::{self, Ledger};
use super::leftovers::{self, Leftovers};
use super::link::Shared;
use super::offload::Offload;
use super::own::OwnSockets;
use super::providers::Providers;
use super::reconcile::Reconciler;
use super::server::{self, View};
use super::source::{self, Outlet};
use crate::api::server::{BindError, stop_channel};
use crate::graph::Graph;
use crate::instance::{InstanceLock, LockError};
use crate::sys::process;

/// Why the mesh cannot start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The run directory cannot be made.
    #[error("cannot make the run directory {path}")]
    RunDir {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Another mesh is there.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The record of injected sockets cannot be kept.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// Changes of files cannot be watched.
    #[error("cannot watch for changes of files")]
    Watcher(#[source] inject::Error),
    /// The relay threads cannot be started.
    #[error(transparent)]
    Workers(#[from] WorkersError),
    /// The status socket cannot be served.
    #[error("cannot serve the status socket")]
    Status(#[from] BindError),
    /// Callers cannot be told apart.
    #[error("cannot look at our own mount namespace")]
    Namespace(#[source] std::io::Error),
}

/// How long each of the last acts may take: removing what a former mesh left, telling the fd store.
const FAREWELL: Duration = Duration::from_secs(1);
/// So long after a changed graph its links have settled, and what they needed on the way is given back.
const SETTLED: Duration = Duration::from_secs(1);
/// Descriptors that connections leave to the rest of the mesh: containers, watches, sockets of its own.
const RESERVED: usize = 256;

/// Runs the mesh until `stop` turns true (or its sender is gone).
///
/// # Errors
/// Where it cannot start; once it runs, trouble is logged, shown in the links' reasons and retried.
pub async fn run(config: Config, mut stop: watch::Receiver<bool>) -> Result<(), Error> {
    process::share_heaps();
    std::fs::create_dir_all(&config.run_dir)
        .map_err(|source| Error::RunDir { path: config.run_dir.clone(), source })?;
    let _lock = InstanceLock::acquire(&config.run_dir.join("pv-xconnect.lock"))?;
    let ledger = Ledger::open(&config.run_dir.join("xconnect-state.json"))?;
    let status = server::bind(&config.status_socket)?;
    let offload = Arc::new(Offload::start(&config.kernel));
    let reports = offload.reports();
    let threads = config.workers.unwrap_or_else(Workers::default_count);
    let workers = Workers::start(threads)?;
    let watcher = Arc::new(Watcher::new().map_err(Error::Watcher)?);
    let containers = Arc::new(Containers::default());

    let mut tasks = JoinSet::new();
    if let Some(reports) = reports {
        tasks.spawn(reports.follow());
    }
    let mut farewell = JoinSet::new();
    let fdstore = match &config.fdstore {
        None => FdStore::none(),
        Some(path) => {
            let (store, keeper, listed) = FdStore::at(path);
            farewell.spawn(keeper.run());
            listed.wait().await;
            store
        }
    };
    let board = Arc::new(Board::default());
    let own = Arc::new(OwnSockets::of(&config));
    let shared = Arc::new(Shared {
        providers: Providers::new(Arc::clone(&containers), Arc::clone(&watcher), Arc::clone(&own)),
        own,
        containers,
        watcher,
        leftovers: Leftovers::new(&ledger),
        ledger,
        fdstore,
        board: Arc::clone(&board),
        workers,
        rest: RestThreads::new(threads),
        offload: Arc::clone(&offload),
        budget: FdBudget::from_limit(RESERVED),
        drain: config.drain,
    });
    let (outlet, mut graphs, health) = Outlet::new();
    let (serving, end_of_serving) = stop_channel();
    let view = View::new(board, health, Arc::clone(&shared.budget), offload).map_err(Error::Namespace)?;
    tasks.spawn(server::serve(status, view, end_of_serving));
    tasks.spawn(source::follow(config.graph.clone(), outlet));

    let mut reconciler = Reconciler::new(Arc::clone(&shared));
    let mut sweeping = JoinSet::new();
    let mut first = true;
    let mut unsettled = false;
    loop {
        tokio::select! {
            biased;
            stopped = stop.wait_for(|stop| *stop) => {
                if stopped.is_ok() {
                    tracing::info!("stopping");
                }
                break;
            }
            changed = graphs.changed() => {
                if changed.is_err() {
                    break;
                }
                let Some(graph) = graphs.borrow_and_update().clone() else { continue };
                if first {
                    first = false;
                    leftovers::sweep(&shared, &graph, &mut sweeping);
                }
                let steps = reconciler.apply(graph);
                unsettled |= steps > 0;
                tracing::debug!(steps, "applied a graph");
            }
            () = tokio::time::sleep(SETTLED), if unsettled => {
                unsettled = false;
                process::trim_memory();
            }
        }
    }
    reconciler.stop().await;
    if first {
        // No link has taken anything over, and a listener that stays kept would hold its consumers.
        leftovers::sweep(&shared, &Graph::default(), &mut sweeping);
    }
    let swept = async { while sweeping.join_next().await.is_some() {} };
    if tokio::time::timeout(FAREWELL, swept).await.is_err() {
        tracing::warn!("not all sockets that a former mesh left could be removed in time");
    }
    sweeping.shutdown().await;
    serving.stop();
    tasks.shutdown().await;
    // The keeper ends when the last link has let go of the store, with everything told.
    drop(shared);
    if tokio::time::timeout(FAREWELL, farewell.join_next()).await.is_err() {
        tracing::warn!("the fd store did not take the farewell");
    }
    Ok(())
}
