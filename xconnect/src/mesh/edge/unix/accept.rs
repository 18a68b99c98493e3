//! Accepting consumers: within the limits, and never spinning where the process is out of descriptors.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;

use super::link::LinkState;
use super::shared::Admission;
use crate::mesh::edge::workers::{Core, Key, Side, Slot, Timer, Token};
use crate::mesh::limiter::limited_in;
use crate::sys::socket;

/// Consumers that may wait for the provider at the same time.
const HELD_MAX: usize = 512;
/// First and longest pause in accepting.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// The listening socket of a link, and what is remembered of its troubles.
pub(super) struct Listener {
    socket: Arc<OwnedFd>,
    key: Option<Key>,
    pause: Duration,
    resume_at: Option<Instant>,
}

impl Listener {
    pub(super) fn new(socket: Arc<OwnedFd>) -> Self {
        Self { socket, key: None, pause: Duration::ZERO, resume_at: None }
    }
}

impl LinkState {
    /// Starts accepting; false where the listening socket cannot be watched.
    pub(in crate::mesh::edge) fn open(&mut self, core: &mut Core) -> bool {
        let Some(listener) = &mut self.listener else { return false };
        let key = core.slots.insert(Slot::Listener(self.shared.number));
        let token = Token::new(key).of(Side::Consumer);
        if let Err(error) = core.poller.add(listener.socket.as_fd(), token, EventFlags::IN) {
            tracing::error!(parent: &self.shared.span(), %error, "cannot watch the listening socket");
            core.slots.remove(key);
            return false;
        }
        listener.key = Some(key);
        true
    }

    /// Accepts the next one that waits. Where more do, the listening socket (watched level-triggered) is
    /// among the next events again: that costs less than asking each time whether there is another.
    pub(in crate::mesh::edge) fn accept(&mut self, core: &mut Core) {
        let Some(listener) = &mut self.listener else { return };
        match socket::accept(listener.socket.as_fd()) {
            Ok(consumer) => {
                listener.pause = Duration::ZERO;
                self.admit(consumer, core);
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN) => {}
                // That consumer has gone: the next one may be there.
                Some(libc::ECONNABORTED | libc::EINTR | libc::EPERM) => {
                    tracing::debug!(parent: &self.shared.span(), %error, "could not accept a connection");
                }
                // EMFILE, ENFILE, ENOBUFS, ENOMEM above all.
                _ => self.pause(&error, core),
            },
        }
    }

    fn admit(&mut self, consumer: OwnedFd, core: &mut Core) {
        let link = &self.shared;
        let limit = link.limits.max_connections as usize;
        let reason = if link.open.load(Ordering::Acquire) >= limit {
            "it has as many connections as it may"
        } else if self.held >= HELD_MAX {
            "too many are waiting for the provider"
        } else if let Some(permit) = link.share.connection() {
            let admission = Admission::new(link, permit);
            return self.take(consumer, admission, core);
        } else {
            "the other links need the descriptors that are left"
        };
        drop(consumer);
        link.counters.refused.fetch_add(1, Ordering::Relaxed);
        limited_in!(warn, &link.span(), link.limiter, reason, limit, "refused connections: {reason}");
    }

    fn pause(&mut self, error: &std::io::Error, core: &mut Core) {
        let link = &self.shared;
        let Some(listener) = &mut self.listener else { return };
        let Some(key) = listener.key else { return };
        listener.pause = (listener.pause * 2).clamp(PAUSE.0, PAUSE.1);
        let resume_at = core.now() + listener.pause;
        listener.resume_at = Some(resume_at);
        let token = Token::new(key).of(Side::Consumer);
        if let Err(error) = core.poller.modify(listener.socket.as_fd(), token, EventFlags::empty()) {
            tracing::error!(parent: &link.span(), %error, "cannot pause accepting");
        }
        limited_in!(warn, &link.span(), link.limiter, "pause", %error, "cannot accept connections, pausing");
        core.set_timer(resume_at, Timer::Link(self.shared.number));
    }

    /// Accepts again where a pause is over.
    pub(super) fn resume_accepting(&mut self, core: &mut Core) {
        let link = &self.shared;
        let Some(listener) = &mut self.listener else { return };
        let (Some(key), Some(at)) = (listener.key, listener.resume_at) else { return };
        if at > core.now() {
            return;
        }
        listener.resume_at = None;
        let token = Token::new(key).of(Side::Consumer);
        if let Err(error) = core.poller.modify(listener.socket.as_fd(), token, EventFlags::IN) {
            tracing::error!(parent: &link.span(), %error, "cannot go on accepting");
        }
    }

    /// Lets go of the listening socket.
    pub(in crate::mesh::edge) fn stop_accepting(&mut self, core: &mut Core) {
        let Some(listener) = self.listener.take() else { return };
        // Duplicates elsewhere keep the socket, and with it epoll's entry, alive.
        core.poller.remove(listener.socket.as_fd());
        if let Some(key) = listener.key {
            core.slots.remove(key);
        }
    }
}
