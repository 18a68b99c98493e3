//! From a change of the state directory to a revision that is in force, or refused.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::hub::{Hub, valid};
use super::state::{self, Files, Watch};
use crate::manifest::{Error, Errors, Revision};

/// A state with errors is looked at again where something changes so soon: somebody is still writing.
const STILL_WRITING: Duration = Duration::from_millis(300);

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
        loop {
            self.watch.renew();
            match self.read().await {
                Ok((files, revision)) => return self.hub.apply(&files, revision),
                Err(errors) => {
                    if timeout(STILL_WRITING, self.watch.changed()).await.is_err() {
                        return self.hub.refuse(&errors);
                    }
                }
            }
        }
    }

    async fn read(&self) -> Result<(Files, Revision), Errors> {
        let dir = self.hub.state_dir().to_owned();
        let read = move || {
            let files = state::read(&dir)?;
            let revision = valid(&files)?;
            Ok((files, revision))
        };
        let failed = |error| Err(Errors(vec![Error::new("", "", format_args!("cannot be read: {error}"))]));
        tokio::task::spawn_blocking(read).await.unwrap_or_else(failed)
    }
}
