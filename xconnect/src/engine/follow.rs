//! From a change of the state directory to a revision that is in force, or refused.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::hub::{Hub, valid};
use super::state::{self, Watch};
use crate::manifest::Errors;

/// A state with errors is looked at again where something changes so soon: somebody is still writing.
const STILL_WRITING: Duration = Duration::from_millis(300);
/// Somebody who never stops writing is not waited for any longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Follows the state directory.
pub(super) struct Follower {
    hub: Arc<Hub>,
    watch: Watch,
}

impl Follower {
    /// # Errors
    /// No inotify instance can be had.
    pub(super) fn new(hub: Arc<Hub>) -> io::Result<Self> {
        let watch = Watch::new(hub.state_dir())?;
        Ok(Self { hub, watch })
    }

    /// Puts in force what the directory holds, or else what was applied last.
    pub(super) async fn first_look(mut self) -> Self {
        self.look().await;
        if !self.hub.resume() {
            tracing::warn!("no revision is in force: no container is started, stopped or taken over");
        }
        self
    }

    /// Follows until it is dropped; `reread` asks for a look without a change.
    pub(super) async fn run(mut self, mut reread: watch::Receiver<()>) {
        loop {
            tokio::select! {
                () = self.watch.changed() => {}
                asked = reread.changed() => if asked.is_err() { return },
            }
            self.look().await;
        }
    }

    async fn look(&mut self) {
        let patience = Instant::now() + PATIENCE;
        loop {
            self.watch.renew();
            let Err(errors) = self.apply().await else { return };
            let changed = timeout(STILL_WRITING, self.watch.changed()).await.is_ok();
            if !changed || Instant::now() >= patience {
                let hub = Arc::clone(&self.hub);
                return in_background(move || hub.refuse(&errors)).await;
            }
        }
    }

    /// Reads the directory and puts it in force.
    async fn apply(&self) -> Result<(), Errors> {
        let hub = Arc::clone(&self.hub);
        in_background(move || {
            let files = state::read(hub.state_dir())?;
            let revision = valid(&files)?;
            hub.apply(&files, revision);
            Ok(())
        })
        .await
    }
}

/// Does what waits for the disk on a thread of its own.
async fn in_background<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // A panic is this task's as well; otherwise the runtime is going down, and nobody waits.
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => std::future::pending().await,
        },
    }
}
