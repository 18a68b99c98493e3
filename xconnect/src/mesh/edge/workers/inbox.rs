//! What other threads ask of a worker.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::EventfdFlags;
use tokio::sync::oneshot;

use super::Key;
use crate::mesh::edge::unix::{LinkState, Relay};
use crate::mesh::inject::ProviderSocket;

/// A request. Links are named by a number that is never used again in this process.
pub(in crate::mesh::edge) enum Command {
    /// Accept for this link.
    Open(Box<LinkState>),
    /// The provider's socket has changed.
    Provider { link: u64, socket: Option<Arc<ProviderSocket>> },
    /// A connect that had to wait for the provider's backlog is over.
    Connected { link: u64, consumer: Key, result: io::Result<OwnedFd> },
    /// Relay this connection.
    Adopt(Box<Relay>),
    /// Accept no more for this link. The sender is dropped when that is so.
    StopAccepting { link: u64, done: oneshot::Sender<()> },
    /// Close all of this link. The sender is dropped when that is so.
    Cut { link: u64, done: oneshot::Sender<()> },
}

#[derive(Default)]
struct State {
    commands: Vec<Command>,
    closed: bool,
}

/// A worker's letter box.
pub(in crate::mesh::edge) struct Inbox {
    state: Mutex<State>,
    bell: OwnedFd,
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}

impl Inbox {
    pub(super) fn new() -> io::Result<Self> {
        let bell = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { state: Mutex::default(), bell })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a command; dropped at once where the worker has ended.
    pub(in crate::mesh::edge) fn post(&self, command: Command) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        let ring = state.commands.is_empty();
        state.commands.push(command);
        drop(state);
        if ring {
            self.ring();
        }
    }

    /// Ends the worker.
    pub(super) fn close(&self) {
        let commands = {
            let mut state = self.lock();
            state.closed = true;
            std::mem::take(&mut state.commands)
        };
        drop(commands);
        self.ring();
    }

    fn ring(&self) {
        // It can only fail when the counter is full: then the bell is ringing already.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    /// Takes all commands; `None`: end.
    pub(super) fn take(&self) -> Option<Vec<Command>> {
        // Silence first: a command left from here on rings again.
        let _ = rustix::io::read(&self.bell, &mut [0_u8; 8]);
        let mut state = self.lock();
        (!state.closed).then(|| std::mem::take(&mut state.commands))
    }

    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
