//! A worker's life: wait for events, move bytes, carry out commands, fire timers.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::event::epoll::{Event, EventFlags};

use super::slots::Slots;
use super::{Clock, Command, Inbox, Key, Poller, Slot, Token};
use crate::mesh::edge::unix::{FdSearch, HAND_OVER_AGE, LOOK, LinkState, Relay, Scratch, Verdict};
use crate::mesh::offload::Peers;

/// When something that no event tells of (kernel memory, room for descriptors) is looked at again.
pub(in crate::mesh::edge) const LATER: Duration = Duration::from_millis(2);

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mesh::edge) enum Timer {
    /// A link that holds consumers, or has paused accepting.
    Link(u64),
    /// A connection that waits for something without an event.
    Retry(Key),
    /// A connection that may have been idle for too long.
    Idle(Key),
    /// A connection that may be ready for the kernel.
    HandOver(Key),
    /// A connection in the kernel.
    Look(Key),
}

/// What a link needs of its worker.
pub(in crate::mesh::edge) struct Core {
    pub(in crate::mesh::edge) poller: Poller,
    pub(in crate::mesh::edge) slots: Slots,
    scratch: Scratch,
    inboxes: Arc<[Arc<Inbox>]>,
    own: usize,
    /// Shared by all workers: connections go to each in turn.
    turn: Arc<AtomicUsize>,
    again: VecDeque<Key>,
    /// By time; the number keeps equal ones apart, in the order of their setting.
    timers: BTreeMap<(Instant, u64), Timer>,
    timers_set: u64,
    clock: Clock,
    peers: Peers,
}

impl Core {
    pub(super) fn new(
        inboxes: Arc<[Arc<Inbox>]>,
        own: usize,
        turn: Arc<AtomicUsize>,
        search: FdSearch,
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add(inboxes[own].bell(), Token::BELL, EventFlags::IN)?;
        Ok(Self {
            poller,
            slots: Slots::default(),
            scratch: Scratch::new(search),
            inboxes,
            own,
            turn,
            again: VecDeque::new(),
            timers: BTreeMap::new(),
            timers_set: 0,
            clock: Clock::default(),
            peers: Peers::default(),
        })
    }

    /// This worker's letter box.
    pub(in crate::mesh::edge) fn inbox(&self) -> &Arc<Inbox> {
        &self.inboxes[self.own]
    }

    /// The time of this round.
    pub(in crate::mesh::edge) fn now(&self) -> Instant {
        self.clock.now()
    }

    pub(in crate::mesh::edge) fn set_timer(&mut self, at: Instant, timer: Timer) {
        self.timers_set += 1;
        self.timers.insert((at, self.timers_set), timer);
    }

    /// Hands a new connection to the worker whose turn it is.
    pub(in crate::mesh::edge) fn distribute(&mut self, relay: Box<Relay>) {
        let worker = match self.inboxes.len() {
            1 => 0,
            count => self.turn.fetch_add(1, Ordering::Relaxed) % count,
        };
        if worker == self.own {
            self.adopt(relay);
        } else {
            self.inboxes[worker].post(Command::Adopt(relay));
        }
    }

    fn adopt(&mut self, mut relay: Box<Relay>) {
        // Cut while it was on its way here.
        if relay.link().is_cut() {
            return;
        }
        // What the consumer has sent already goes on its way before anything else is set up.
        let verdict = relay.run(&self.poller, &mut self.scratch, &self.clock);
        if verdict == Verdict::Over {
            return;
        }
        let idle_timeout = relay.link().limits.idle_timeout;
        let link = relay.link().clone();
        let key = self.slots.insert(Slot::Relay(relay));
        let Some(Slot::Relay(relay)) = self.slots.get(key) else { return };
        if let Err(error) = relay.register(&self.poller, Token::new(key)) {
            link.failed("cannot watch a connection", &error);
            self.slots.remove(key);
            return;
        }
        if let Some(timeout) = idle_timeout {
            self.set_timer(self.now() + timeout, Timer::Idle(key));
        }
        if link.hands_over() {
            self.set_timer(self.now() + HAND_OVER_AGE, Timer::HandOver(key));
        }
        self.follow(key, verdict);
    }

    fn follow(&mut self, key: Key, verdict: Verdict) {
        match verdict {
            Verdict::Idle => {}
            Verdict::Again => self.again.push_back(key),
            Verdict::Later => {
                let now = self.now();
                let Some(Slot::Relay(relay)) = self.slots.get(key) else { return };
                if let Some(at) = relay.asks_for_retry(now) {
                    self.set_timer(at, Timer::Retry(key));
                }
            }
            // Closing its sockets takes them out of epoll: nobody else has them.
            Verdict::Over => drop(self.slots.remove(key)),
        }
    }

    fn turn_of(&mut self, key: Key) {
        let Some(Slot::Relay(relay)) = self.slots.get(key) else { return };
        let mut verdict = relay.run(&self.poller, &mut self.scratch, &self.clock);
        if matches!(verdict, Verdict::Idle | Verdict::Again) && relay.wants_kernel() {
            match relay.hand_over(&self.poller, &mut self.peers, &self.clock) {
                Ok(false) => {}
                Ok(true) => {
                    verdict = relay.run(&self.poller, &mut self.scratch, &self.clock);
                    let look = self.now() + LOOK;
                    self.set_timer(look, Timer::Look(key));
                }
                Err(over) => verdict = over,
            }
            self.scratch.fit(0);
        }
        self.follow(key, verdict);
    }

    fn retry(&mut self, key: Key) {
        let now = self.now();
        let Some(Slot::Relay(relay)) = self.slots.get(key) else { return };
        if relay.retried(now) {
            self.turn_of(key);
        }
    }

    /// Tries to hand a connection to the kernel, and sets the time for the next try.
    fn hand_over(&mut self, key: Key) {
        self.turn_of(key);
        let Some(Slot::Relay(relay)) = self.slots.get(key) else { return };
        if let Some(at) = relay.hand_over_at() {
            // Past: it is tried at each of its turns.
            if at > self.clock.now() {
                self.set_timer(at, Timer::HandOver(key));
            }
        }
    }

    /// Looks at a connection in the kernel, and sets the next look.
    fn look(&mut self, key: Key) {
        let Some(Slot::Relay(relay)) = self.slots.get(key) else { return };
        let (turn, pause) = relay.look(&self.clock);
        self.set_timer(self.now() + pause, Timer::Look(key));
        if turn {
            self.turn_of(key);
        }
    }

    fn check_idle(&mut self, key: Key) {
        let now = self.now();
        let Some(Slot::Relay(relay)) = self.slots.get(key) else { return };
        let Some(timeout) = relay.link().limits.idle_timeout else { return };
        relay.collect(now);
        let over = relay.quiet_since() + timeout;
        if over <= now {
            tracing::debug!(parent: &relay.link().span(), "closed an idle connection");
            self.slots.remove(key);
        } else {
            self.set_timer(over, Timer::Idle(key));
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        if !self.again.is_empty() {
            return Some(self.now());
        }
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    fn due_timer(&mut self) -> Option<Timer> {
        let first = self.timers.first_entry()?;
        (first.key().0 <= self.clock.now()).then(|| first.remove())
    }
}

struct Worker {
    core: Core,
    links: HashMap<u64, Box<LinkState>>,
}

/// Runs until the inbox is closed.
pub(super) fn run(core: Core) {
    let mut worker = Worker { core, links: HashMap::new() };
    let mut events = Vec::new();
    loop {
        let deadline = worker.core.next_deadline();
        if let Err(error) = worker.core.poller.wait(&mut events, deadline) {
            // Only a programming error makes epoll_wait fail (EBADF, EFAULT, EINVAL).
            tracing::error!(%error, "a relay thread cannot wait for events");
            return;
        }
        worker.core.clock.forget();
        for event in &events {
            if !worker.event(*event) {
                return;
            }
        }
        for _ in 0..worker.core.again.len() {
            if let Some(key) = worker.core.again.pop_front() {
                worker.core.turn_of(key);
            }
        }
        while let Some(timer) = worker.core.due_timer() {
            worker.fire(timer);
        }
    }
}

impl Worker {
    /// False: the worker shall end.
    fn event(&mut self, event: Event) -> bool {
        let number = event.data.u64();
        if number == Token::BELL {
            let Some(commands) = self.core.inbox().clone().take() else { return false };
            for command in commands {
                self.command(command);
            }
            return true;
        }
        let (key, side) = Token::parse(number);
        match self.core.slots.get(key) {
            Some(Slot::Relay(relay)) => {
                relay.event(side, event.flags);
                self.core.turn_of(key);
            }
            Some(Slot::Held(held)) => {
                let link = held.link_number();
                if let Some(link) = self.links.get_mut(&link) {
                    link.hung_up(key, &mut self.core);
                }
            }
            Some(Slot::Listener(link)) => {
                let link = *link;
                if let Some(link) = self.links.get_mut(&link) {
                    link.accept(&mut self.core);
                }
            }
            None => {}
        }
        true
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Open(mut link) => {
                if link.open(&mut self.core) {
                    self.links.insert(link.number(), link);
                }
            }
            Command::Provider { link, socket } => {
                if let Some(link) = self.links.get_mut(&link) {
                    link.provider_changed(socket, &mut self.core);
                }
            }
            Command::Connected { link, consumer, result } => {
                if let Some(link) = self.links.get_mut(&link) {
                    link.connected(consumer, result, &mut self.core);
                }
            }
            Command::Adopt(relay) => self.core.adopt(relay),
            Command::StopAccepting { link, done } => {
                if let Some(link) = self.links.get_mut(&link) {
                    link.stop_accepting(&mut self.core);
                }
                drop(done);
            }
            Command::Cut { link, done } => {
                if let Some(mut link) = self.links.remove(&link) {
                    link.stop_accepting(&mut self.core);
                }
                let of_link = |slot: &Slot| match slot {
                    Slot::Listener(_) => false,
                    Slot::Held(held) => held.link_number() == link,
                    Slot::Relay(relay) => relay.link().number == link,
                };
                for key in self.core.slots.keys(of_link) {
                    self.core.slots.remove(key);
                }
                drop(done);
            }
        }
    }

    fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::Link(link) => {
                if let Some(link) = self.links.get_mut(&link) {
                    link.timer(&mut self.core);
                }
            }
            Timer::Retry(key) => self.core.retry(key),
            Timer::Idle(key) => self.core.check_idle(key),
            Timer::HandOver(key) => self.core.hand_over(key),
            Timer::Look(key) => self.core.look(key),
        }
    }
}
