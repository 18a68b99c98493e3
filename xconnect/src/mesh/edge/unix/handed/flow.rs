//! One direction of a connection that is in the kernel's maps: what is done next. docs/decisions/0008
//! has the why.

mod untraced;

use std::io::ErrorKind;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use super::super::carry::is_shortage;
use super::super::scratch::Scratch;
use super::super::trouble::Trouble;
use super::event::is_refusal;
use crate::mesh::offload::{Gate, KernelPath};
use crate::sys::scm::{self, Sender};
use crate::sys::socket;
use untraced::{Fence, Unsure};

/// For so long after the last byte was delivered a sink that has left the map may still deliver.
const SETTLING: Duration = Duration::from_millis(50);
/// So many reads may find nothing although bytes wait.
const BARREN: u32 = 50;
/// For so long the hold pair may owe us bytes.
const OWED: Duration = Duration::from_secs(5);
/// For so long a thread of the sender may be in the middle of a message while we want to read.
const LOCKED_OUT: Duration = Duration::from_secs(1);
/// How long a turn that no event tells of is put off, and at most where it is put off again and again.
pub(super) const PAUSE: Duration = Duration::from_millis(2);
pub(super) const LONG_PAUSE: Duration = Duration::from_millis(50);
/// How often it is looked at once whether everything was sent, before a timer is set.
const LOOKS: u32 = 16;

/// Where a flow is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The verdict holds: we forward what it holds.
    Hold,
    /// The kernel forwards.
    Kernel,
    /// Was in the kernel: what was redirected is still being sent. The time is when it last went on.
    Settling { delivered: u64, since: Instant },
    /// As `Hold`, for good: the sink has left the map.
    Tail,
    /// The source has ended: what was held, then what is in its queue.
    Draining,
    /// Everything is delivered and told.
    Over,
}

/// What the IO of one flow needs.
pub(super) struct Io<'a> {
    pub(super) source: BorrowedFd<'a>,
    pub(super) sink: BorrowedFd<'a>,
    /// Our end of the hold pair.
    pub(super) hold: BorrowedFd<'a>,
    pub(super) scratch: &'a mut Scratch,
    pub(super) now: Instant,
    pub(super) kernel: &'a KernelPath,
    /// The sink's cookie, for fences.
    pub(super) sink_cookie: u64,
    /// The other direction awaits a marker, which comes out of this one's source.
    pub(super) source_fenced: bool,
}

/// What one step came to.
pub(super) enum Progress {
    /// Something was done; there may be more.
    Stepped,
    /// Nothing until an event.
    Waits,
    /// Nothing until others had their turn.
    Again,
    /// Nothing until an event or a few milliseconds.
    Later,
    /// The connection has to be cut.
    Broken(Trouble),
}

/// One direction.
pub(super) struct Flow {
    pub(super) gate: Gate,
    state: State,
    /// Sends say that they are from here.
    sender: Option<Sender>,
    /// Bytes taken from the hold pair since the mode is hold.
    read: u64,
    /// Bytes that the kernel is to have sent on the sink, all in all.
    redirected: u64,
    /// The gate's count of bytes that fell, when redirecting began last.
    fallen: u64,
    /// Socket buffers that the kernel forwarded before, and the gate's count when redirecting began last.
    messages: (u64, u64),
    /// How often it was looked whether all is sent, and the fence where its marker is awaited.
    looks: u32,
    fence: Option<Fence>,
    /// Kernels that do not count what they send: so many bytes are known to be sent, of those redirected since
    /// redirecting began last; and what was redirected then in all, once that is over.
    proven: u64,
    stint: u64,
    /// The redirected bytes when they were last looked at, and since when they are these.
    steady: (u64, Instant),
    /// Bytes that we have sent on the sink since it is traced.
    sent: u64,
    held: Vec<u8>,
    held_from: usize,
    /// The sink had no room.
    full: bool,
    source_ended: bool,
    sink_left: bool,
    sink_gone: bool,
    /// The kernel could not send on the sink, or on the hold pair: the error's number.
    failed: Option<i32>,
    /// The map did not take the source: it is read by us, whether it has its verdict or not, and the kernel does
    /// not forward.
    pub(super) outside: bool,
    /// On a kernel that does not tell who is inside: since when no verdict has run.
    quiet: Option<(u64, Instant)>,
    unsure: Option<Unsure>,
    /// Since when the lock could not be had.
    locked_out: Option<Instant>,
    reached_kernel: bool,
    tells_source: bool,
    /// Since when the hold pair owes us bytes.
    owed: Option<Instant>,
    /// Reads that found nothing although bytes wait.
    barren: u32,
    /// Moved by us, not yet counted.
    pub(super) moved: (u64, u64),
    /// What was counted of the gate.
    counted: (u64, u64),
    errors: u64,
}

impl Flow {
    pub(super) fn new(gate: Gate, sender: Option<Sender>, now: Instant) -> Self {
        Self {
            gate,
            state: State::Hold,
            sender,
            read: 0,
            redirected: 0,
            fallen: 0,
            messages: (0, 0),
            looks: 0,
            fence: None,
            proven: 0,
            stint: 0,
            steady: (0, now),
            sent: 0,
            held: Vec::new(),
            held_from: 0,
            full: false,
            source_ended: false,
            sink_left: false,
            sink_gone: false,
            failed: None,
            outside: false,
            quiet: None,
            unsure: None,
            locked_out: None,
            reached_kernel: false,
            tells_source: false,
            owed: None,
            barren: 0,
            moved: (0, 0),
            counted: (0, 0),
            errors: 0,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    pub(super) fn in_kernel(&self) -> bool {
        self.state == State::Kernel
    }

    /// Whether the kernel has ever forwarded for this flow.
    pub(super) fn reached_kernel(&self) -> bool {
        self.reached_kernel
    }

    /// A write waits for room on the sink.
    pub(super) fn wants_room(&self) -> bool {
        self.full && self.state != State::Over
    }

    pub(super) fn has_room(&mut self) {
        self.full = false;
    }

    /// The source's peer sends no more.
    pub(super) fn source_ended(&mut self) {
        self.source_ended = true;
    }

    /// The sink's peer has half-closed: the kernel has taken the sink out of the map.
    pub(super) fn sink_left(&mut self) {
        self.sink_left = true;
    }

    /// The kernel's worker has given up on the sink. Where it had nothing to send nothing is lost, but it will
    /// not send again.
    pub(super) fn sink_failed(&mut self, error: i32) {
        if matches!(self.state, State::Kernel | State::Settling { .. }) {
            self.failed = Some(error);
        } else {
            self.sink_left = true;
        }
    }

    /// The kernel's worker has given up on the hold pair.
    pub(super) fn hold_failed(&mut self, error: i32) {
        self.failed = Some(error);
    }

    /// Whether it may be tried again to put the source into the map.
    pub(super) fn may_enter(&self) -> bool {
        let ends = self.source_ended || self.sink_left || self.sink_gone;
        self.outside && self.state == State::Hold && self.unsure.is_none() && !ends
    }

    /// How long its turn is put off: the more often it was looked in vain whether all is sent, the longer.
    pub(super) fn pause(&self) -> Duration {
        match self.state {
            State::Settling { .. } => settling_pause(self.looks),
            _ => PAUSE,
        }
    }

    /// What is on the sink so far was not sent for this flow.
    pub(super) fn begin(&mut self) {
        self.sent = self.gate.delivered();
    }

    /// The sink's peer is gone.
    pub(super) fn sink_gone(&mut self) {
        self.sink_gone = true;
    }

    /// Looks whether bytes are stuck in the source's queue: its peer has shut down reading, by which the
    /// kernel takes the source out of the map though more may come. True: `rejoin` it.
    pub(super) fn is_stuck(&mut self, source: BorrowedFd<'_>, now: Instant) -> bool {
        let word = self.gate.redirected();
        let unchanged = self.steady.0 == word;
        if !unchanged {
            self.steady = (word, now);
        }
        let stuck =
            self.state == State::Kernel && unchanged && socket::waiting(source).is_ok_and(|bytes| bytes > 0);
        if stuck {
            self.leave(now);
        }
        stuck
    }

    /// Bytes and socket buffers that the kernel has forwarded since the last call.
    pub(super) fn count(&mut self) -> (u64, u64) {
        let fallen = self.gate.fallen() - self.fallen;
        let bytes = match self.state {
            State::Kernel => self.redirected + self.gate.redirected().saturating_sub(fallen),
            State::Settling { .. } => self.redirected.saturating_sub(fallen),
            _ => self.redirected,
        };
        let messages = match self.state {
            State::Kernel => self.messages.0 + self.gate.messages() - self.messages.1,
            _ => self.messages.0,
        };
        let news = (bytes.saturating_sub(self.counted.0), messages.saturating_sub(self.counted.1));
        self.counted = (self.counted.0 + news.0, self.counted.1 + news.1);
        news
    }

    /// Bytes that the kernel could not forward, since the last call.
    pub(super) fn count_errors(&mut self) -> u64 {
        let errors = self.gate.fallen() + self.gate.stranded();
        let news = errors - self.errors;
        self.errors = errors;
        news
    }

    /// Bytes that were held since the mode is hold.
    fn held_total(&self) -> u64 {
        self.gate.held() - self.fallen
    }

    pub(super) fn step(&mut self, io: &mut Io<'_>) -> Progress {
        if self.state == State::Over {
            return Progress::Waits;
        }
        if self.sink_gone {
            self.forget(io);
            return Progress::Stepped;
        }
        if let Some(error) = self.failed {
            return Progress::Broken(failure(error));
        }
        if self.gate.overlaps() > 0 {
            return self.overtaken(io);
        }
        if let Some(trouble) = self.broken_promise() {
            return Progress::Broken(trouble);
        }
        if self.held_from < self.held.len() {
            return if self.full { Progress::Waits } else { self.flush(io) };
        }
        match self.state {
            State::Kernel => self.watch(io),
            State::Settling { delivered, since } => self.settle(delivered, since, io),
            State::Hold | State::Tail | State::Draining => self.relay(io),
            State::Over => Progress::Waits,
        }
    }

    /// What the programs have seen that cannot be mended.
    pub(super) fn broken_promise(&self) -> Option<Trouble> {
        if self.gate.stranded() > 0 {
            Some(Trouble::Stranded)
        } else if self.gate.has_lost_urgent() {
            Some(Trouble::Urgent)
        } else if self.gate.was_unhashed_under_way() {
            Some(Trouble::LostAtShutdown)
        } else if self.gate.asks_for_credentials() {
            Some(Trouble::Credentials)
        } else {
            None
        }
    }

    /// Order is not certain. Where the receiver is gone that is of no matter, and its cause: the kernel refuses
    /// what is redirected to it, so that the sender's thread does not come to give its lock back.
    fn overtaken(&mut self, io: &Io<'_>) -> Progress {
        if socket::is_gone(io.sink) {
            self.sink_gone = true;
            return Progress::Stepped;
        }
        if let Some(progress) = self.worker_failed(io) {
            return progress;
        }
        if self.sink_left {
            return Progress::Broken(Trouble::LostAtHalfClose);
        }
        tracing::debug!(state = ?self.state, gate = ?*self.gate, read = self.read, "order is not certain");
        Progress::Broken(Trouble::Overtaken)
    }

    /// Whether the kernel's worker has given up on the sink, of which the event may still be on its way here.
    fn worker_failed(&mut self, io: &Io<'_>) -> Option<Progress> {
        match socket::take_error(io.sink)? {
            error if is_refusal(error) => {
                self.sink_gone = true;
                Some(Progress::Stepped)
            }
            error => Some(Progress::Broken(failure(error))),
        }
    }

    /// Nobody takes anything any more. The source is told once it is no flow's sink any more (`tells_source`):
    /// shutting it down looks the same as a half-close of its peer, which would be a loss there.
    fn forget(&mut self, io: &Io<'_>) {
        self.held = Vec::new();
        self.held_from = 0;
        self.full = false;
        if self.state == State::Kernel {
            self.leave(io.now);
        }
        if let State::Settling { .. } = self.state {
            self.redirected = self.redirected.saturating_sub(self.gate.fallen() - self.fallen);
        }
        self.state = State::Over;
        self.tells_source = true;
    }

    /// Whether the source is still to be told that nothing is taken any more; once.
    pub(super) fn tells_source(&mut self) -> bool {
        std::mem::take(&mut self.tells_source)
    }

    fn watch(&mut self, io: &Io<'_>) -> Progress {
        if self.gate.fallen() > self.fallen {
            // Nothing tells that the sink's peer has shut down receiving, but that redirects fail.
            self.sink_left = true;
        }
        if !(self.source_ended || self.sink_left) {
            return match self.take_marker(io) {
                Ok(Some(_)) => Progress::Stepped,
                Ok(None) if self.fence.is_some() => Progress::Later,
                Ok(None) => Progress::Waits,
                Err(error) => Progress::Broken(Trouble::Read(error)),
            };
        }
        self.leave(io.now);
        Progress::Stepped
    }

    /// Back to hold mode. Before anything else is sent on the sink, what was redirected has to be.
    fn leave(&mut self, now: Instant) {
        self.messages.0 += self.gate.messages() - self.messages.1;
        self.stint = self.gate.hold();
        self.redirected += self.stint;
        self.read = 0;
        self.looks = 0;
        self.state = State::Settling { delivered: self.gate.delivered(), since: now };
    }

    fn settle(&mut self, delivered: u64, since: Instant, io: &mut Io<'_>) -> Progress {
        let fallen = self.gate.fallen() - self.fallen;
        let due = self.redirected.saturating_sub(fallen);
        let (settled, present) = if io.kernel.features().traced {
            let present = self.gate.delivered();
            (present.saturating_sub(self.sent) == due, present)
        } else {
            match self.fenced(fallen, io) {
                Ok(fenced) => (fenced, delivered),
                Err(error) => return Progress::Broken(Trouble::Read(error)),
            }
        };
        if settled {
            self.redirected = due;
            match (self.source_ended, self.sink_left) {
                (true, _) => self.drain(),
                (false, true) => self.state = State::Tail,
                (false, false) => self.state = State::Hold,
            }
            return Progress::Stepped;
        }
        if present != delivered {
            self.state = State::Settling { delivered: present, since: io.now };
        } else if self.sink_left && io.now.duration_since(since) >= SETTLING {
            return self.worker_failed(io).unwrap_or(Progress::Broken(Trouble::LostAtHalfClose));
        }
        self.looks += 1;
        // The kernel's worker needs some microseconds.
        if self.looks <= LOOKS { Progress::Again } else { Progress::Later }
    }

    /// The source has ended: quiet counts from here.
    fn drain(&mut self) {
        self.state = State::Draining;
        self.quiet = None;
    }

    /// Forwards what is held, then looks at the source's queue.
    fn relay(&mut self, io: &mut Io<'_>) -> Progress {
        if self.unsure.is_some() {
            // What is held now is younger, or it cannot be ordered.
            return self.read_unlocked(0, io);
        }
        match socket::receive_plain(io.hold, &mut io.scratch.buffer) {
            // The pair is our own: no end comes.
            Ok(len) => {
                self.read += len as u64;
                return self.forward(len, io);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => return Progress::Stepped,
            Err(error) => return Progress::Broken(Trouble::Read(error)),
        }
        if self.read < self.held_total() {
            // On its way to the hold pair, which will tell. If it does not, the kernel could not send.
            let since = *self.owed.get_or_insert(io.now);
            let late = io.now.duration_since(since) >= OWED;
            return if late { Progress::Broken(Trouble::Stranded) } else { Progress::Later };
        }
        self.owed = None;
        if self.source_ended && self.state != State::Draining {
            self.drain();
        } else if self.state == State::Hold && self.sink_left {
            self.state = State::Tail;
        }
        let waiting = match socket::waiting(io.source) {
            Ok(waiting) => waiting,
            Err(error) => return Progress::Broken(Trouble::Read(error)),
        };
        match (waiting, self.state) {
            (0, State::Hold) if self.outside => Progress::Waits,
            (0, State::Hold) => self.redirect(),
            (0, State::Tail) => Progress::Waits,
            // The end's last look, too, is one that no thread of the sender can get ahead of.
            (waiting, _) if io.kernel.features().traced => self.read_locked(waiting, io),
            (waiting, _) => self.read_unlocked(waiting, io),
        }
    }

    /// Everything up to here is on the sink, and nothing waits: the kernel goes on from here.
    fn redirect(&mut self) -> Progress {
        let fallen = self.gate.fallen();
        let messages = self.gate.messages();
        if self.gate.redirect(self.read - (fallen - self.fallen)) {
            self.state = State::Kernel;
            (self.read, self.fallen, self.messages.1, self.proven) = (0, fallen, messages, 0);
            self.reached_kernel = true;
            // The bytes are counted from 0: what was seen of them is of no use.
            self.steady.0 = u64::MAX;
        }
        Progress::Stepped
    }

    /// Reads the source with the sender's threads locked out: what was on its queue before the verdict had it
    /// (every arrival takes one from it, so these stay), or the rest after the end.
    fn read_locked(&mut self, waiting: usize, io: &mut Io<'_>) -> Progress {
        // All of it at once: a buffer that is half read would be taken whole by the verdict.
        io.scratch.fit(waiting);
        let Some(turn) = self.gate.lock() else { return self.locked_out(io.now) };
        let waiting = socket::waiting(io.source).unwrap_or(usize::MAX);
        let unchanged = self.read == self.held_total() && waiting <= io.scratch.buffer.len();
        let read = if unchanged && waiting > 0 {
            socket::receive_plain(io.source, &mut io.scratch.buffer[..waiting])
        } else {
            Ok(0)
        };
        // A read has given it back already, before it could wake up the sender on our processor.
        drop(turn);
        self.locked_out = None;
        if self.gate.overlaps() > 0 {
            return self.overtaken(io);
        }
        // Whoever had the lock before us has told by now.
        if let Some(trouble) = self.broken_promise() {
            return Progress::Broken(trouble);
        }
        match read {
            Ok(0) if unchanged && self.state == State::Draining => self.end(io),
            Ok(0) => Progress::Stepped,
            Ok(len) => {
                self.barren = 0;
                self.forward(len, io)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // An out-of-band byte is counted, but not read.
                self.barren += 1;
                if self.barren < BARREN { Progress::Later } else { Progress::Broken(Trouble::Urgent) }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Progress::Stepped,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                self.source_ended = true;
                Progress::Stepped
            }
            Err(error) => Progress::Broken(Trouble::Read(error)),
        }
    }

    /// A thread of the sender has the lock: for longer than an instant only where it waits in the middle of a
    /// message. Not for ever.
    fn locked_out(&mut self, now: Instant) -> Progress {
        let since = *self.locked_out.get_or_insert(now);
        if now.duration_since(since) < LOCKED_OUT {
            Progress::Later
        } else {
            Progress::Broken(Trouble::LockedOut)
        }
    }

    /// Tells the receiver that everything has come.
    fn end(&mut self, io: &Io<'_>) -> Progress {
        socket::end_sending(io.sink);
        self.state = State::Over;
        Progress::Stepped
    }

    /// Sends what was read; what the sink does not take is kept.
    fn forward(&mut self, len: usize, io: &mut Io<'_>) -> Progress {
        if self.gate.overlaps() > 0 {
            return self.overtaken(io);
        }
        self.moved.0 += len as u64;
        self.moved.1 += 1;
        let sent = match scm::send(io.sink, &io.scratch.buffer[..len], &[], self.sender) {
            Ok(sent) => Ok(sent),
            Err(error) => self.refused(error).map(|()| 0),
        };
        let taken = *sent.as_ref().unwrap_or(&0);
        self.sent += taken as u64;
        if taken < len && !self.sink_gone {
            self.held = io.scratch.copy_of(taken, len);
            self.held_from = 0;
            self.full = sent.is_ok();
        }
        sent.map_or_else(|progress| progress, |_| Progress::Stepped)
    }

    fn flush(&mut self, io: &mut Io<'_>) -> Progress {
        match scm::send(io.sink, &self.held[self.held_from..], &[], self.sender) {
            Ok(sent) => {
                self.sent += sent as u64;
                self.held_from += sent;
                if self.held_from == self.held.len() {
                    io.scratch.recycle(std::mem::take(&mut self.held));
                    self.held_from = 0;
                } else {
                    self.full = true;
                }
                Progress::Stepped
            }
            Err(error) => match self.refused(error) {
                Ok(()) => {
                    self.full = true;
                    Progress::Stepped
                }
                Err(progress) => progress,
            },
        }
    }

    /// `Ok`: nothing was sent, because there is no room or nobody.
    fn refused(&mut self, error: std::io::Error) -> Result<(), Progress> {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(()),
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::NotConnected => {
                self.sink_gone = true;
                Ok(())
            }
            _ if is_shortage(&error) => Err(Progress::Later),
            _ => Err(Progress::Broken(Trouble::Write(error))),
        }
    }
}

/// What a worker of the kernel's that has given up means.
fn failure(error: i32) -> Trouble {
    Trouble::KernelFailed(std::io::Error::from_raw_os_error(error))
}

fn settling_pause(looks: u32) -> Duration {
    PAUSE.saturating_mul(1 << looks.saturating_sub(LOOKS + 1).min(16)).min(LONG_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_receiver_is_looked_at_less_and_less_often() {
        let pauses: Vec<_> = (LOOKS + 1..LOOKS + 8).map(settling_pause).map(|it| it.as_millis()).collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 50, 50]);
        assert_eq!(settling_pause(u32::MAX), LONG_PAUSE);
    }
}
