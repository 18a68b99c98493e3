//! The task of one container: it alone changes the container's state, one event at a time.

mod adopt;
mod start;
mod stop;
mod view;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::Instant;

use super::instance::{Event as RunEvent, Instance};
use super::{Action, ContainerSpec, Exit, Record, Recovery, RuntimeSpec, State, StatusGoal, Step, decide};
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
    /// False if the task has ended.
    pub(crate) fn send(&self, command: Command) -> bool {
        let mut view = self.view();
        let sent = !view.gone && self.tx.send(command).is_ok();
        if sent {
            view.pending += 1;
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
    next: Next,
    kill_at: Option<Instant>,
    restart_at: Option<Instant>,
    /// When the present run began.
    started: Option<Instant>,
    /// When it arrived at its goal.
    goal_since: Option<Instant>,
    /// True once the engine leaves.
    leaving: bool,
}

/// What the task does after an event.
#[derive(PartialEq, Eq)]
enum Flow {
    Continue,
    /// The container is gone, or the engine leaves.
    End,
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
            next: Next::Recover,
            kill_at: None,
            restart_at: None,
            started: None,
            goal_since: None,
            leaving: false,
        };
        (actor, handle)
    }

    /// Runs the container until it is removed or the engine leaves.
    pub(crate) async fn run(mut self) {
        self.adopt().await;
        self.locked_view().adopted = true;
        self.publish();
        loop {
            let flow = tokio::select! {
                biased;
                event = run_event(&mut self.instance) => self.on_run_event(event).await,
                created = when_created(&mut self.starting) => self.on_created(created).await,
                command = self.rx.recv() => {
                    let flow = self.on_command(command.unwrap_or(Command::Leave)).await;
                    // Shown before it counts as done: who waits for it must not see the state before it.
                    self.publish();
                    self.locked_view().pending -= 1;
                    flow
                }
                () = at(self.kill_at) => self.escalate().await,
                () = at(self.restart_at) => {
                    self.restart_at = None;
                    self.start().await
                }
            };
            if flow == Flow::End && self.has_ended() {
                break;
            }
            self.publish();
        }
    }

    /// Says that the task has ended, unless somebody wanted something of it meanwhile. Under the lock
    /// that [`Handle::send`] takes, so that nothing is sent to a task that is gone.
    fn has_ended(&mut self) -> bool {
        let mut view = self.locked_view();
        if view.pending > 0 && !self.leaving {
            return false;
        }
        view.gone = true;
        drop(view);
        self.context.bump();
        true
    }

    async fn on_command(&mut self, command: Command) -> Flow {
        match command {
            Command::Turn => return self.on_turn().await,
            Command::Act(action) => return self.on_action(action).await,
            Command::Update(spec) => self.on_update(*spec).await,
            Command::Ready => self.on_ready(),
            Command::Register(process) => self.on_register(process),
            Command::Unregister => self.forget_external("unregistered"),
            Command::Remove => return self.stop(Next::Remove).await,
            Command::Leave => {
                self.leaving = true;
                return Flow::End;
            }
        }
        Flow::Continue
    }

    /// An operator's wish. Whether it is allowed was decided when it came in; the state may have moved
    /// on meanwhile, so it is looked at again.
    async fn on_action(&mut self, action: Action) -> Flow {
        let Ok(step) = decide(self.state, self.spec.restart_policy, action) else { return Flow::Continue };
        self.record.user_stopped = action == Action::Stop;
        if action != Action::Stop {
            self.recovery.reset();
        }
        self.save();
        match step {
            Step::Start => {
                self.restart_at = None;
                return self.start().await;
            }
            Step::Stop { restart } => {
                return self.stop(if restart { Next::Restart } else { Next::Rest }).await;
            }
            Step::AfterStop { restart } if self.next != Next::Remove => {
                self.next = if restart { Next::Restart } else { Next::Rest };
            }
            Step::Rest => {
                self.restart_at = None;
                self.set_state(State::Stopped);
            }
            Step::AfterStop { .. } | Step::Nothing => {}
        }
        Flow::Continue
    }

    async fn on_turn(&mut self) -> Flow {
        let external = self.spec.runtime == RuntimeSpec::External;
        match self.state {
            _ if external => Flow::Continue,
            State::None | State::Installed | State::Blocked
                if self.spec.status_goal == StatusGoal::Mounted =>
            {
                self.set_state(State::Mounted);
                Flow::Continue
            }
            State::None | State::Installed | State::Blocked => self.start().await,
            State::Stopping if self.next == Next::Hold => {
                self.next = Next::Restart;
                Flow::Continue
            }
            _ => Flow::Continue,
        }
    }

    /// The container is wanted differently: at once where that is possible, else by a new run.
    async fn on_update(&mut self, spec: ContainerSpec) {
        let same = spec.run_hash() == self.spec.run_hash();
        let was_external = self.spec.runtime == RuntimeSpec::External;
        self.recovery.policy = spec.recovery;
        self.spec = spec;
        self.locked_view().spec = self.spec.clone();
        if same {
            let removed = self.next == Next::Remove;
            self.next = if removed { Next::Hold } else { self.next };
            // What is only mounted waits for its turn where more is wanted of it.
            let more = self.state == State::Mounted && self.spec.status_goal != StatusGoal::Mounted;
            self.set_state(if more { State::Blocked } else { self.state });
            return;
        }
        self.recovery.reset();
        self.record.user_stopped = false;
        self.restart_at = None;
        self.save();
        if was_external {
            self.forget_external("no longer run by another runtime");
        }
        // Without a run this waits for its turn at once.
        let _ = self.stop(Next::Hold).await;
    }

    /// Counts also before its start was told of: the program may be quicker than its shim's report.
    fn on_ready(&mut self) {
        if self.spec.status_goal != StatusGoal::Ready
            || !matches!(self.state, State::Starting | State::Started)
        {
            return;
        }
        self.record.ready = true;
        self.save();
        if self.state == State::Started {
            self.set_state(State::Ready);
        }
    }
    async fn on_run_event(&mut self, event: RunEvent) -> Flow {
        match event {
            RunEvent::InitGone => {
                // Nobody can be reached there any more, though the run is not cleaned up yet.
                self.kill_at = None;
                self.set_state(State::Stopping);
                Flow::Continue
            }
            RunEvent::ShimGone => {
                tracing::warn!(container = %self.spec.name, "its shim was killed: its output and exit status are lost");
                self.reason = Some("its shim was killed; its exit status will not be known".to_owned());
                Flow::Continue
            }
            RunEvent::Over | RunEvent::OverAlone => {
                let Some(instance) = self.instance.take() else { return Flow::Continue };
                if self.spec.runtime == RuntimeSpec::External || self.record.external.is_some() {
                    self.forget_external("its process ended");
                    return Flow::Continue;
                }
                let (exit, time) = self.learn_exit(&instance.id);
                if event == RunEvent::OverAlone || exit == Exit::Unknown {
                    self.clean_up().await;
                }
                // Last: cleaning up may be what ended the shim.
                instance.finish();
                self.on_exit(exit, time).await
            }
        }
    }

    fn on_register(&mut self, process: ProcessId) {
        let Some(start) = process.start else { return };
        match Instance::open(String::new(), process.pid, start, None) {
            Ok(instance) => {
                self.record.external = Some((process.pid, start));
                self.record.ready = false;
                self.save();
                self.reason = None;
                self.begin_run(instance);
                self.context.report(Event::Started { name: self.spec.name.clone() });
            }
            Err(error) => self.reason = Some(format!("registered process {}: {error}", process.pid)),
        }
    }

    /// Somebody else's container is gone, or is not ours to look at any more.
    fn forget_external(&mut self, why: &str) {
        self.instance = None;
        self.record.external = None;
        self.record.last_exit = Some((Exit::Unknown, SystemTime::now()));
        self.save();
        self.reason = Some(why.to_owned());
        self.started = None;
        self.set_state(State::Stopped);
        self.context.report(Event::Exited { name: self.spec.name.clone(), exit: Exit::Unknown });
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
