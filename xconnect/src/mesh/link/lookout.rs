//! What a link that failed looks out for: a change around its target, so that an obstacle that goes away
//! is noticed at once and not when the back-off is over.

use std::sync::Arc;
use std::time::Duration;

use super::super::inject::{Container, Watch, Watcher};
use crate::ids::InsidePath;

/// First and longest wait between a change and the next try: our own tries, and a consumer that changes
/// something in a loop, cause changes as well.
const EAGER: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// A watch on a link's target, held while the link fails.
pub(super) struct Lookout {
    container: Arc<Container>,
    watch: Watch,
    wait: Duration,
}

impl Lookout {
    /// Fires a first time as soon as it is armed: what changed between the failure and that is not missed.
    pub(super) fn new(watcher: &Watcher, container: &Arc<Container>, target: &InsidePath) -> Self {
        let watch = watcher.watch(container, target);
        Self { container: Arc::clone(container), watch, wait: EAGER.0 }
    }

    pub(super) fn is_at(&self, container: &Arc<Container>) -> bool {
        Arc::ptr_eq(&self.container, container)
    }

    /// Waits until another try may go better, or is known not to.
    pub(super) async fn changed(&mut self) {
        tokio::select! {
            biased;
            () = self.container.exited() => return,
            () = self.watch.changed() => {}
        }
        let wait = self.wait;
        self.wait = (wait * 2).min(EAGER.1);
        tokio::time::sleep(wait).await;
    }
}
