//! A link on its home worker: consumers that wait, and the way to the provider.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::accept::Listener;
use super::connector::{Connector, Job};
use super::relay::{Relay, hang_up_only, left_nothing};
use crate::graph::{Identity, Limits, SocketType};
use crate::ids::{ContainerName, LinkId, ServiceName};
use crate::mesh::edge::budget::{ConnectionPermit, LinkShare};
use crate::mesh::edge::counters::LinkCounters;
use crate::mesh::edge::workers::{Core, Key, Side, Slot, Timer, Token};
use crate::mesh::inject::ProviderSocket;
use crate::mesh::inject::role::{self, Blocking};
use crate::mesh::limiter::limited_in;
use crate::mesh::offload::KernelPath;
use crate::mesh::{Limiter, OwnSockets};
use crate::sys::scm::Sender;

/// First and longest pause between two tries to reach a provider whose socket is there.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));

/// What every part of a link knows.
pub(in crate::mesh::edge) struct LinkShared {
    /// Never used again in this process.
    pub(in crate::mesh::edge) number: u64,
    pub(super) id: LinkId,
    pub(super) consumer: ContainerName,
    pub(super) provider: ContainerName,
    pub(super) service: ServiceName,
    pub(super) socket_type: SocketType,
    pub(super) identity: Identity,
    /// What is sent to the provider says that it is from here: a thread that sends as another user than
    /// it is shows its real ids, the mesh's own.
    pub(super) role: Sender,
    pub(in crate::mesh::edge) limits: Limits,
    /// The provider promises a plain protocol: no descriptors, no half-close while the other side streams.
    pub(super) plain: bool,
    /// Where connections are handed to once they have shown that they last.
    pub(super) kernel: Option<Arc<KernelPath>>,
    pub(super) own: Arc<OwnSockets>,
    pub(super) counters: Arc<LinkCounters>,
    pub(super) limiter: Arc<Limiter>,
    pub(super) share: Arc<LinkShare>,
    pub(super) open: AtomicUsize,
    /// Notified when `open` falls to 0.
    pub(super) empty: Notify,
    pub(super) cut: AtomicBool,
}

impl LinkShared {
    /// Whether nothing of this link may go on.
    pub(in crate::mesh::edge) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// Whether its connections may be handed to the kernel.
    pub(in crate::mesh::edge) fn hands_over(&self) -> bool {
        self.kernel.is_some()
    }

    /// What messages about this link are told in. Made anew for each: most links never have one, and a
    /// span that is kept costs more than all else that is known here.
    pub(in crate::mesh::edge) fn span(&self) -> tracing::Span {
        let (consumer, provider) = (self.consumer.as_str(), self.provider.as_str());
        tracing::info_span!(parent: None, "link", id = %self.id, consumer, provider, service = self.service.as_str())
    }

    /// Connects to the provider as the role.
    pub(super) fn connect(&self, provider: &ProviderSocket, blocking: Blocking) -> io::Result<OwnedFd> {
        self.own.refuse(&provider.inode)?;
        role::connect(provider.fd.as_fd(), self.socket_type, self.identity, blocking)
    }

    /// Counts and tells of a connection that could not be made.
    pub(in crate::mesh::edge) fn failed(&self, what: &'static str, error: &dyn std::error::Error) {
        self.counters.failed.fetch_add(1, Ordering::Relaxed);
        limited_in!(warn, &self.span(), self.limiter, what, %error, "{what}");
    }
}

/// Proof that a consumer was let in; what it holds is given back when it is dropped.
pub(super) struct Admission {
    link: Arc<LinkShared>,
    number: u64,
    _permit: ConnectionPermit,
}

impl Admission {
    pub(super) fn new(link: &Arc<LinkShared>, permit: ConnectionPermit) -> Self {
        link.open.fetch_add(1, Ordering::AcqRel);
        link.counters.open.fetch_add(1, Ordering::Relaxed);
        let number = link.counters.total.fetch_add(1, Ordering::Relaxed) + 1;
        Self { link: link.clone(), number, _permit: permit }
    }

    pub(in crate::mesh::edge) fn link(&self) -> &Arc<LinkShared> {
        &self.link
    }

    pub(super) fn share(&self) -> &Arc<LinkShare> {
        &self.link.share
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.link.counters.open.fetch_sub(1, Ordering::Relaxed);
        if self.link.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.link.empty.notify_waiters();
        }
    }
}

/// A consumer that was accepted and has no provider yet. Nothing is read from it.
pub(in crate::mesh::edge) struct HeldConsumer {
    pub(super) socket: OwnedFd,
    pub(super) admission: Admission,
    pub(super) since: Instant,
}

impl HeldConsumer {
    /// The number of its link.
    pub(in crate::mesh::edge) fn link_number(&self) -> u64 {
        self.admission.link.number
    }

    fn deadline(&self) -> Instant {
        self.since + self.admission.link.limits.connect_timeout
    }
}

/// What came of one try to reach the provider.
pub(super) enum Reached {
    Yes(OwnedFd),
    /// Its backlog is full.
    Full,
    /// Nobody listens, or we lack something: try again, after looking for its socket anew where `stale`.
    NotYet {
        stale: bool,
    },
    /// It will not work.
    Never(io::Error),
}

impl From<io::Result<OwnedFd>> for Reached {
    fn from(result: io::Result<OwnedFd>) -> Self {
        match result {
            Ok(socket) => Self::Yes(socket),
            Err(error) => match (error.kind(), error.raw_os_error()) {
                (ErrorKind::WouldBlock | ErrorKind::TimedOut, _) => Self::Full,
                (ErrorKind::ConnectionRefused | ErrorKind::NotFound, _) => Self::NotYet { stale: true },
                (ErrorKind::Interrupted, _)
                | (_, Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS)) => {
                    Self::NotYet { stale: false }
                }
                _ => Self::Never(error),
            },
        }
    }
}

/// The pause before the next try.
#[derive(Debug, Default)]
struct BackOff {
    delay: Duration,
    until: Option<Instant>,
}

impl BackOff {
    fn grow(&mut self, now: Instant) {
        self.delay = (self.delay * 2).clamp(BACK_OFF.0, BACK_OFF.1);
        self.until = Some(now + self.delay);
    }

    fn waits(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until > now)
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

/// The number of the next link.
pub(super) fn next_number() -> u64 {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

impl Drop for LinkState {
    fn drop(&mut self) {
        self.connector.close();
    }
}
