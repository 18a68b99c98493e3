//! A managed daemon: started, adopted, watched, started again with back-off, stopped over the API.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::api::types;
use crate::api::types::ActionName;

mod process;
mod task;

/// What to run, and by what it is known to run.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    /// Its name in the API.
    pub(crate) name: String,
    /// The program.
    pub(crate) program: PathBuf,
    /// Its arguments.
    pub(crate) args: Vec<OsString>,
    /// The file that it locks for life (`PID START\n`).
    pub(crate) lock: PathBuf,
    /// Where its standard error goes.
    pub(crate) log: PathBuf,
    /// Times.
    pub(crate) timing: Timing,
}

/// Times of a managed daemon.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// Wait before the second start; doubles up to `max_delay`.
    pub(crate) first_delay: Duration,
    /// Longest wait.
    pub(crate) max_delay: Duration,
    /// Running so long, the wait starts anew.
    pub(crate) stable_after: Duration,
    /// From SIGTERM to SIGKILL.
    pub(crate) stop_grace: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            first_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(10),
            stable_after: Duration::from_secs(10),
            stop_grace: Duration::from_secs(10),
        }
    }
}

enum Command {
    Act(ActionName, oneshot::Sender<io::Result<()>>),
    End(oneshot::Sender<()>),
}

#[derive(Debug, Clone, Copy)]
struct Status {
    pid: Option<u32>,
    respawn: bool,
}

/// A handle of a managed daemon.
#[derive(Debug, Clone)]
pub(crate) struct Daemon {
    name: String,
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<Status>,
}

/// The task that manages it; must be driven by the caller.
pub(crate) struct Manager(task::Task);

/// Makes a daemon's handle and the task that adopts or starts it.
#[must_use]
pub(crate) fn manage(spec: Spec) -> (Daemon, Manager) {
    let (commands, receiver) = mpsc::channel(8);
    let (sender, status) = watch::channel(Status { pid: None, respawn: true });
    let daemon = Daemon { name: spec.name.clone(), commands, status };
    (daemon, Manager(task::Task::new(spec, receiver, sender)))
}

impl Manager {
    /// Runs until [`Daemon::end`].
    pub(crate) async fn run(self) {
        self.0.run().await;
    }
}

impl Daemon {
    /// Its name.
    #[must_use]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its state.
    #[must_use]
    pub(crate) fn status(&self) -> types::Daemon {
        let status = *self.status.borrow();
        types::Daemon {
            name: self.name.clone(),
            pid: status.pid.map_or(-1, i64::from),
            respawn: status.respawn,
        }
    }

    /// Starts, stops or restarts it; stopping answers when it is gone.
    ///
    /// # Errors
    /// It cannot be started, or its manager ended.
    pub(crate) async fn act(&self, action: ActionName) -> io::Result<()> {
        let (reply, answer) = oneshot::channel();
        let ended = |_| io::Error::other("the manager of the daemon ended");
        self.commands.send(Command::Act(action, reply)).await.map_err(|_| ended(()))?;
        answer.await.map_err(|_| ended(()))?
    }

    /// Stops it for good; returns when it is gone.
    pub(crate) async fn end(&self) {
        let (reply, done) = oneshot::channel();
        if self.commands.send(Command::End(reply)).await.is_ok() {
            // An error means that the task is gone already, which is what was asked for.
            let _ = done.await;
        }
    }
}
