//! What the world does, and which rules of the decision the mesh keeps.

/// What the sender does after its last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Waits for an answer for ever.
    Waits,
    /// `shutdown(SHUT_WR)` by the first thread, whatever the second one is doing.
    HalfCloses,
    /// Closes the socket, once no thread is in a `sendmsg` (such a thread holds the file).
    Closes,
}

/// A rule of the decision. A fault is to leave one out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// When the source enters the map no buffer on it was read in part: the kernel would take it whole.
    NothingHalfRead,
    /// The source enters the map in mode hold.
    HoldFirst,
    /// Mode redirect only after the source's queue was seen empty.
    LeftOversLookedFor,
    /// Mode redirect only when all was also flushed to the sink.
    FlushedFirst,
    /// The mode changes by compare-and-exchange with what was read.
    CountCompared,
    /// A direct read from a source with a verdict needs the lock.
    ReadUnderLock,
    /// ... and the count is compared again once the lock is ours.
    CountComparedUnderLock,
    /// Senders are between queue and sink one by one.
    OneByOne,
    /// The lock is kept over the pop, though the queue may be empty.
    LockedThroughPop,
    /// ... and nobody else takes it meanwhile, however long that lasts.
    KeptWhileEmpty,
    /// A verdict in a thread whose lock was taken from it counts as an overlap.
    LateVerdictCounted,
    /// A lock that no exit gave back is given back at the end of the `sendmsg`.
    GivenBackAtEnd,
    /// A thread that enters while the lock is its own goes on.
    OwnLockKept,
    /// The old handler (`sock_def_readable`), seen before the new one is set, is no entry.
    OldHandlerKnown,
    /// ... nor is it afterwards, in a thread that had loaded the pointer before.
    OldHandlerKnownLate,
    /// A fence before the sink is shut down.
    Fence,
    /// At the end the mode goes to hold, and the lock is taken once, before the fence.
    EndOverHold,
    /// At the end the hold pair and the source are read empty.
    HoldEmptied,
    /// The sink's leaving the map is followed by mode hold.
    UnhashFollowed,
    /// ... and by comparing what was delivered with what was redirected.
    DeliveredCompared,
    /// After an overlap the verdict holds.
    OverlapHolds,
    /// User space looks for overlaps after each read and before the end.
    OverlapLookedFor,
    /// Kernels without the tracepoints: a quiet time is so long that no thread can still be inside.
    QuietLongEnough,
    /// A flow whose source the map has refused stays in mode hold.
    RefusedHolds,
    /// There is such a time, without a verdict, after a direct read, before anything of it is forwarded.
    QuietAgain,
}

/// One system to be explored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    /// `sendmsg` calls of each thread.
    pub(crate) sends: [u8; 2],
    /// Socket buffers of each call.
    pub(crate) parts: u8,
    /// Buffers that may be charged to the sender (`SO_SNDBUF`).
    pub(crate) sndbuf: u8,
    /// Buffers that the receiver's queue takes.
    pub(crate) room: u8,
    pub(crate) ending: Ending,
    /// The receiver may half-close at any moment.
    pub(crate) receiver_half_closes: bool,
    /// A thread may give up waiting for the lock (the holder's processor was taken away).
    pub(crate) forced: bool,
    /// The tracepoints are there (kernels since 6.3).
    pub(crate) traced: bool,
    /// The map may refuse the source, which may have its verdict all the same.
    pub(crate) refusing: bool,
    /// The rules that are broken.
    pub(crate) without: &'static [Rule],
}

impl Scenario {
    pub(crate) const PLAIN: Self = Self {
        sends: [3, 0],
        parts: 1,
        sndbuf: 15,
        room: 2,
        ending: Ending::Waits,
        receiver_half_closes: false,
        forced: false,
        traced: true,
        refusing: false,
        without: &[],
    };

    /// Senders have a lock.
    pub(crate) fn one_by_one(&self) -> bool {
        self.traced && self.keeps(Rule::OneByOne)
    }

    pub(crate) fn keeps(&self, rule: Rule) -> bool {
        !self.without.contains(&rule)
    }
}
