//! The engine as a narrative: be the only one, take over what runs, then serve and follow, end in order.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use super::audit::{AuditError, AuditLog};
use super::config::Config;
use super::control::{self, Caller, Callers, Control, Links, Settings};
use super::daemon::{self, Daemon};
use super::fdstore::FdStore;
use super::follow::Follower;
use super::hub::{self, Hub, restore_registered};
use super::supervisor::{self, Event, StopContainers, Supervisor};
use crate::api::server::{self, BindError, Bound, Limits, Peer, StopHandle, stop_channel};
use crate::graph::HostServices;
use crate::ids::InsidePath;
use crate::instance::{InstanceLock, LockError};

/// Containers signal through it, whoever they are on the host: who may do what is decided by peer.
const CONTROL_MODE: u32 = 0o666;
/// Only pv-xconnect connects to the control socket for links.
const LINKS_MODE: u32 = 0o600;
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
    #[error(transparent)]
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
    /// Our own namespaces cannot be looked at.
    #[error("cannot look at the own mount namespace (is /proc mounted?)")]
    Namespace(#[source] io::Error),
    /// A part of the engine does not work any more.
    #[error("{part} has failed; containers and links go on, and the next engine takes them over")]
    Part {
        /// Which one.
        part: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What the operator asks of a running engine.
#[derive(Debug, Clone)]
pub struct Asked {
    /// True: end containers, then the mesh, then this program.
    pub stop: watch::Receiver<bool>,
    /// A new value: look at the state directory again.
    pub reread: watch::Receiver<()>,
}

/// Tasks for the engine's life; one that ends has failed.
type Parts = JoinSet<Error>;

/// Runs the engine until it is asked to stop.
///
/// # Errors
/// Where it cannot start, or a part of it fails; other trouble is logged, shown and retried.
pub async fn run(config: Config, asked: Asked) -> Result<(), Error> {
    let config = config.clone().absolute().map_err(directory(&config.run_dir))?;
    fs::read_dir(&config.state).map_err(directory(&config.state))?;
    for made in [&config.logs(), &config.data_dir] {
        fs::create_dir_all(made).map_err(directory(made))?;
    }
    let _lock = InstanceLock::acquire(&config.lock())?;
    // Before any container is touched: where a socket cannot be had, everything stays as it is.
    let sockets = Sockets::bind(&config)?;
    let audit = AuditLog::open(&config.audit_log())?;
    let supervisor = Supervisor::start(supervisor::Config {
        cgroup_root: config.cgroup_root.clone(),
        stop_grace: config.stop_grace,
        ..supervisor::Config::new(&config.run_dir)
    })?;
    let hub = Arc::new(Hub::new(hub::Setup {
        state_dir: config.state.clone(),
        data_dir: config.data_dir.clone(),
        registry: config.run_dir.join("registered.json"),
        host: host_services(&config),
        supervisor: supervisor.clone(),
        audit,
    }));
    let engine = Engine { config, hub, supervisor, parts: JoinSet::new() };
    engine.run(sockets, asked).await
}

/// All that has to be bound.
struct Sockets {
    control: Bound,
    links: Bound,
    fdstore: FdStore,
}

impl Sockets {
    fn bind(config: &Config) -> Result<Self, BindError> {
        let bind = |path: &Path, mode| Bound::new(path, rustix::net::SocketType::STREAM, mode);
        let control = bind(&config.control_socket(), CONTROL_MODE)?;
        let links = bind(&config.links_socket(), LINKS_MODE)?;
        Ok(Self { control, links, fdstore: FdStore::bind(&config.fdstore())? })
    }
}

struct Engine {
    config: Config,
    hub: Arc<Hub>,
    supervisor: Supervisor,
    parts: Parts,
}

impl Engine {
    async fn run(mut self, sockets: Sockets, mut asked: Asked) -> Result<(), Error> {
        self.part("the report of containers", report(self.supervisor.events()));
        let taken = tokio::select! {
            biased;
            _ = asked.stop.wait_for(|stop| *stop) => None,
            taken = self.take_over() => Some(taken?),
        };
        let Some(follower) = taken else {
            self.supervisor.shutdown(StopContainers::Yes).await;
            return Ok(());
        };
        let following = Arc::clone(&self.hub);
        self.part("following the containers", async move { following.follow_containers().await });
        let mut follower_task = JoinSet::new();
        follower_task.spawn(follower.run(asked.reread));
        let mesh = self.start_mesh();
        let stop_serving = self.serve(sockets, mesh.clone())?;
        tracing::info!(socket = %self.config.control_socket().display(), "ready");

        let failed = tokio::select! {
            biased;
            _ = asked.stop.wait_for(|stop| *stop) => None,
            failed = self.parts.join_next() => failed.map(failure),
            // It never ends by itself.
            ended = follower_task.join_next() => ended.and_then(Result::err).map(|e| part_failed("following the state directory", e)),
        };
        // Nothing is to be wanted of containers any more that are about to be stopped.
        follower_task.shutdown().await;
        if let Some(error) = failed {
            self.supervisor.shutdown(StopContainers::Leave).await;
            return Err(error);
        }
        // Containers first: the mesh carries what they say to each other until the last of them is gone.
        tracing::info!("stopping containers");
        self.supervisor.shutdown(StopContainers::Yes).await;
        if let Some(mesh) = mesh {
            tracing::info!("stopping pv-xconnect");
            mesh.end().await;
        }
        stop_serving.stop();
        let grace = Limits::default().stop_grace + Duration::from_secs(1);
        // The control socket's part ends first, by itself; others are ended with the set.
        let _ = tokio::time::timeout(grace, self.parts.join_next()).await;
        Ok(())
    }

    /// Takes over whatever a former engine left, before anybody sees a graph: a mesh that runs on would
    /// cut the links of containers that seem not to run.
    async fn take_over(&self) -> Result<Follower, Error> {
        restore_registered(&self.hub);
        let follower = Follower::new(Arc::clone(&self.hub)).map_err(Error::Watch)?;
        let follower = follower.first_look().await;
        if tokio::time::timeout(ADOPTION, self.supervisor.adopted()).await.is_err() {
            tracing::warn!("some containers of a former engine are still being taken over");
        }
        Ok(follower)
    }

    fn start_mesh(&mut self) -> Option<Daemon> {
        let (mesh, manager) = mesh(&self.config)?;
        self.parts.spawn(async move {
            manager.run().await;
            // Only after the engine has asked it to end.
            std::future::pending().await
        });
        Some(mesh)
    }

    fn serve(&mut self, sockets: Sockets, mesh: Option<Daemon>) -> Result<StopHandle, Error> {
        let callers =
            Callers::new(Arc::clone(&self.hub), self.config.mesh_lock()).map_err(Error::Namespace)?;
        let callers = Arc::new(callers);
        let judge = Arc::clone(&callers);
        let admit = move |peer: &Peer| matches!(judge.of(peer), Caller::Mesh | Caller::Host);
        let store = sockets.fdstore.run(admit);
        self.parts.spawn(async move { part_failed("the fd store", ended(store.await)) });
        let control = Arc::new(Control::new(control::Setup {
            hub: Arc::clone(&self.hub),
            callers,
            daemons: mesh.into_iter().collect(),
            mesh_socket: self.config.mesh_socket(),
            settings: settings(&self.config),
        }));
        let (stop, stopped) = stop_channel();
        let links = Arc::new(Links(Arc::clone(&control)));
        let links = server::serve(sockets.links, links, Limits::default(), stopped.clone());
        let control = server::serve(sockets.control, control, Limits::default(), stopped);
        self.parts.spawn(async move {
            let served = tokio::try_join!(control, links);
            part_failed("the control socket", ended(served.map(|_| ())))
        });
        Ok(stop)
    }

    fn part(&mut self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        self.parts.spawn(async move {
            work.await;
            part_failed(name, ended(Ok(())))
        });
    }
}

fn part_failed(part: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Part { part, source: source.into() }
}

/// Why a part that should never end has ended.
fn ended(result: io::Result<()>) -> io::Error {
    result.err().unwrap_or_else(|| io::Error::other("it has ended"))
}

/// The end of a part, by itself or by a panic.
fn failure(ended: Result<Error, tokio::task::JoinError>) -> Error {
    ended.unwrap_or_else(|panic| part_failed("a part of the engine", panic))
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
    let socket = config.links_socket();
    match InsidePath::new(socket.to_string_lossy()) {
        Ok(pv_ctrl_links) => HostServices { pv_ctrl_links },
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
        data_dir: config.data_dir.clone(),
        cgroup_root: config.cgroup_root.clone(),
        xconnect: config.xconnect.clone(),
        stop_grace_secs: config.stop_grace.as_secs_f64(),
    }
}

fn directory(path: &Path) -> impl FnOnce(io::Error) -> Error {
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
