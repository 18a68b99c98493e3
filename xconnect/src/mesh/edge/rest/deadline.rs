//! One timer for a connection, which is put off many times for each time that it fires.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// When a connection's wait is over.
#[derive(Default)]
pub(super) struct Deadline {
    at: Option<Instant>,
    /// Set to no later than `at`: it is moved when it fires, not whenever `at` is put off.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// The wait is over `after` from `now`; `None` or zero: never.
    pub(super) fn set(&mut self, now: Instant, after: Option<Duration>) {
        self.at = after.filter(|after| !after.is_zero()).and_then(|after| now.checked_add(after));
    }

    /// Ready when the wait is over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if at < timer.deadline() {
            timer.as_mut().reset(at);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if at <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(at);
        }
        Poll::Pending
    }
}
