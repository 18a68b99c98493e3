//! What the eBPF programs and pv-xconnect both read and write: the values of the maps.
//!
//! A *flow* is one direction of a connection: from the *sender*, a socket of a container, over our
//! *source* (its peer, which we accepted or connected) to our *sink*, whose peer receives. All structures
//! are without padding, in the machine's byte order, and as long on both sides: see the assertions.
#![no_std]

#[cfg(feature = "user")]
mod pod;

/// Set in [`Gate::word`]: what the sender sends goes to the sink. Not set: to the hold pair.
pub const REDIRECT: u64 = 1 << 63;

/// Set in [`Gate::inside`] beside the thread: its verdict has run, its bytes are about to be queued.
pub const DECIDED: u64 = 1;

/// In [`Gate::inside`]: user space. No thread has this address.
pub const USER: u64 = 2;

/// Bytes of a fence's marker: the key of the sink, then a secret (see `Marker`).
pub const MARKER_LEN: usize = size_of::<Marker>();

/// Where a flow's bytes go. Key: the cookie of the sender's socket, as the verdict sees it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// Key of the sink among the targets: its cookie.
    pub sink: u64,
    /// Key of the hold pair's end among the targets: its cookie.
    pub hold: u64,
    /// Index of the flow's [`Gate`].
    pub slot: u32,
    /// Zero.
    pub reserved: u32,
}

/// In [`Traced`]: no flow. There is no gate with this number.
pub const NO_SLOT: u32 = u32::MAX;

/// Which gates a socket belongs to. Key: its cookie, as the tracepoints see it. [`NO_SLOT`] where it is
/// nothing of the kind.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traced {
    /// Gate of the flow that has this socket as its source.
    pub source_slot: u32,
    /// Gate of the flow that has this socket as its sink.
    pub sink_slot: u32,
    /// Gate of the flow that has this socket, a container's, as its sender.
    pub sender_slot: u32,
    /// Zero.
    pub reserved: u32,
}

/// A flow's state, shared without a lock: an element of an array that user space has mapped.
///
/// The first cache line is written by the sender's thread, the second by whoever delivers.
#[repr(C, align(128))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gate {
    /// [`REDIRECT`] and, below it, the bytes whose verdict fell in this mode. The verdict adds, user space
    /// changes the mode by compare-and-exchange: it succeeds only where no byte slipped in between.
    pub word: u64,
    /// Socket buffers seen by the verdict.
    pub messages: u64,
    /// Bytes that could not be redirected to the sink and went to the hold pair: the sink had left the map, or
    /// order was not certain any more.
    pub fallen: u64,
    /// Bytes that could not even be held: they wait in the source's own queue. Such a flow is cut.
    pub stranded: u64,
    /// The thread that has the lock: it is between queueing its bytes and handing them on. 0: nobody; see
    /// [`DECIDED`] and [`USER`].
    pub inside: u64,
    /// How often a thread went on without the lock: order is not certain any more.
    pub overlaps: u64,
    /// Not 0: an out-of-band byte was sent, which the kernel drops.
    pub urgent: u64,
    /// Not 0: the lock is used (the source is about to have a verdict, and the kernel has the tracepoints).
    pub armed: u64,
    /// Bytes that were sent on the sink, by the kernel or by us, since it is traced.
    pub delivered: u64,
    /// How often the source left its map, because its peer was shut down, while a thread had entered and had no
    /// verdict yet: the kernel drops what that thread has taken.
    pub unhashed: u64,
    /// Not 0: the sink's peer asks for the credentials of who sends (`SO_PASSCRED`, `SO_PASSPIDFD`), which would be
    /// those of the kernel's worker.
    pub credentials: u64,
    /// The processor that whoever took the lock last was on.
    pub processor: u64,
    /// Zero.
    pub reserved: [u64; 4],
}

/// What all flows share: an element behind the gates, of the same size.
#[repr(C, align(128))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control {
    /// The handler that a socket without a verdict has (`sock_def_readable`). 0: the first socket among the traced
    /// ones that is told of bytes shows it.
    pub plain_handler: u64,
    /// How many threads of user space want to know, or have the lock, at the end of a `recvmsg` of theirs.
    pub receiving: u64,
    /// Zero.
    pub reserved: [u64; 14],
}

/// What is written to the fence's socket: it comes out of the sink's own receiving side once all that was
/// redirected before has been sent.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    /// Key of the sink among the targets.
    pub sink: u64,
    /// Number of the fence.
    pub number: u64,
    /// Known to this process alone, so that no peer can forge a marker.
    pub secret: [u64; 2],
}

/// Offsets in the kernel's structures, of the kernel that runs: from its BTF.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offsets {
    /// `__sk_common.skc_cookie` in `struct sock`.
    pub cookie: u64,
    /// `sk_data_ready` in `struct sock`.
    pub data_ready: u64,
    /// `peer` in `struct unix_sock`.
    pub peer: u64,
    /// `oob_skb` in `struct unix_sock`; 0: there is none (no `CONFIG_AF_UNIX_OOB`).
    pub urgent: u64,
    /// Pointer in `struct sock` to what holds the flags of `SO_PASSCRED` and `SO_PASSPIDFD`; 0: they are in
    /// `struct sock` (since Linux 6.16).
    pub flags_in: u64,
    /// The byte with these flags.
    pub flags: u64,
    /// These flags.
    pub flags_mask: u64,
}

const _: () = assert!(size_of::<Flow>() == 24 && align_of::<Flow>() == 8);
const _: () = assert!(size_of::<Traced>() == 16 && align_of::<Traced>() == 4);
const _: () = assert!(size_of::<Gate>() == 128 && size_of::<Control>() == 128);
const _: () = assert!(core::mem::offset_of!(Gate, delivered) == 64);
const _: () = assert!(size_of::<Marker>() == 32 && align_of::<Marker>() == 8);
const _: () = assert!(size_of::<Offsets>() == 56);
