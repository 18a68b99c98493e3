//! Ending a container: politely, then by force.

use std::io;
use std::time::Duration;

use tokio::time::Instant;

use super::{Actor, Life, Next};
use crate::engine::container::{ContainerSpec, RuntimeSpec, State};
use crate::engine::runtime::{bundle, cgroup};
use crate::engine::shim;
use crate::sys::process;

/// How long a program may take to install its handlers. Before that a signal would be lost on it.
const CHILDHOOD: Duration = Duration::from_secs(1);

/// How often a program is looked at that has not installed its handlers yet.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl Actor {
    /// Asks the container to end, and remembers what follows.
    pub(super) async fn stop(&mut self, next: Next) {
        self.next = next;
        self.restart_at = None;
        // Decided by what runs, never by what is wanted by now: another runtime's process is not ours to
        // end, and nobody else ends ours.
        if !self.runs_ours() {
            return self.skip_to(next).await;
        }
        let first = self.state != State::Stopping || self.kill_at.is_none();
        self.set_state(State::Stopping);
        if first {
            self.kill_at = Some(Instant::now() + self.context.config.stop_grace);
        }
        self.ask();
    }

    /// Sends the signal that asks the first process to end. The kernel keeps signals without a handler
    /// from the first process of a PID namespace (pid_namespaces(7)), where anywhere else it would end by
    /// it: a program that has had the time to install one and did not is killed at once.
    pub(super) fn ask(&mut self) {
        self.ask_at = None;
        let Some(instance) = &self.instance else { return };
        let signal = self.record.stop_signal;
        let deaf = process::takes_default_action(instance.process.pid, signal);
        let young = self.started.is_some_and(|started| started.elapsed() < CHILDHOOD);
        if deaf && young && signal != libc::SIGKILL {
            self.ask_at = Some(Instant::now() + LOOK_AGAIN);
            return;
        }
        let signal = if deaf { libc::SIGKILL } else { signal };
        if let Err(error) = instance.signal(signal) {
            tracing::warn!(container = %self.spec.name, %error, "cannot signal the container");
        }
    }

    /// No process is there: what follows is due at once.
    async fn skip_to(&mut self, next: Next) {
        self.next = Next::Recover;
        match next {
            Next::Remove => self.remove(),
            Next::Restart => self.start().await,
            Next::Hold => self.set_state(self.waiting()),
            Next::Rest | Next::Recover => self.set_state(State::Stopped),
        }
    }

    /// The state of what waits for its turn, or for somebody else to run it.
    pub(super) fn waiting(&self) -> State {
        if self.spec.runtime == RuntimeSpec::External { State::Installed } else { State::Blocked }
    }

    /// The grace is over.
    pub(super) async fn escalate(&mut self) {
        self.kill_at = Some(Instant::now() + self.context.config.stop_grace);
        if let Some(instance) = &self.instance {
            tracing::warn!(container = %self.spec.name, "the container did not end in time: killing it");
            if let Err(error) = instance.signal(libc::SIGKILL) {
                tracing::warn!(container = %self.spec.name, %error, "cannot kill the container");
            }
            let folder = cgroup::folder(&self.context.config.cgroup_root, self.spec.name.as_str());
            self.blocking(move || cgroup::kill(&folder)).await;
        } else {
            tracing::warn!(container = %self.spec.name, "the container is still being made: giving it up");
            self.clean_up().await;
        }
    }

    /// Removes whatever a run left, where its shim did not.
    pub(super) async fn clean_up(&mut self) {
        let (dir, root) = (self.dir.clone(), self.context.config.cgroup_root.clone());
        let name = self.spec.name.to_string();
        self.blocking(move || shim::clean_up(&dir, &root, &name)).await;
    }

    async fn blocking(&mut self, work: impl FnOnce() -> io::Result<()> + Send + 'static) {
        let result = tokio::task::spawn_blocking(work).await;
        if let Err(error) = result.map_err(io::Error::other).and_then(|result| result) {
            tracing::warn!(container = %self.spec.name, %error, "cannot clean up after the container");
        }
    }

    /// Forgets the container; its log stays.
    pub(super) fn remove(&mut self) {
        self.life = Life::Removed;
        self.instance = None;
        self.registered = None;
        self.record = super::Record::default();
        self.recovery.reset();
        self.set_state(State::Installed);
        match std::fs::remove_dir_all(self.dir.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(container = %self.spec.name, %error, "cannot remove the container's records");
            }
            _ => {}
        }
    }
}

/// The signal that asks a container to end: its manifest's, its image's, SIGTERM.
pub(super) async fn stop_signal(spec: &ContainerSpec) -> i32 {
    let from_image = match &spec.runtime {
        RuntimeSpec::Bundle(path) if spec.stop_signal.is_none() => {
            let path = path.clone();
            tokio::task::spawn_blocking(move || bundle::stop_signal(&path)).await.ok().flatten()
        }
        _ => None,
    };
    spec.stop_signal.or(from_image).unwrap_or(libc::SIGTERM)
}
