//! One state of the whole system: the sender's threads, the kernel's queues, the gate, user space, the receiver.

use crate::queue::Queue;
use crate::scenario::{Ending, Scenario};

/// Where a sender's thread is inside `sendmsg`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum At {
    /// Between two calls.
    Outside,
    /// Wants memory for the next buffer.
    Allocating,
    /// The buffer is on the source's receive queue; the handler's address is not yet loaded.
    Queued,
    /// In `sock_def_readable`, before its tracepoint.
    OldHandler,
    /// In `sk_psock_verdict_data_ready`, before its tracepoint: waits for the lock.
    Entering,
    /// Has the lock, looks at the length of the queue.
    Looking,
    /// Before `read_skb`.
    Popping,
    /// Has a buffer, before the verdict's atomic add.
    Deciding,
    /// Redirects to the sink: is it in the map?
    Redirecting,
    /// It is not: counts the buffer as fallen.
    Falling,
    /// Before the buffer is queued on the sink.
    QueueingOnSink,
    /// Before the buffer is queued on the hold pair.
    QueueingOnHold,
    /// Before the second tracepoint.
    Leaving,
    /// Before the tracepoint at the end of `sendmsg`.
    Ending,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Thread {
    pub(crate) at: At,
    /// Calls to come, buffers to come in this one.
    pub(crate) sends: u8,
    pub(crate) parts: u8,
    /// The buffer that was popped and is not yet queued again.
    pub(crate) buffer: u8,
}

/// Who has the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Inside {
    Nobody,
    Thread(u8),
    /// It found the queue empty, and others may take the lock from it: without `Rule::KeptWhileEmpty`.
    Empty(u8),
    /// Its verdict has run.
    Decided(u8),
    User,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Gate {
    pub(crate) redirect: bool,
    pub(crate) count: u8,
    pub(crate) fallen: u8,
    pub(crate) delivered: u8,
    pub(crate) inside: Inside,
    pub(crate) armed: bool,
    pub(crate) overlapped: bool,
}

/// What the relay is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Pc {
    /// State User: reads the source, writes the sink.
    User,
    /// The gate is armed, the source not yet in the map.
    Armed,
    /// State Hold or Tail: reads the hold pair, writes the sink.
    Hold,
    /// All that fell in mode hold was read; before FIONREAD.
    Counted,
    /// The source's queue was empty; before the compare-and-exchange.
    SeenEmpty,
    /// Has the lock; before comparing the count again.
    Locked,
    /// Reads the source directly.
    Reading,
    /// All was read, no sender is left: flush, then shut the sink down.
    Flushing,
    /// State Kernel.
    Kernel,
    /// The source has ended: before the mode goes to hold.
    Ending,
    /// Takes the lock once and gives it back.
    Draining,
    /// Before the marker is written.
    Fence,
    /// The marker is on its way.
    Fencing,
    /// The sink has left the map: before the mode goes to hold.
    FallingBack,
    /// Before comparing what was delivered.
    Comparing,
    /// The sink was shut down.
    Done,
    /// Both ends were cut.
    Cut,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Relay {
    pub(crate) pc: Pc,
    /// Never to the kernel (again).
    pub(crate) tail: bool,
    /// The map has refused the source.
    pub(crate) outside: bool,
    /// The source's end was seen before the lock was taken.
    pub(crate) ending: bool,
    /// Buffers read from the hold pair in this mode.
    pub(crate) read: u8,
    /// Buffers redirected when the mode went back to hold.
    pub(crate) redirected: u8,
    /// Read and not yet written to the sink.
    pub(crate) memory: Queue,
    /// For the sanity of the properties: a direct read found left-overs.
    pub(crate) healed: bool,
    pub(crate) was_kernel: bool,
}

/// What must never be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Broken {
    /// The receiver got another buffer than the next one.
    Order,
    /// The receiver got a buffer whole after its first half.
    Duplicate,
    /// The receiver saw the end though buffers are missing.
    EarlyEnd,
    /// Cut without a reason that the decision allows.
    CutWithoutReason,
    /// State Kernel, and a buffer on the source that nobody is about to pop.
    LeftBehind,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) threads: [Thread; 2],
    /// Buffers ever queued on the source: their numbers are the order that the receiver must see.
    pub(crate) queued: u8,
    pub(crate) source: Queue,
    /// The first half of the oldest one was read by the relay: a pop would take it whole, once more.
    pub(crate) half_read: bool,
    /// ... and did.
    pub(crate) doubled: Option<u8>,
    /// The source's `data_ready` is the verdict's.
    pub(crate) verdict: bool,
    /// The sender sends no more (`RCV_SHUTDOWN` on the source).
    pub(crate) ended: bool,
    pub(crate) gate: Gate,
    /// The psock's queue of the sink; a buffer was sent and not yet counted.
    pub(crate) to_sink: Queue,
    pub(crate) counting: bool,
    pub(crate) sink_in_map: bool,
    pub(crate) sink_hangup: bool,
    /// The sink was shut down by us.
    pub(crate) shut: bool,
    /// The marker is in the sink's own receiving side.
    pub(crate) marker: bool,
    /// The psock's queue of the hold pair, and its receiving side.
    pub(crate) to_hold: Queue,
    pub(crate) hold: Queue,
    /// The receiver: buffers handed to it, those it has not read, buffers that the kernel dropped.
    pub(crate) got: u8,
    pub(crate) unread: u8,
    pub(crate) lost: bool,
    pub(crate) relay: Relay,
    pub(crate) broken: Option<Broken>,
}

impl State {
    pub(crate) fn start(scenario: &Scenario) -> Self {
        let thread = |sends| Thread { at: At::Outside, sends, parts: 0, buffer: 0 };
        let inside = Inside::Nobody;
        Self {
            threads: [thread(scenario.sends[0]), thread(scenario.sends[1])],
            queued: 0,
            source: Queue::default(),
            half_read: false,
            doubled: None,
            verdict: false,
            ended: false,
            gate: Gate {
                redirect: false,
                count: 0,
                fallen: 0,
                delivered: 0,
                inside,
                armed: false,
                overlapped: false,
            },
            to_sink: Queue::default(),
            counting: false,
            sink_in_map: true,
            sink_hangup: false,
            shut: false,
            marker: false,
            to_hold: Queue::default(),
            hold: Queue::default(),
            got: 0,
            unread: 0,
            lost: false,
            relay: Relay {
                pc: Pc::User,
                tail: false,
                outside: false,
                ending: false,
                read: 0,
                redirected: 0,
                memory: Queue::default(),
                healed: false,
                was_kernel: false,
            },
            broken: None,
        }
    }

    /// A buffer reaches the receiver's queue.
    pub(crate) fn deliver(&mut self, buffer: u8) {
        if buffer != self.got {
            self.broken = Some(Broken::Order);
        } else if self.doubled == Some(buffer) {
            self.broken = Some(Broken::Duplicate);
        }
        self.got += 1;
        self.unread += 1;
    }

    /// All that is asked for: everything delivered and the end seen, or cut (which must have a reason).
    pub(crate) fn is_good(&self, scenario: &Scenario) -> bool {
        let idle = |thread: &Thread| thread.at == At::Outside && thread.sends == 0;
        let sent = self.threads.iter().all(idle) && self.got == self.queued;
        let ended = scenario.ending == Ending::Waits || (self.ended && self.shut);
        self.broken.is_none() && (self.relay.pc == Pc::Cut || (sent && ended))
    }

    /// What must hold in every state, beside what the steps themselves report.
    pub(crate) fn check(&self) -> Option<Broken> {
        let will_pop =
            |thread: &&Thread| matches!(thread.at, At::Queued | At::Entering | At::Looking | At::Popping);
        let pops = self.threads.iter().filter(will_pop).count();
        let left_behind = self.relay.pc == Pc::Kernel && usize::from(self.source.len()) > pops;
        self.broken.or(left_behind.then_some(Broken::LeftBehind))
    }
}
