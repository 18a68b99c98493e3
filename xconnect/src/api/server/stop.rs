//! A channel that can only close: whoever holds the handle stops everything that holds a signal.

use tokio::sync::watch;

/// Dropping it (or calling [`StopHandle::stop`]) stops.
#[derive(Debug)]
pub struct StopHandle(watch::Sender<()>);

/// Resolves when the handle is gone.
#[derive(Debug, Clone)]
pub struct StopSignal(watch::Receiver<()>);

/// Makes a pair.
#[must_use]
pub fn stop_channel() -> (StopHandle, StopSignal) {
    let (sender, receiver) = watch::channel(());
    (StopHandle(sender), StopSignal(receiver))
}

impl StopHandle {
    /// Stops.
    pub fn stop(self) {
        drop(self.0);
    }
}

impl StopSignal {
    /// Waits until it is time to stop; cancel-safe.
    pub async fn stopped(&mut self) {
        while self.0.changed().await.is_ok() {}
    }

    /// True when it is time to stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.has_changed().is_err()
    }
}
