//! A link on its home worker: consumers that wait, and the way to the provider.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::Notify;

use super::accept::Listener;
use super::connector::{Connector, Job};
use super::relay::{Relay, hang_up_only, left_nothing};
use super::shared::{Admission, LinkShared};
use crate::mesh::edge::reach::{BackOff, Reached};
use crate::mesh::edge::workers::{Core, Key, Side, Slot, Timer, Token};
use crate::mesh::inject::ProviderSocket;
use crate::mesh::inject::role::Blocking;
use crate::mesh::limiter::limited_in;

/// A consumer that was accepted and has no provider yet. Nothing is read from it.
pub(in crate::mesh::edge) struct HeldConsumer {
    pub(super) socket: OwnedFd,
    pub(super) admission: Admission,
    pub(super) since: Instant,
}

impl HeldConsumer {
    /// The number of its link.
    pub(in crate::mesh::edge) fn link_number(&self) -> u64 {
        self.admission.link().number
    }

    fn deadline(&self) -> Instant {
        self.since + self.admission.link().limits.connect_timeout
    }
}

/// A link on its home worker.
pub(in crate::mesh::edge) struct LinkState {
    pub(super) shared: Arc<LinkShared>,
    pub(super) listener: Option<Listener>,
    provider: Option<Arc<ProviderSocket>>,
    stale: Arc<Notify>,
    /// In the order of their coming. Those that hung up meanwhile have left their slot.
    waiting: VecDeque<Key>,
    pub(super) held: usize,
    /// The one that the connector thread works for.
    connecting: Option<Key>,
    connector: Connector,
    back_off: BackOff,
    /// The earliest timer that was set and has not fired.
    timer_at: Option<Instant>,
}

impl LinkState {
    pub(super) fn new(
        shared: Arc<LinkShared>,
        listener: Listener,
        provider: Option<Arc<ProviderSocket>>,
        stale: Arc<Notify>,
    ) -> Self {
        Self {
            shared,
            listener: Some(listener),
            provider,
            stale,
            waiting: VecDeque::new(),
            held: 0,
            connecting: None,
            connector: Connector::default(),
            back_off: BackOff::default(),
            timer_at: None,
        }
    }

    pub(in crate::mesh::edge) fn number(&self) -> u64 {
        self.shared.number
    }

    /// Connects a consumer that was just let in, or holds it.
    pub(super) fn take(&mut self, socket: OwnedFd, admission: Admission, core: &mut Core) {
        let held = HeldConsumer { socket, admission, since: core.now() };
        let free = self.waiting.is_empty() && self.connecting.is_none() && !self.back_off.waits(core.now());
        match &self.provider {
            Some(provider) if free => match self.reach(provider) {
                Reached::Yes(provider) => return self.establish(held, provider, core),
                Reached::Never(error) => return self.fail(held, &error),
                Reached::Full | Reached::NotYet { .. } => {}
            },
            _ => {}
        }
        let key = core.slots.insert(Slot::Held(held));
        let Some(held) = core.slots.held(key) else { return };
        let token = Token::new(key).of(Side::Consumer);
        if let Err(error) = core.poller.add(held.socket.as_fd(), token, hang_up_only()) {
            self.shared.failed("cannot watch a connection", &error);
            core.slots.remove(key);
            return;
        }
        self.held += 1;
        self.waiting.push_back(key);
        self.advance(core);
    }

    fn reach(&self, provider: &ProviderSocket) -> Reached {
        let result = self.shared.connect(provider, Blocking::No);
        let refused =
            |error: &io::Error| error.kind() == ErrorKind::PermissionDenied && error.raw_os_error().is_none();
        if result.as_ref().is_err_and(refused) {
            // Not by the kernel: it has become a socket of the daemons, which the link's status is to say.
            self.stale.notify_one();
        }
        result.into()
    }

    fn establish(&self, held: HeldConsumer, provider: OwnedFd, core: &mut Core) {
        self.shared.counters.connected(held.since.elapsed());
        let relay = Relay::new(held.socket, provider, held.admission, core.now());
        core.distribute(Box::new(relay));
    }

    fn fail(&self, held: HeldConsumer, error: &io::Error) {
        let remedy = match error.raw_os_error() {
            Some(libc::EPROTOTYPE) => {
                "the provider's socket is of another type: set socket_type in its manifest"
            }
            Some(libc::EACCES | libc::EPERM) => "the role's user may not connect to the provider's socket",
            _ => "the provider's socket cannot be reached",
        };
        self.shared.failed(remedy, error);
        drop(held);
    }

    /// Takes a consumer out of its slot and out of epoll.
    fn release(&mut self, key: Key, core: &mut Core) -> Option<HeldConsumer> {
        core.slots.held(key)?;
        let Some(Slot::Held(held)) = core.slots.remove(key) else { return None };
        self.held -= 1;
        core.poller.remove(held.socket.as_fd());
        Some(held)
    }

    /// Connects those that wait, as far as it goes.
    pub(super) fn advance(&mut self, core: &mut Core) {
        while self.connecting.is_none() {
            let Some(&key) = self.waiting.front() else { return };
            let Some(held) = core.slots.held(key) else {
                self.waiting.pop_front();
                continue;
            };
            let deadline = held.deadline();
            if deadline <= core.now() {
                self.waiting.pop_front();
                self.give_up(key, core);
                continue;
            }
            let Some(provider) = self.provider.clone() else {
                return self.arm(deadline, core);
            };
            if self.back_off.waits(core.now()) {
                let until = self.back_off.until.unwrap_or(deadline);
                return self.arm(until.min(deadline), core);
            }
            match self.reach(&provider) {
                Reached::Yes(provider) => {
                    self.back_off = BackOff::default();
                    self.waiting.pop_front();
                    if let Some(held) = self.release(key, core) {
                        self.establish(held, provider, core);
                    }
                }
                Reached::Full => {
                    self.waiting.pop_front();
                    self.wait_for_room(key, provider, deadline, core);
                }
                Reached::NotYet { stale } => self.not_yet(stale, core.now()),
                Reached::Never(error) => {
                    self.waiting.pop_front();
                    if let Some(held) = self.release(key, core) {
                        self.fail(held, &error);
                    }
                }
            }
        }
    }

    fn not_yet(&mut self, stale: bool, now: Instant) {
        if stale {
            self.stale.notify_one();
        }
        self.back_off.grow(now);
    }

    fn wait_for_room(&mut self, key: Key, provider: Arc<ProviderSocket>, deadline: Instant, core: &mut Core) {
        self.connecting = Some(key);
        let job =
            Job { link: self.shared.clone(), provider, consumer: key, deadline, inbox: core.inbox().clone() };
        if let Err(error) = self.connector.submit(job) {
            self.connecting = None;
            self.waiting.push_front(key);
            let span = &self.shared.span();
            limited_in!(warn, span, self.shared.limiter, "thread", %error,
                "cannot start a thread to wait for the provider");
            self.back_off.grow(core.now());
        }
    }

    /// The connector thread has an answer.
    pub(in crate::mesh::edge) fn connected(
        &mut self,
        consumer: Key,
        result: io::Result<OwnedFd>,
        core: &mut Core,
    ) {
        self.connecting = None;
        match Reached::from(result) {
            Reached::Yes(provider) => {
                if let Some(held) = self.release(consumer, core) {
                    self.establish(held, provider, core);
                }
            }
            Reached::Full => self.give_up(consumer, core),
            Reached::NotYet { stale } => {
                self.waiting.push_front(consumer);
                self.not_yet(stale, core.now());
            }
            Reached::Never(error) => {
                if let Some(held) = self.release(consumer, core) {
                    self.fail(held, &error);
                }
            }
        }
        self.advance(core);
    }

    fn give_up(&mut self, key: Key, core: &mut Core) {
        let Some(held) = self.release(key, core) else { return };
        self.shared.counters.failed.fetch_add(1, Ordering::Relaxed);
        let after = held.since.elapsed();
        let why = match &self.provider {
            None => "its socket does not exist: start the provider or raise connect_timeout",
            Some(_) => "it does not accept: does it listen, and is its backlog large enough?",
        };
        let span = &self.shared.span();
        limited_in!(warn, span, self.shared.limiter, why, ?after, "gave up waiting for the provider: {why}");
    }

    /// A held consumer has closed its end.
    pub(in crate::mesh::edge) fn hung_up(&mut self, key: Key, core: &mut Core) {
        // What it sent before it went is still for the provider.
        if core.slots.held(key).is_some_and(|held| left_nothing(held.socket.as_fd())) {
            self.release(key, core);
        }
    }

    pub(in crate::mesh::edge) fn provider_changed(
        &mut self,
        socket: Option<Arc<ProviderSocket>>,
        core: &mut Core,
    ) {
        self.provider = socket;
        self.back_off = BackOff::default();
        self.advance(core);
    }

    fn arm(&mut self, at: Instant, core: &mut Core) {
        if self.timer_at.is_none_or(|set| at < set || set <= core.now()) {
            self.timer_at = Some(at);
            core.set_timer(at, Timer::Link(self.shared.number));
        }
    }

    pub(in crate::mesh::edge) fn timer(&mut self, core: &mut Core) {
        if self.timer_at.is_some_and(|at| at <= core.now()) {
            self.timer_at = None;
        }
        self.resume_accepting(core);
        self.advance(core);
    }
}

impl Drop for LinkState {
    fn drop(&mut self) {
        self.connector.close();
    }
}
