//! The latest value of something, for one reader: what a watch channel does for many, in a fifth of its
//! memory. Every link has one.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// A value that is replaced now and then, and who waits for that.
#[derive(Debug)]
pub(super) struct Latest<T> {
    state: Mutex<State<T>>,
    changed: Notify,
}

#[derive(Debug)]
struct State<T> {
    value: T,
    /// The reader has not got it yet.
    news: bool,
}

impl<T: Clone> Latest<T> {
    /// A first value, which is news.
    pub(super) fn new(value: T) -> Self {
        Self { state: Mutex::new(State { value, news: true }), changed: Notify::new() }
    }

    /// Replaces the value.
    pub(super) fn set(&self, value: T) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = State { value, news: true };
        drop(state);
        self.changed.notify_one();
    }

    /// The value, which is no news from here on.
    pub(super) fn get(&self) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.news = false;
        state.value.clone()
    }

    /// Waits until there are news, which stay so until the reader gets them. Cancel-safe.
    pub(super) async fn changed(&self) {
        while !self.state.lock().unwrap_or_else(PoisonError::into_inner).news {
            // A change since the look above has left a permit.
            self.changed.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn news_are_the_last_value_and_told_once() {
        let latest = Arc::new(Latest::new(1));
        latest.changed().await;
        assert_eq!(latest.get(), 1);
        latest.set(2);
        latest.set(3);
        latest.changed().await;
        latest.changed().await;
        assert_eq!(latest.get(), 3);
        let setter = Arc::clone(&latest);
        let waits = async {
            tokio::select! {
                biased;
                () = latest.changed() => panic!("nothing new"),
                () = tokio::task::yield_now() => {}
            }
            tokio::join!(latest.changed(), async { setter.set(4) });
            latest.get()
        };
        assert_eq!(waits.await, 4);
    }
}
