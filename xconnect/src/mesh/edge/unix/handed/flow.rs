//! One direction of a connection that is in the kernel's maps: what is done next. docs/decisions/0008
//! has the why.

mod relay;
mod settle;
mod stop;
mod untraced;

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use super::super::scratch::Scratch;
use super::super::trouble::Trouble;
use crate::mesh::offload::{Gate, KernelPath};
use crate::sys::scm::Sender;
use crate::sys::socket;
use settle::settling_pause;
use stop::failure;
use untraced::{Fence, Unsure};

/// How long a turn that no event tells of is put off, and at most where it is put off again and again.
pub(super) const PAUSE: Duration = Duration::from_millis(2);
pub(super) const LONG_PAUSE: Duration = Duration::from_millis(50);

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
    /// kernel takes the source out of the map though more may come. True: `rejoin` it. Not while a thread is inside: it
    /// has yet to tell whether it was cut off (`Gate::unhashed`).
    pub(super) fn is_stuck(&mut self, source: BorrowedFd<'_>, now: Instant) -> bool {
        let word = self.gate.redirected();
        let unchanged = self.steady.0 == word;
        if !unchanged {
            self.steady = (word, now);
        }
        let stuck = self.state == State::Kernel
            && unchanged
            && self.gate.is_free()
            && socket::waiting(source).is_ok_and(|bytes| bytes > 0);
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
            return self.await_last_marker(io);
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
}
