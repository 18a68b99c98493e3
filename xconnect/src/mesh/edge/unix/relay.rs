//! One relayed connection: two sockets, a direction each way, driven by readiness.

mod kernel;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rustix::event::epoll::EventFlags;

use super::carry::{Carried, Lane, Moved};
use super::direction::{Direction, Step};
use super::scratch::Scratch;
use super::shared::{Admission, LinkShared};
use super::trouble::Trouble;
use crate::mesh::edge::workers::{Clock, LATER, Poller, Side, Token};
use crate::mesh::limiter::limited_in;
use crate::sys::socket;

pub(in crate::mesh::edge) use kernel::HAND_OVER_AGE;
use kernel::KernelSide;

/// Steps of one connection before others get their turn.
const STEPS: usize = 16;

/// What a connection needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mesh::edge) enum Verdict {
    /// An event.
    Idle,
    /// Another turn, after the others.
    Again,
    /// Another turn a little later: something is short.
    Later,
    /// Nothing: it is over.
    Over,
}

/// A connection between a consumer and its provider.
pub(in crate::mesh::edge) struct Relay {
    /// By [`Side`]: the consumer's socket, the provider's.
    sockets: [OwnedFd; 2],
    /// By the side that is read.
    directions: [Direction; 2],
    lanes: [Lane; 2],
    /// Sockets that epoll watches for room.
    armed: [bool; 2],
    token: Option<Token>,
    admission: Admission,
    /// When bytes last moved; kept up where the link has an idle timeout, and in the kernel.
    moved_at: Instant,
    /// When the timer for its next turn fires, if there is one.
    retry_at: Option<Instant>,
    kernel: KernelSide,
    span: tracing::Span,
}

impl Relay {
    pub(super) fn new(consumer: OwnedFd, provider: OwnedFd, admission: Admission, now: Instant) -> Self {
        let link = admission.link();
        let kind = link.socket_type;
        let span = tracing::debug_span!(parent: &link.span(), "connection", number = admission.number());
        let kernel = KernelSide::new(link.kernel.as_deref(), now);
        let plain = link.plain;
        if plain {
            for socket in [&consumer, &provider] {
                // Older kernels cannot: there the relay refuses what comes.
                let _ = crate::sys::sockctl::refuse_rights(socket.as_fd());
            }
        }
        Self {
            sockets: [consumer, provider],
            directions: [Direction::with_early_data(), Direction::default()],
            lanes: [Lane::new(kind, Some(link.role), plain), Lane::new(kind, None, plain)],
            armed: [false; 2],
            token: None,
            admission,
            moved_at: now,
            retry_at: None,
            kernel,
            span,
        }
    }

    pub(in crate::mesh::edge) fn link(&self) -> &Arc<LinkShared> {
        self.admission.link()
    }

    /// Since when nothing has moved.
    pub(in crate::mesh::edge) fn quiet_since(&self) -> Instant {
        self.moved_at
    }

    /// Starts watching both sockets. What has happened before is reported at once.
    pub(in crate::mesh::edge) fn register(&mut self, poller: &Poller, token: Token) -> io::Result<()> {
        for side in [Side::Consumer, Side::Provider] {
            let socket = self.sockets[side as usize].as_fd();
            poller.add(socket, token.of(side), interest(self.armed[side as usize]))?;
        }
        self.token = Some(token);
        Ok(())
    }

    /// The time that a timer has to be set to for its next turn; `None`: there is one that fires early enough.
    pub(in crate::mesh::edge) fn asks_for_retry(&mut self, now: Instant) -> Option<Instant> {
        let at = now + self.kernel.handed().map_or(LATER, |handed| handed.pause());
        if self.retry_at.is_some_and(|set| set <= at) {
            return None;
        }
        self.retry_at = Some(at);
        self.retry_at
    }

    /// A timer has fired. False: an earlier one has taken its place.
    pub(in crate::mesh::edge) fn retried(&mut self, now: Instant) -> bool {
        self.retry_at.take_if(|at| *at <= now).is_some()
    }

    /// Takes an event on one socket.
    pub(in crate::mesh::edge) fn event(&mut self, side: Side, flags: EventFlags) {
        if let Some(handed) = self.kernel.handed() {
            handed.event(side, flags, &self.sockets);
            return;
        }
        if matches!(side, Side::HoldOfConsumer | Side::HoldOfProvider) {
            return;
        }
        let side = side as usize;
        let closing = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
        if flags.intersects(EventFlags::IN | EventFlags::PRI | closing) {
            self.directions[side].source_ready(flags.intersects(closing));
        }
        if flags.contains(EventFlags::PRI) {
            self.lanes[side].urgent = true;
        }
        if flags.contains(EventFlags::OUT) {
            self.directions[1 - side].sink_ready();
        }
        // Half-closed is RDHUP alone: with HUP nobody is there to read what we would write.
        if flags.intersects(EventFlags::HUP | EventFlags::ERR) {
            self.directions[1 - side].sink_gone();
        }
    }

    /// Moves what can be moved.
    pub(in crate::mesh::edge) fn run(
        &mut self,
        poller: &Poller,
        scratch: &mut Scratch,
        clock: &Clock,
    ) -> Verdict {
        if let Some(handed) = self.kernel.handed() {
            let turn = handed.run(&self.sockets, scratch, clock.now(), poller, self.token);
            return self.verdict_of(turn);
        }
        let mut later = false;
        let mut steps = 0;
        for source in [0, 1] {
            loop {
                if steps == STEPS {
                    return self.rest(poller, Verdict::Again);
                }
                match self.step(source, scratch, clock) {
                    Progress::Stepped => steps += 1,
                    Progress::Waits => break,
                    Progress::Later => {
                        later = true;
                        break;
                    }
                    Progress::Broken(trouble) => {
                        self.give_up(&trouble);
                        return Verdict::Over;
                    }
                }
            }
        }
        // Closing both sockets tells both peers all that the shutdowns would.
        if self.directions.iter().all(Direction::is_over) {
            return Verdict::Over;
        }
        self.rest(poller, if later { Verdict::Later } else { Verdict::Idle })
    }

    fn rest(&mut self, poller: &Poller, verdict: Verdict) -> Verdict {
        self.tell_ends();
        for (sink, source) in [(0, 1), (1, 0)] {
            let wanted = self.directions[source].next() == Step::Wait { writable: true };
            if wanted == self.armed[sink] {
                continue;
            }
            self.armed[sink] = wanted;
            let Some(token) = self.token else { continue };
            let side = if sink == 0 { Side::Consumer } else { Side::Provider };
            if let Err(error) = poller.modify(self.sockets[sink].as_fd(), token.of(side), interest(wanted)) {
                self.give_up(&Trouble::Write(error));
                return Verdict::Over;
            }
        }
        verdict
    }

    /// Tells the peers of a direction that is over, where the other one is not.
    fn tell_ends(&mut self) {
        for (source, sink) in [(0, 1), (1, 0)] {
            match self.directions[source].next() {
                Step::EndSink => socket::end_sending(self.sockets[sink].as_fd()),
                Step::EndSource => {
                    self.lanes[source].held = None;
                    socket::end_receiving(self.sockets[source].as_fd());
                }
                _ => continue,
            }
            self.directions[source].told();
        }
    }

    fn step(&mut self, source: usize, scratch: &mut Scratch, clock: &Clock) -> Progress {
        let sink = 1 - source;
        let (from, to) = (self.sockets[source].as_fd(), self.sockets[sink].as_fd());
        let lane = &mut self.lanes[source];
        let direction = &mut self.directions[source];
        let step = direction.next();
        let carried = match step {
            Step::Transfer => lane.transfer(from, to, self.admission.share(), scratch),
            Step::Flush => lane.flush(to, scratch),
            // Told when both directions have gone as far as they can.
            Step::EndSink | Step::EndSource | Step::Wait { .. } | Step::Done => return Progress::Waits,
        };
        match carried {
            Carried::Moved(moved) => {
                if step == Step::Flush {
                    direction.flushed();
                } else if moved.emptied {
                    direction.emptied();
                }
                self.count(source, step, moved, clock);
            }
            Carried::HeldBack(moved) => {
                direction.held_back();
                self.count(source, step, moved, clock);
            }
            Carried::Starved => direction.starved(),
            Carried::Ended => direction.ended(),
            Carried::SinkGone => direction.sink_gone(),
            Carried::Later => return Progress::Later,
            Carried::Broken(trouble) => return Progress::Broken(trouble),
        }
        Progress::Stepped
    }

    fn count(&mut self, source: usize, step: Step, moved: Moved, clock: &Clock) {
        if self.link().limits.idle_timeout.is_some() {
            self.moved_at = clock.now();
        }
        // What is flushed was counted when it was read.
        if step == Step::Flush {
            return;
        }
        self.kernel.saw(if source == 0 { Side::Consumer } else { Side::Provider }, moved.bytes);
        let counters = &self.admission.link().counters;
        let (bytes, messages) = match source {
            0 => (&counters.bytes_to_provider, &counters.messages_to_provider),
            _ => (&counters.bytes_to_consumer, &counters.messages_to_consumer),
        };
        add(bytes, moved.bytes);
        add(messages, 1);
        if moved.fds > 0 {
            add(&counters.fds, moved.fds);
        }
    }

    fn give_up(&self, trouble: &Trouble) {
        add(&self.link().counters.failed, 1);
        let cause = std::error::Error::source(trouble).map(ToString::to_string);
        self.span.in_scope(|| {
            let link = self.link();
            limited_in!(warn, &link.span(), link.limiter, "closed", cause, "closed a connection: {trouble}");
        });
    }
}

fn add(counter: &AtomicU64, amount: usize) {
    counter.fetch_add(amount as u64, Ordering::Relaxed);
}

fn interest(room: bool) -> EventFlags {
    let flags = EventFlags::IN | EventFlags::PRI | EventFlags::RDHUP | EventFlags::ET;
    // Watching for room only while it is needed: else each read of the peer would wake us.
    if room { flags | EventFlags::OUT } else { flags }
}

enum Progress {
    Stepped,
    Waits,
    Later,
    Broken(Trouble),
}

/// A socket of a connection that is held, for its events.
pub(super) fn hang_up_only() -> EventFlags {
    EventFlags::ET
}

/// Whether a consumer that has hung up left nothing that the provider should get.
pub(super) fn left_nothing(consumer: BorrowedFd<'_>) -> bool {
    socket::waiting(consumer).is_ok_and(|waiting| waiting == 0)
}
