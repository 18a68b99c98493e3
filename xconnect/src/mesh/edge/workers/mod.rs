//! The threads that relay: each has its own epoll and moves the bytes of its connections itself.
//!
//! Not an async runtime: its generic readiness would cost a wake-up for every byte that a peer reads,
//! and the threads' ids belong to [`role`], so no code but ours may run on them.

mod clock;
mod event_loop;
mod inbox;
mod poller;
mod slots;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

pub(super) use clock::Clock;
pub(super) use event_loop::{Core, LATER, Timer};
pub(super) use inbox::{Command, Inbox};
pub(super) use poller::{Poller, Side, Token};
pub(super) use slots::{Key, Slot};

use super::unix::probe_fd_search;
use crate::mesh::inject::role;

/// More threads than these do not help: the kernel's copies are the work.
const THREADS_MAX: usize = 4;

/// Why the relay threads cannot start.
#[derive(Debug, thiserror::Error)]
pub enum WorkersError {
    /// epoll or eventfd.
    #[error("cannot make a relay thread's event queue")]
    Queue(#[source] io::Error),
    /// The thread itself.
    #[error("cannot start a relay thread")]
    Thread(#[source] io::Error),
    /// It may not act as other users.
    #[error("cannot prepare a relay thread for connecting as a role")]
    Role(#[source] io::Error),
    /// The socket pair for the trial.
    #[error("cannot try how the kernel shows descriptors in a queue")]
    Probe(#[source] io::Error),
}

/// The relay threads. Dropping them closes all they relay.
#[derive(Debug)]
pub struct Workers {
    inboxes: Arc<[Arc<Inbox>]>,
    next: AtomicUsize,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// As many threads as help on this machine: one a processor that we may use, at most 4.
    #[must_use]
    pub fn default_count() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX)
    }

    /// Starts `count` threads (at least one).
    ///
    /// # Errors
    /// [`WorkersError`]; no thread stays behind.
    pub fn start(count: usize) -> Result<Self, WorkersError> {
        let search = probe_fd_search().map_err(WorkersError::Probe)?;
        let inboxes: Result<Vec<_>, _> = (0..count.max(1)).map(|_| Inbox::new().map(Arc::new)).collect();
        let inboxes: Arc<[Arc<Inbox>]> = inboxes.map_err(WorkersError::Queue)?.into();
        let turn = Arc::new(AtomicUsize::new(0));
        let mut workers = Self { inboxes: inboxes.clone(), next: AtomicUsize::new(0), threads: Vec::new() };
        for index in 0..inboxes.len() {
            let core =
                Core::new(inboxes.clone(), index, turn.clone(), search).map_err(WorkersError::Queue)?;
            let (ready, prepared) = mpsc::sync_channel(1);
            let thread = std::thread::Builder::new()
                .name(format!("relay-{index}"))
                .spawn(move || {
                    let result = role::prepare_thread();
                    let go = result.is_ok();
                    if ready.send(result).is_ok() && go {
                        let guard = AbortOnPanic;
                        event_loop::run(core);
                        std::mem::forget(guard);
                    }
                })
                .map_err(WorkersError::Thread)?;
            workers.threads.push(thread);
            prepared
                .recv()
                .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
                .map_err(WorkersError::Role)?;
        }
        Ok(workers)
    }

    /// The thread that accepts for the next link.
    pub(super) fn home(&self) -> Arc<Inbox> {
        self.inboxes[self.next.fetch_add(1, Ordering::Relaxed) % self.inboxes.len()].clone()
    }

    pub(super) fn inboxes(&self) -> Arc<[Arc<Inbox>]> {
        self.inboxes.clone()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for inbox in self.inboxes.iter() {
            inbox.close();
        }
        for thread in self.threads.drain(..) {
            // A panic there has ended the process.
            let _ = thread.join();
        }
    }
}

/// A relay thread that is gone would leave its links hanging: better the whole process starts again.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        tracing::error!("a relay thread panicked");
        std::process::abort();
    }
}
