//! The engine as a narrative: be the only one, take over what runs, then serve and follow, end in order.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;

use super::audit::{AuditError, AuditLog};
use super::config::Config;
use super::control::{self, Control, Settings};
use super::daemon::{self, Daemon};
use super::fdstore::FdStore;
use super::follow::Follower;
use super::hub::{self, Hub, restore_registered};
use super::state;
use super::supervisor::{self, Event, StopContainers, Supervisor};
use crate::api::server::{self, BindError, Bound, Limits, stop_channel};
use crate::graph::HostServices;
use crate::ids::InsidePath;
use crate::instance::{InstanceLock, LockError};

/// Containers signal through it, whoever they are on the host: who may do what is decided by peer.
const CONTROL_MODE: u32 = 0o666;
/// How long the first graph waits for containers of a former engine to be taken over.
const ADOPTION: Duration = Duration::from_secs(10);

/// Why the engine cannot start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A directory cannot be used.
    #[error("cannot use {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another engine is there.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Changes cannot be recorded.
    #[error("name another place by --audit-log")]
    Audit(#[from] AuditError),
    /// A socket cannot be served.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Containers cannot be supervised.
    #[error(transparent)]
    Supervisor(#[from] supervisor::Error),
    /// The state directory cannot be watched.
    #[error("cannot watch files (is /proc/sys/fs/inotify/max_user_instances used up?)")]
    Watch(#[source] io::Error),
    /// The control socket cannot be served.
    #[error("cannot serve the control socket")]
    Serve(#[source] io::Error),
}

/// What the operator asks of a running engine by signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Look at the state directory again.
    Reread,
    /// End: containers, then the mesh, then this program.
    Stop,
}

/// Runs the engine until [`Wish::Stop`] comes or `wishes` is closed.
///
/// # Errors
/// Where it cannot start; once it runs, trouble is logged, shown and retried.
pub async fn run(config: Config, wishes: mpsc::Receiver<Wish>) -> Result<(), Error> {
    let config = config.clone().absolute().map_err(directory(&config.run_dir))?;
    fs::read_dir(&config.state).map_err(directory(&config.state))?;
    fs::create_dir_all(config.logs()).map_err(directory(&config.logs()))?;
    let own = state::own_folder(&config.state);
    fs::create_dir_all(&own).map_err(directory(&own))?;
    let _lock = InstanceLock::acquire(&config.lock())?;
    let audit = AuditLog::open(&config.audit_log)?;
    let supervisor = Supervisor::start(supervisor::Config {
        cgroup_root: config.cgroup_root.clone(),
        stop_grace: config.stop_grace,
        ..supervisor::Config::new(&config.run_dir)
    })?;
    let hub = Arc::new(Hub::new(hub::Setup {
        state_dir: config.state.clone(),
        registry: config.run_dir.join("registered.json"),
        host: host_services(&config),
        supervisor: supervisor.clone(),
        audit,
    }));

    // Whatever a former engine left is taken over before anybody sees a graph: a mesh that runs on would
    // cut the links of containers that seem not to run.
    restore_registered(&hub);
    let mut tasks = JoinSet::new();
    tasks.spawn(report(supervisor.events()));
    let follower = Follower::new(Arc::clone(&hub)).map_err(Error::Watch)?;
    let follower = follower.first_look().await;
    if tokio::time::timeout(ADOPTION, supervisor.adopted()).await.is_err() {
        tracing::warn!("some containers of a former engine are still being taken over");
    }
    hub.refresh();
    serve(&config, hub, follower, tasks, wishes).await
}

async fn serve(
    config: &Config,
    hub: Arc<Hub>,
    follower: Follower,
    mut tasks: JoinSet<()>,
    mut wishes: mpsc::Receiver<Wish>,
) -> Result<(), Error> {
    let bound = Bound::new(&config.control_socket(), rustix::net::SocketType::STREAM, CONTROL_MODE)?;
    let store = FdStore::bind(&config.fdstore())?;
    tasks.spawn(async move {
        if let Err(error) = store.run().await {
            tracing::error!(%error, "the fd store is not served: no listener survives a crash of the mesh");
        }
    });
    let (reread, rereads) = watch::channel(());
    tasks.spawn(follower.run(rereads));
    let following = Arc::clone(&hub);
    tasks.spawn(async move { following.follow_containers().await });

    let (mesh, manager) = mesh(config).unzip();
    if let Some(manager) = manager {
        tasks.spawn(manager.run());
    }
    let control = Control::new(control::Setup {
        hub: Arc::clone(&hub),
        daemons: mesh.iter().cloned().collect(),
        mesh_socket: config.mesh_socket(),
        settings: settings(config),
    });
    let control = Arc::new(control.map_err(Error::Serve)?);
    let (stop, stopped) = stop_channel();
    let mut serving = JoinSet::new();
    serving.spawn(server::serve(bound, control, Limits::default(), stopped));
    tracing::info!(socket = %config.control_socket().display(), "ready");

    let failure = loop {
        tokio::select! {
            biased;
            wish = wishes.recv() => match wish {
                Some(Wish::Reread) => drop(reread.send(())),
                Some(Wish::Stop) | None => break None,
            },
            ended = serving.join_next() => break ended.and_then(Result::ok).and_then(Result::err),
        }
    };
    end(hub.supervisor(), mesh).await;
    stop.stop();
    while serving.join_next().await.is_some() {}
    tasks.shutdown().await;
    failure.map_or(Ok(()), |error| Err(Error::Serve(error)))
}

/// Containers first: the mesh carries what they say to each other until the last of them is gone.
async fn end(supervisor: &Supervisor, mesh: Option<Daemon>) {
    tracing::info!("stopping containers");
    supervisor.shutdown(StopContainers::Yes).await;
    if let Some(mesh) = mesh {
        tracing::info!("stopping pv-xconnect");
        mesh.end().await;
    }
}

fn mesh(config: &Config) -> Option<(Daemon, daemon::Manager)> {
    let program = config.xconnect.clone()?;
    let args = [
        "--run-dir".into(),
        config.run_dir.clone().into(),
        "--pv-ctrl".into(),
        config.control_socket().into(),
        "--status-socket".into(),
        config.mesh_socket().into(),
        "--fdstore".into(),
        config.fdstore().into(),
    ];
    Some(daemon::manage(daemon::Spec {
        name: "pv-xconnect".to_owned(),
        program,
        args: args.to_vec(),
        lock: config.mesh_lock(),
        log: config.logs().join("pv-xconnect.log"),
        timing: daemon::Timing::default(),
    }))
}

fn host_services(config: &Config) -> HostServices {
    let socket = config.control_socket();
    match InsidePath::new(socket.to_string_lossy()) {
        Ok(pv_ctrl) => HostServices { pv_ctrl },
        Err(error) => {
            tracing::warn!(socket = %socket.display(), %error, "containers cannot ask for the control socket");
            HostServices::default()
        }
    }
}

fn settings(config: &Config) -> Settings {
    Settings {
        state: config.state.clone(),
        run_dir: config.run_dir.clone(),
        audit_log: config.audit_log.clone(),
        cgroup_root: config.cgroup_root.clone(),
        xconnect: config.xconnect.clone(),
        stop_grace_secs: config.stop_grace.as_secs_f64(),
    }
}

fn directory(path: &std::path::Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Directory { path, source }
}

/// Tells the operator what happens to containers.
async fn report(mut events: broadcast::Receiver<Event>) {
    loop {
        match events.recv().await {
            Ok(Event::Started { name }) => tracing::info!(container = %name, "started"),
            Ok(Event::Exited { name, exit }) => tracing::info!(container = %name, %exit, "ended"),
            Ok(Event::RecoveryExhausted { name, reboot }) => {
                let asks = if reboot { ", and its manifest asks for a reboot of the host" } else { "" };
                tracing::error!(container = %name, "its retries are used up{asks}");
            }
            // Told where it is found out.
            Ok(Event::GroupTimeout { .. }) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}
