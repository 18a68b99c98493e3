//! A connection that is in the kernel's maps: two flows, a hold pair, and what takes them out again.

mod buffers;
mod enter;
mod event;
mod flow;
#[cfg(test)]
mod tests;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;

use super::scratch::Scratch;
use super::trouble::Trouble;
use crate::mesh::edge::ConnectionPermit;
use crate::mesh::edge::workers::{Poller, Side, Token};
use crate::mesh::offload::KernelPath;
use crate::sys::socket;

use buffers::{Buffers, Pace};
pub(super) use enter::{Entered, NotEntered};
use event::Told;
use flow::{Flow, Io, LONG_PAUSE, PAUSE, Progress};

/// Steps of one flow before others get their turn.
const STEPS: usize = 64;
/// How a turn ended.
#[derive(Debug)]
pub(super) enum Turn {
    /// An event.
    Idle,
    /// Another turn, after the others.
    Again,
    /// Another turn a little later.
    Later,
    /// Both directions are over.
    Over,
    /// It has to be cut.
    Broken(Trouble),
}

/// What a connection has moved since it was asked last, by the direction: to the provider, to the consumer.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct News {
    /// Bytes and messages that the kernel moved.
    pub(super) kernel: [(u64, u64); 2],
    /// Bytes and messages that we moved.
    pub(super) user: [(u64, u64); 2],
    /// Bytes that the kernel could not forward.
    pub(super) errors: u64,
    /// How often a send buffer could not grow.
    pub(super) growth_refused: u64,
}

/// A connection in the maps.
pub(super) struct Handed {
    kernel: Arc<KernelPath>,
    /// By the side that is read: to the provider, to the consumer.
    flows: [Flow; 2],
    /// What flow N holds is redirected to end N and read from the other one.
    hold: [OwnedFd; 2],
    /// Keys of what has to be taken out: the senders', then our sockets' cookies.
    senders: [u64; 2],
    sockets: [u64; 2],
    /// What epoll watches the consumer's and the provider's socket for.
    watched: [EventFlags; 2],
    buffers: Buffers,
    looked: Instant,
    tries: u32,
    /// It was tried to put the sources into the map.
    entered: bool,
    /// How long a turn that is put off waits.
    pause: Duration,
    /// The hold pair's descriptors, of its link's share.
    _hold_permit: ConnectionPermit,
}

impl Handed {
    /// Watches the sockets for their end only, and the hold pair for bytes.
    pub(super) fn register(
        &mut self,
        sockets: &[OwnedFd; 2],
        poller: &Poller,
        token: Token,
    ) -> std::io::Result<()> {
        for (side, fd) in [(Side::HoldOfConsumer, &self.hold[1]), (Side::HoldOfProvider, &self.hold[0])] {
            poller.add(fd.as_fd(), token.of(side), EventFlags::IN | EventFlags::ET)?;
        }
        for side in [Side::Consumer, Side::Provider] {
            let flags = self.wanted(side);
            self.watched[side as usize] = flags;
            poller.modify(sockets[side as usize].as_fd(), token.of(side), flags)?;
        }
        Ok(())
    }

    /// Takes an event on one of the connection's sockets.
    pub(super) fn event(&mut self, side: Side, flags: EventFlags, sockets: &[OwnedFd; 2]) {
        // The end that we read of one direction is the one that the other direction's bytes are redirected to.
        let (side, hold) = match side {
            Side::Consumer | Side::Provider => (side as usize, false),
            Side::HoldOfConsumer => (1, true),
            Side::HoldOfProvider => (0, true),
        };
        if hold {
            let told = Told::of(flags, || socket::take_error(self.hold[side].as_fd()));
            if let Some(error) = told.failed {
                self.flows[side].hold_failed(error);
            }
            return;
        }
        let told = Told::of(flags, || socket::take_error(sockets[side].as_fd()));
        if told.source_ended {
            self.flows[side].source_ended();
        }
        let sink_of = &mut self.flows[1 - side];
        if told.sink_gone {
            sink_of.sink_gone();
        }
        if told.sink_left {
            sink_of.sink_left();
        }
        if let Some(error) = told.failed {
            sink_of.sink_failed(error);
        }
        if told.room {
            sink_of.has_room();
        }
    }

    /// Does what can be done now.
    pub(super) fn run(
        &mut self,
        sockets: &[OwnedFd; 2],
        scratch: &mut Scratch,
        now: Instant,
        poller: &Poller,
        token: Option<Token>,
    ) -> Turn {
        let mut turn = Turn::Idle;
        self.pause = LONG_PAUSE;
        for source in [0, 1] {
            let source_fenced = self.flows[1 - source].awaits_marker();
            let flow = &mut self.flows[source];
            let mut io = Io {
                source: sockets[source].as_fd(),
                sink: sockets[1 - source].as_fd(),
                hold: self.hold[1 - source].as_fd(),
                scratch,
                now,
                kernel: &self.kernel,
                sink_cookie: self.sockets[1 - source],
                source_fenced,
            };
            let mut steps = 0;
            loop {
                match flow.step(&mut io) {
                    Progress::Stepped if steps == STEPS => {
                        turn = Turn::Again;
                        break;
                    }
                    Progress::Stepped => steps += 1,
                    Progress::Waits => break,
                    Progress::Again => {
                        turn = Turn::Again;
                        break;
                    }
                    Progress::Later => {
                        self.pause = self.pause.min(flow.pause());
                        if matches!(turn, Turn::Idle) {
                            turn = Turn::Later;
                        }
                        break;
                    }
                    Progress::Broken(trouble) => return Turn::Broken(trouble),
                }
            }
        }
        if self.flows.iter().all(Flow::is_over) {
            return Turn::Over;
        }
        for (source, socket) in sockets.iter().enumerate() {
            if self.flows[1 - source].is_over() && self.flows[source].tells_source() {
                socket::end_receiving(socket.as_fd());
            }
        }
        match self.watch(sockets, poller, token) {
            Ok(()) => turn,
            Err(error) => Turn::Broken(Trouble::Write(error)),
        }
    }

    /// How long a turn that is put off waits.
    pub(super) fn pause(&self) -> Duration {
        self.pause
    }

    /// What a socket is watched for: its end; bytes, where no verdict may get them; room only while a write
    /// waits for it, else every read of its peer would wake us.
    fn wanted(&self, side: Side) -> EventFlags {
        let mut wanted = EventFlags::RDHUP | EventFlags::ET;
        wanted.set(EventFlags::IN, self.flows[side as usize].outside);
        wanted.set(EventFlags::OUT, self.flows[1 - side as usize].wants_room());
        wanted
    }

    fn watch(
        &mut self,
        sockets: &[OwnedFd; 2],
        poller: &Poller,
        token: Option<Token>,
    ) -> std::io::Result<()> {
        let Some(token) = token else { return Ok(()) };
        for side in [Side::Consumer, Side::Provider] {
            let wanted = self.wanted(side);
            if wanted != self.watched[side as usize] {
                self.watched[side as usize] = wanted;
                poller.modify(sockets[side as usize].as_fd(), token.of(side), wanted)?;
            }
        }
        Ok(())
    }

    /// What was moved since the last call.
    pub(super) fn news(&mut self) -> News {
        let mut news = News { growth_refused: self.buffers.refused(), ..News::default() };
        for (index, flow) in self.flows.iter_mut().enumerate() {
            news.kernel[index] = flow.count();
            news.user[index] = std::mem::take(&mut flow.moved);
            news.errors += flow.count_errors();
        }
        news
    }

    /// Bytes that the send buffers may hold.
    pub(super) fn send_buffers(&self) -> usize {
        self.buffers.bytes()
    }

    /// Flows that the kernel has forwarded for.
    pub(super) fn reached_kernel(&self) -> u64 {
        self.flows.iter().filter(|flow| flow.reached_kernel()).count() as u64
    }

    /// The regular look: heals what is stuck, and fits the send buffers to the pace. True: it needs a turn.
    pub(super) fn look(&mut self, sockets: &[OwnedFd; 2], now: Instant) -> bool {
        let mut turn = false;
        for source in [0, 1] {
            if self.flows[source].is_stuck(sockets[source].as_fd(), now) {
                self.rejoin(sockets, source);
                turn = true;
            }
            turn |= !self.flows[source].is_over() && self.flows[source].broken_promise().is_some();
            turn |= self.enter_again(sockets[source].as_fd(), source);
            turn |= self.flows[source].prove(&self.kernel, self.sockets[1 - source], now);
            let flow = &self.flows[source];
            let (moved, in_kernel) = (flow.gate.redirected(), flow.in_kernel());
            let pace = Pace { moved, in_kernel, elapsed: now.duration_since(self.looked), now };
            self.buffers.look(source, sockets[1 - source].as_fd(), pace);
        }
        self.looked = now;
        turn
    }
}
