//! The kernel's side of a connection: when it is handed over, why it stays, and what is counted of it there.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::auto::{Place, Talk};
use super::super::direction::Direction;
use super::super::handed::{Entered, Handed, NotEntered, Turn};
use super::super::look::{self, LOOK};
use super::super::processors;
use super::super::stays::Stays;
use super::super::trouble::Trouble;
use super::{Relay, Verdict, add};
use crate::mesh::edge::workers::{Clock, Poller, Side};
use crate::mesh::limiter::limited_in;
use crate::mesh::offload::{KernelShare, Peers};

/// A connection is handed to the kernel at this age, or with so many messages: shorter ones are not worth it.
pub(in crate::mesh::edge) const HAND_OVER_AGE: Duration = Duration::from_millis(10);
const HAND_OVER_MESSAGES: u32 = 256;
/// The longest pause before it is tried again.
const HAND_OVER_PAUSE: Duration = Duration::from_secs(1);
/// Connections that lived for longer, once they were accepted, are counted as long ones.
const LONG: Duration = Duration::from_millis(100);

/// Where the hand-over is.
enum Stage {
    /// There is none.
    Unused,
    /// The connection is handed over once it is old enough and nothing of it is in our memory.
    Wanted { from: Instant },
    /// All is ready for it.
    Prepared(Box<Handed>),
    /// It is in the kernel's maps.
    Handed(Box<Handed>),
}

/// What the kernel path has to do with a connection.
pub(super) struct KernelSide {
    stage: Stage,
    since: Instant,
    /// Since when it could have been handed over: its provider has accepted.
    long_since: Instant,
    /// Since it was last tried: messages, and whether the provider has sent something.
    messages: u32,
    answered: bool,
    /// Where the mesh picks the path.
    talk: Option<Talk>,
    stays: Option<Stays>,
    /// What its send buffers may hold, as it was last counted.
    buffers: u64,
}

impl KernelSide {
    pub(super) fn new(share: Option<&KernelShare>, now: Instant) -> Self {
        let stage = match share {
            Some(_) => Stage::Wanted { from: now + HAND_OVER_AGE },
            None => Stage::Unused,
        };
        Self {
            stage,
            since: now,
            long_since: now,
            messages: 0,
            answered: false,
            talk: share.filter(|share| share.picks()).map(|_| Talk::default()),
            stays: None,
            buffers: 0,
        }
    }

    /// What has to be done with it, once the kernel has it.
    pub(super) fn handed(&mut self) -> Option<&mut Handed> {
        match &mut self.stage {
            Stage::Handed(handed) => Some(handed),
            _ => None,
        }
    }

    /// Takes note of a message in user space.
    pub(super) fn saw(&mut self, from: Side, bytes: usize) {
        self.messages = self.messages.saturating_add(1);
        self.answered |= from == Side::Provider;
        if let Some(talk) = &mut self.talk {
            talk.add(from, bytes);
        }
    }

    fn is_due(&self, from: Instant, now: Instant) -> bool {
        if self.stays == Some(Stays::Picked) {
            return now >= from || self.talk.as_ref().is_some_and(Talk::is_enough);
        }
        // Who has sent something has accepted.
        let accepted = self.answered && now >= self.since + HAND_OVER_AGE;
        let soon = self.since + HAND_OVER_PAUSE > now && (self.messages >= HAND_OVER_MESSAGES || accepted);
        now >= from || soon
    }
}

impl Relay {
    /// Whether it may be handed to the kernel later.
    pub(in crate::mesh::edge) fn wants_kernel(&self) -> bool {
        matches!(self.kernel.stage, Stage::Wanted { .. } | Stage::Prepared(_))
    }

    pub(super) fn verdict_of(&mut self, turn: Turn) -> Verdict {
        match turn {
            Turn::Idle => Verdict::Idle,
            Turn::Again => Verdict::Again,
            Turn::Later => Verdict::Later,
            Turn::Over => Verdict::Over,
            Turn::Broken(trouble) => self.cut(&trouble),
        }
    }

    /// Hands the connection to the kernel if it is time and nothing of it is in our memory. True: it was;
    /// it needs a turn.
    ///
    /// # Errors
    /// It had to be cut.
    pub(in crate::mesh::edge) fn hand_over(
        &mut self,
        poller: &Poller,
        peers: &mut Peers,
        clock: &Clock,
    ) -> Result<bool, Verdict> {
        let Some(token) = self.token else { return Ok(false) };
        if self.lanes.iter().any(|lane| lane.urgent) {
            // An out-of-band byte that was taken lies in the queue still: the verdict would find it there.
            self.kernel.stage = Stage::Unused;
            self.stay(Some(Stays::Refused));
            self.lanes.iter_mut().for_each(|lane| lane.whole = false);
            return Ok(false);
        }
        // A socket buffer that was half read would be taken whole by the kernel.
        if !self.directions.iter().all(Direction::is_clear) || !self.lanes.iter().all(|lane| lane.at_boundary)
        {
            return Ok(false);
        }
        if let Stage::Wanted { from } = self.kernel.stage {
            let now = clock.now();
            if !self.kernel.is_due(from, now) {
                return Ok(false);
            }
            (self.kernel.messages, self.kernel.answered) = (0, false);
            self.kernel.stage = match self.pick() {
                Place::Kernel => self.prepare(peers, now),
                Place::User => {
                    self.stay(Some(Stays::Picked));
                    Stage::Wanted { from: now + HAND_OVER_PAUSE }
                }
            };
            if matches!(self.kernel.stage, Stage::Prepared(_)) {
                self.lanes.iter_mut().for_each(|lane| lane.whole = true);
            } else {
                self.kernel.long_since = now;
            }
        }
        let Stage::Prepared(handed) = &mut self.kernel.stage else { return Ok(false) };
        let mut refused = None;
        match handed.enter(&self.sockets, clock.now()) {
            Entered::NotNow => return Ok(false),
            Entered::Refused(why) => {
                self.stay(Stays::of(&why));
                self.tell_stay(&Trouble::HandOver(why));
                self.kernel.stage = Stage::Wanted { from: clock.now() + HAND_OVER_PAUSE };
                self.lanes.iter_mut().for_each(|lane| lane.whole = false);
                return Ok(false);
            }
            Entered::Whole => {}
            Entered::InPart(why) => refused = Some(Trouble::HandOver(why)),
        }
        if let Err(error) = handed.register(&self.sockets, poller, token) {
            return Err(self.cut(&Trouble::Write(error)));
        }
        if let Stage::Prepared(handed) = std::mem::replace(&mut self.kernel.stage, Stage::Unused) {
            self.kernel.stage = Stage::Handed(handed);
        }
        if let Some(trouble) = refused {
            self.tell_stay(&trouble);
        }
        Ok(true)
    }

    /// Where it belongs, by what is seen of it.
    fn pick(&mut self) -> Place {
        match &mut self.kernel.talk {
            Some(talk) => talk.judge(processors::of_peers(&self.sockets)),
            None => Place::Kernel,
        }
    }

    fn prepare(&mut self, peers: &mut Peers, now: Instant) -> Stage {
        let link = self.admission.link();
        let Some(share) = &link.kernel else { return Stage::Unused };
        match Handed::prepare(share, &link.share, &self.sockets, link.role, peers, now) {
            Ok(handed) => {
                self.stay(None);
                Stage::Prepared(Box::new(handed))
            }
            // It has not been accepted yet: the older the connection, the less often that is looked at.
            Err(NotEntered::NoPeer) => {
                let age = now - self.kernel.since;
                Stage::Wanted { from: now + (age / 4).clamp(HAND_OVER_AGE, HAND_OVER_PAUSE) }
            }
            Err(error) => {
                self.stay(Stays::of(&error));
                self.tell_stay(&Trouble::HandOver(error));
                Stage::Wanted { from: now + HAND_OVER_PAUSE }
            }
        }
    }

    /// Counts it among those that stay in user space for this reason.
    fn stay(&mut self, stays: Option<Stays>) {
        let before = std::mem::replace(&mut self.kernel.stays, stays);
        if before == stays {
            return;
        }
        let counters = &self.link().counters;
        if let Some(before) = before {
            before.count(counters).fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(stays) = stays {
            stays.count(counters).fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Says that the connection stays in user space though its link asks for the kernel.
    fn tell_stay(&self, trouble: &Trouble) {
        let cause = std::error::Error::source(trouble).map(ToString::to_string);
        self.span.in_scope(|| {
            let link = self.link();
            limited_in!(info, &link.span(), link.limiter, "stays", cause, "a connection stays in user space");
        });
    }

    fn cut(&self, trouble: &Trouble) -> Verdict {
        add(&self.link().counters.kernel_cut, 1);
        self.give_up(trouble);
        Verdict::Over
    }

    /// When it may be handed to the kernel, should nothing happen until then. What stays by choice has to say
    /// something first.
    pub(in crate::mesh::edge) fn hand_over_at(&self) -> Option<Instant> {
        match self.kernel.stage {
            Stage::Wanted { from } if self.kernel.stays != Some(Stays::Picked) => Some(from),
            _ => None,
        }
    }

    /// The regular look at a connection in the kernel: counters, and what no event tells of. True: it needs
    /// a turn. With the pause before the next one.
    pub(in crate::mesh::edge) fn look(&mut self, clock: &Clock) -> (bool, Duration) {
        let now = clock.now();
        let Some(handed) = self.kernel.handed() else { return (false, LOOK) };
        let turn = handed.look(&self.sockets, now);
        self.collect(now);
        (turn, if turn { LOOK } else { look::pause(now - self.moved_at) })
    }

    /// Adds what has moved to the link's counters.
    pub(in crate::mesh::edge) fn collect(&mut self, now: Instant) {
        let Some(handed) = self.kernel.handed() else { return };
        let news = handed.news();
        let buffers = handed.send_buffers() as u64;
        let before = std::mem::replace(&mut self.kernel.buffers, buffers);
        let counters = &self.admission.link().counters;
        counters.kernel_send_buffers.fetch_add(buffers, Ordering::Relaxed);
        counters.kernel_send_buffers.fetch_sub(before, Ordering::Relaxed);
        counters.kernel_growth_refused.fetch_add(news.growth_refused, Ordering::Relaxed);
        let bytes = [&counters.bytes_to_provider, &counters.bytes_to_consumer];
        let messages = [&counters.messages_to_provider, &counters.messages_to_consumer];
        counters.kernel_errors.fetch_add(news.errors, Ordering::Relaxed);
        for direction in [0, 1] {
            let ((kernel_bytes, kernel_messages), (user_bytes, user_messages)) =
                (news.kernel[direction], news.user[direction]);
            counters.kernel_bytes.fetch_add(kernel_bytes, Ordering::Relaxed);
            counters.kernel_messages.fetch_add(kernel_messages, Ordering::Relaxed);
            bytes[direction].fetch_add(kernel_bytes + user_bytes, Ordering::Relaxed);
            messages[direction].fetch_add(kernel_messages + user_messages, Ordering::Relaxed);
            if kernel_messages + user_messages > 0 {
                self.moved_at = now;
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let now = Instant::now();
        self.collect(now);
        let picked = self.kernel.stays == Some(Stays::Picked);
        self.stay(None);
        let counters = &self.admission.link().counters;
        counters.kernel_send_buffers.fetch_sub(self.kernel.buffers, Ordering::Relaxed);
        // What stays in user space because it is better off there has not failed to reach the kernel.
        if now - self.kernel.long_since >= LONG && !picked {
            add(&counters.long_flows, 2);
            if let Stage::Handed(handed) = &self.kernel.stage {
                counters.long_flows_kernel.fetch_add(handed.reached_kernel(), Ordering::Relaxed);
            }
        }
    }
}
