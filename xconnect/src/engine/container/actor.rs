//! The task of one container: it alone changes the container's state, one event at a time.

mod adopt;
mod command;
mod external;
mod start;
mod stop;
#[cfg(test)]
mod tests;
mod view;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::Instant;

use super::instance::{Event as RunEvent, Instance};
use super::{Action, ContainerSpec, Exit, Record, Recovery, State};
use crate::engine::runtime::files::ContainerDir;
use crate::engine::supervisor::{Config, Event};
use crate::graph::ProcessId;

pub(crate) use view::{View, mount_namespace};

/// What all containers share.
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) changed: watch::Sender<u64>,
    pub(crate) events: broadcast::Sender<Event>,
}

impl Context {
    pub(crate) fn bump(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    pub(crate) fn report(&self, event: Event) {
        // Nobody listening is fine.
        let _ = self.events.send(event);
    }
}

/// What a container is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// It is its group's turn.
    Turn,
    /// An operator's wish, which was allowed.
    Act(Action),
    /// It is wanted like this.
    Update(Box<ContainerSpec>),
    /// It said that it is ready.
    Ready,
    /// Somebody else runs it, as this process.
    Register(ProcessId),
    /// Somebody else no longer runs it.
    Unregister,
    /// It is not wanted any more.
    Remove,
    /// The engine ends, and the container runs on.
    Leave,
}

/// How to reach the task of a container.
#[derive(Clone)]
pub(crate) struct Handle {
    tx: mpsc::UnboundedSender<Command>,
    view: Arc<Mutex<View>>,
}

impl Handle {
    /// False if the task has ended. How the container is wanted can be seen at once.
    pub(crate) fn send(&self, command: Command) -> bool {
        let mut view = self.view();
        let wanted = match &command {
            Command::Update(spec) => Some(spec.as_ref().clone()),
            _ => None,
        };
        let sent = !view.gone && self.tx.send(command).is_ok();
        if sent {
            view.pending += 1;
            if let Some(wanted) = wanted {
                view.spec = wanted;
            }
        }
        sent
    }

    pub(crate) fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What follows when the present run is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// What the recovery policy says.
    Recover,
    /// It stays stopped.
    Rest,
    /// It is started again.
    Restart,
    /// It waits for its turn.
    Hold,
    /// The task ends, and leaves nothing behind.
    Remove,
}

/// Whether the task goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// It looks after its container.
    Serving,
    /// The container is removed: the task ends, unless somebody wants the container again.
    Removed,
    /// The engine leaves, and the container runs on.
    Leaving,
}

type Created = Result<Instance, String>;

/// The task's own state.
pub(crate) struct Actor {
    context: Arc<Context>,
    dir: ContainerDir,
    spec: ContainerSpec,
    view: Arc<Mutex<View>>,
    rx: mpsc::UnboundedReceiver<Command>,
    record: Record,
    recovery: Recovery,
    state: State,
    reason: Option<String>,
    starting: Option<Pin<Box<dyn Future<Output = Created> + Send>>>,
    instance: Option<Instance>,
    /// Another runtime's process, which is watched as soon as ours is gone.
    registered: Option<ProcessId>,
    next: Next,
    /// When the container is asked to end, where it could not hear it yet.
    ask_at: Option<Instant>,
    kill_at: Option<Instant>,
    restart_at: Option<Instant>,
    /// When the present run began.
    started: Option<Instant>,
    /// When it arrived at its goal.
    goal_since: Option<Instant>,
    life: Life,
}

impl Actor {
    pub(crate) fn new(context: Arc<Context>, spec: ContainerSpec) -> (Self, Handle) {
        let (tx, rx) = mpsc::unbounded_channel();
        let dir = context.config.container_dir(&spec.name);
        let view = Arc::new(Mutex::new(View::new(spec.clone())));
        let handle = Handle { tx, view: Arc::clone(&view) };
        let recovery = Recovery::new(spec.recovery);
        let actor = Self {
            context,
            dir,
            spec,
            view,
            rx,
            record: Record::default(),
            recovery,
            state: State::Installed,
            reason: None,
            starting: None,
            instance: None,
            registered: None,
            next: Next::Recover,
            ask_at: None,
            kill_at: None,
            restart_at: None,
            started: None,
            goal_since: None,
            life: Life::Serving,
        };
        (actor, handle)
    }

    /// Runs the container until it is removed or the engine leaves.
    pub(crate) async fn run(mut self) {
        self.adopt().await;
        self.locked_view().adopted = true;
        self.publish();
        loop {
            tokio::select! {
                biased;
                event = run_event(&mut self.instance) => self.on_run_event(event).await,
                created = when_created(&mut self.starting) => self.on_created(created).await,
                command = self.rx.recv() => match command {
                    Some(command) => {
                        self.on_command(command).await;
                        // Shown before it counts as done: who waits for it must not see the state before it.
                        self.publish();
                        self.locked_view().pending -= 1;
                    }
                    // Nobody is left to want anything.
                    None => self.life = Life::Leaving,
                },
                () = at(self.ask_at) => self.ask(),
                () = at(self.kill_at) => self.escalate().await,
                () = at(self.restart_at) => {
                    self.restart_at = None;
                    self.start().await;
                }
            }
            // After every event: what was wanted of a removed container meanwhile may have been nothing.
            if self.life != Life::Serving && self.has_ended() {
                break;
            }
            self.publish();
        }
    }

    /// Says that the task has ended, unless somebody wanted something of it meanwhile. Under the lock
    /// that [`Handle::send`] takes, so that nothing is sent to a task that is gone.
    fn has_ended(&mut self) -> bool {
        let mut view = self.locked_view();
        if view.pending > 0 && self.life != Life::Leaving {
            return false;
        }
        view.gone = true;
        drop(view);
        self.context.bump();
        true
    }

    async fn on_run_event(&mut self, event: RunEvent) {
        match event {
            RunEvent::InitGone => {
                // Nobody can be reached there any more, though the run is not cleaned up yet.
                self.ask_at = None;
                self.kill_at = None;
                self.set_state(State::Stopping);
            }
            RunEvent::ShimGone => {
                tracing::warn!(container = %self.spec.name, "its shim was killed: its output and exit status are lost");
                self.reason = Some("its shim was killed; its exit status will not be known".to_owned());
            }
            RunEvent::Over | RunEvent::OverAlone => {
                let Some(instance) = self.instance.take() else { return };
                if self.record.external.is_some() {
                    return self.forget_external("its process ended");
                }
                let (exit, time) = self.learn_exit(&instance.id);
                if event == RunEvent::OverAlone || exit == Exit::Unknown {
                    self.clean_up().await;
                }
                // Last: cleaning up may be what ended the shim.
                instance.finish();
                self.on_exit(exit, time).await;
            }
        }
    }
}

async fn run_event(instance: &mut Option<Instance>) -> RunEvent {
    match instance {
        Some(instance) => instance.event().await,
        None => std::future::pending().await,
    }
}

async fn when_created(starting: &mut Option<Pin<Box<dyn Future<Output = Created> + Send>>>) -> Created {
    let Some(future) = starting else { return std::future::pending().await };
    let created = future.await;
    *starting = None;
    created
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
