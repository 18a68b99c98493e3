//! The containers that links have to do with: each is opened once and shared while a link needs it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OnceCell;

use super::inject::{self, Container};
use crate::graph::{Presence, ProcessId};

/// What opening yields, for everyone who asked for it at the same time.
type Opening = Arc<OnceCell<Weak<Container>>>;

/// Containers by process.
#[derive(Debug, Default)]
pub(super) struct Containers {
    open: Mutex<HashMap<ProcessId, Opening>>,
    host: Mutex<Weak<Container>>,
}

impl Containers {
    /// The container of a present end; `None` where it is not running.
    ///
    /// # Errors
    /// [`inject::Error`] where the process is gone, is another than expected, or cannot be looked into.
    pub(super) async fn get(&self, presence: Presence) -> Result<Option<Arc<Container>>, inject::Error> {
        match presence {
            Presence::NotRunning => Ok(None),
            Presence::Host => self.host().map(Some),
            Presence::Running(process) => self.running(process).await.map(Some),
        }
    }

    fn host(&self) -> Result<Arc<Container>, inject::Error> {
        let mut slot = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = slot.upgrade() {
            return Ok(host);
        }
        let host = Container::host()?;
        *slot = Arc::downgrade(&host);
        Ok(host)
    }

    async fn running(&self, process: ProcessId) -> Result<Arc<Container>, inject::Error> {
        loop {
            let opening = {
                let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
                Arc::clone(open.entry(process).or_default())
            };
            let mut opened = None;
            let weak = opening
                .get_or_try_init(|| async {
                    let container = Container::open(process).await?;
                    let weak = Arc::downgrade(&container);
                    opened = Some(container);
                    Ok::<_, inject::Error>(weak)
                })
                .await?;
            // `opened` keeps the container alive until here for the one who opened it.
            if let Some(container) = opened.take().or_else(|| weak.upgrade()) {
                return Ok(container);
            }
            self.forget(process, &opening);
        }
    }

    /// Takes out an entry whose container nobody holds any more, unless it was replaced meanwhile.
    fn forget(&self, process: ProcessId, stale: &Opening) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.get(&process).is_some_and(|entry| Arc::ptr_eq(entry, stale)) {
            open.remove(&process);
        }
    }

    /// Drops the entries of containers that no link holds any more.
    pub(super) fn prune(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, opening| match opening.get() {
            Some(container) => container.strong_count() > 0,
            None => Arc::strong_count(opening) > 1,
        });
    }
}
