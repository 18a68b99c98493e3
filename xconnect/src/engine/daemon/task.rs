//! The loop of a managed daemon's manager.

use std::io;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::process::Running;
use super::{Command, Spec, Status};
use crate::api::types::ActionName;
use crate::instance;

pub(super) struct Task {
    spec: Spec,
    commands: mpsc::Receiver<Command>,
    status: watch::Sender<Status>,
    delay: Duration,
}

enum State {
    Running(Running, Instant),
    /// Until when to wait before the next start.
    Waiting(Instant),
    Stopped,
}

enum Next {
    Exited(String),
    Due,
    Command(Option<Command>),
}

impl Task {
    pub(super) fn new(spec: Spec, commands: mpsc::Receiver<Command>, status: watch::Sender<Status>) -> Self {
        let delay = spec.timing.first_delay;
        Self { spec, commands, status, delay }
    }

    pub(super) async fn run(mut self) {
        let mut state = self.start().unwrap_or_else(|_| self.back_off());
        loop {
            self.publish(&state);
            let next = {
                let change = async {
                    match &mut state {
                        State::Running(running, _) => Next::Exited(running.exited().await),
                        State::Waiting(until) => {
                            tokio::time::sleep_until(*until).await;
                            Next::Due
                        }
                        State::Stopped => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    command = self.commands.recv() => Next::Command(command),
                    next = change => next,
                }
            };
            state = match next {
                Next::Exited(how) => self.exited(&state, &how),
                Next::Due => self.start().unwrap_or_else(|_| self.back_off()),
                Next::Command(Some(Command::Act(action, reply))) => {
                    let (state, result) = self.act(action, state).await;
                    self.publish(&state);
                    // The caller may have gone; the action stays done.
                    let _ = reply.send(result);
                    state
                }
                Next::Command(Some(Command::End(reply))) => {
                    self.publish(&self.stop(state).await);
                    let _ = reply.send(());
                    return;
                }
                Next::Command(None) => return,
            };
        }
    }

    fn publish(&self, state: &State) {
        let pid = match state {
            State::Running(running, _) => Some(running.pid),
            State::Waiting(_) | State::Stopped => None,
        };
        self.status.send_replace(Status { pid, respawn: !matches!(state, State::Stopped) });
    }

    /// Adopts the one that runs, else starts one. The failure is logged here.
    fn start(&self) -> io::Result<State> {
        let name = &self.spec.name;
        let started = match instance::find_holder(&self.spec.lock) {
            Ok(Some(holder)) => Running::adopt(holder).inspect(|running| {
                tracing::info!(daemon = name, pid = running.pid, "adopted a running daemon");
            }),
            Ok(None) => Running::spawn(&self.spec).inspect(|running| {
                tracing::info!(daemon = name, pid = running.pid, log = %self.spec.log.display(), "started");
            }),
            Err(error) => Err(error),
        };
        started
            .map(|running| State::Running(running, Instant::now()))
            .inspect_err(|error| tracing::error!(daemon = name, program = %self.spec.program.display(), %error, "cannot start"))
    }

    fn exited(&mut self, state: &State, how: &str) -> State {
        if let State::Running(running, since) = state {
            tracing::warn!(daemon = self.spec.name, pid = running.pid, how, "daemon ended");
            if since.elapsed() >= self.spec.timing.stable_after {
                self.delay = self.spec.timing.first_delay;
            }
        }
        self.back_off()
    }

    fn back_off(&mut self) -> State {
        let until = Instant::now() + self.delay;
        self.delay = (self.delay * 2).min(self.spec.timing.max_delay);
        State::Waiting(until)
    }

    async fn act(&mut self, action: ActionName, state: State) -> (State, io::Result<()>) {
        let state = match (action, state) {
            (ActionName::Start, state @ State::Running(..)) => return (state, Ok(())),
            (ActionName::Start, _) => State::Stopped,
            (ActionName::Stop, state) => return (self.stop(state).await, Ok(())),
            (ActionName::Restart, state) => self.stop(state).await,
        };
        debug_assert!(matches!(state, State::Stopped));
        self.delay = self.spec.timing.first_delay;
        match self.start() {
            Ok(state) => (state, Ok(())),
            Err(error) => (self.back_off(), Err(error)),
        }
    }

    async fn stop(&self, state: State) -> State {
        let State::Running(mut running, _) = state else { return State::Stopped };
        let name = &self.spec.name;
        let pid = running.pid;
        if let Err(error) = running.signal(libc::SIGTERM) {
            tracing::warn!(daemon = name, pid, %error, "cannot signal");
        }
        match tokio::time::timeout(self.spec.timing.stop_grace, running.exited()).await {
            Ok(how) => tracing::info!(daemon = name, pid, how, "stopped"),
            Err(_elapsed) => {
                tracing::warn!(daemon = name, pid, "did not end in time: killed");
                if let Err(error) = running.signal(libc::SIGKILL) {
                    tracing::warn!(daemon = name, pid, %error, "cannot kill");
                }
                running.exited().await;
            }
        }
        State::Stopped
    }
}
