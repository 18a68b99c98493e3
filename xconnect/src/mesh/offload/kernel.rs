//! The eBPF programs as loaded, and their maps: what every flow through the kernel shares.
//!
//! All of it may be used by any thread at any time; nothing here takes a lock. Maps and programs go with the
//! process, however it ends: they are held by its descriptors alone.
#![cfg_attr(not(test), expect(dead_code, reason = "the hand-over of flows uses the rest"))]

mod load;
mod selftest;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use aya::programs::raw_trace_point::RawTracePointLink;
use aya::programs::sk_skb::SkSkbLink;
use rustix::net::SendFlags;
use xconnect_common::{Flow, Gate, MARKER_LEN, Marker, Traced};

use super::unavailable::Unavailable;
use crate::sys::bpf::Map;
use crate::sys::memory::{SharedArray, shared_struct};

/// The kernel's types (CONFIG_DEBUG_INFO_BTF).
const TYPES: &str = "/sys/kernel/btf/vmlinux";

/// In [`Traced`]: no flow. There is no gate with this number.
pub(crate) const NO_SLOT: u32 = u32::MAX;

shared_struct! {
    /// [`Gate`], word by word: what is changed by the programs too. An element of the mapped array.
    #[derive(Debug, Default)]
    align(128) pub(crate) struct AtomicGate {
        /// Mode and bytes.
        pub(in crate::mesh) word: AtomicU64,
        /// Socket buffers.
        pub(in crate::mesh) messages: AtomicU64,
        /// Bytes held instead of redirected.
        pub(in crate::mesh) fallen: AtomicU64,
        /// Bytes neither redirected nor held.
        pub(in crate::mesh) stranded: AtomicU64,
        /// Who is between queueing and handing on.
        pub(in crate::mesh) inside: AtomicU64,
        /// How often somebody was.
        pub(in crate::mesh) entries: AtomicU64,
        /// How often two were.
        pub(in crate::mesh) overlaps: AtomicU64,
        /// Whether this is kept.
        pub(in crate::mesh) armed: AtomicU64,
        /// Bytes sent on the sink.
        pub(in crate::mesh) delivered: AtomicU64,
        reserved: [AtomicU64; 7],
    }
}

const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<AtomicGate>() == size_of::<Gate>() && align_of::<AtomicGate>() == align_of::<Gate>());
    assert!(offset_of!(AtomicGate, word) == offset_of!(Gate, word));
    assert!(offset_of!(AtomicGate, messages) == offset_of!(Gate, messages));
    assert!(offset_of!(AtomicGate, fallen) == offset_of!(Gate, fallen));
    assert!(offset_of!(AtomicGate, stranded) == offset_of!(Gate, stranded));
    assert!(offset_of!(AtomicGate, inside) == offset_of!(Gate, inside));
    assert!(offset_of!(AtomicGate, entries) == offset_of!(Gate, entries));
    assert!(offset_of!(AtomicGate, overlaps) == offset_of!(Gate, overlaps));
    assert!(offset_of!(AtomicGate, armed) == offset_of!(Gate, armed));
    assert!(offset_of!(AtomicGate, delivered) == offset_of!(Gate, delivered));
};

/// What this kernel can do beyond what is indispensable, as it was seen to do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Features {
    /// A socket can refuse descriptors (`SO_PASSRIGHTS`, since Linux 6.16).
    pub(crate) refuses_rights: bool,
    /// Both tracepoints tell (since Linux 6.3): threads take turns, and what was delivered is counted.
    pub(crate) traced: bool,
}

/// The gates; there is one more than flows, for the self-test.
pub(crate) type GateRegion = SharedArray<AtomicGate>;

/// The path through the kernel.
#[derive(Debug)]
pub(crate) struct KernelPath {
    /// First of all: nothing runs any more when the rest goes.
    _verdict: SkSkbLink,
    _tracepoints: Vec<RawTracePointLink>,
    sources: Map<u64, i32>,
    targets: Map<u64, i32>,
    flows: Map<u64, Flow>,
    traced: Map<u64, Traced>,
    gates: GateRegion,
    count: u32,
    /// What is written here is a fence; the other end is a source.
    fence: UnixStream,
    _fence_source: UnixStream,
    secret: [u64; 2],
    features: Features,
}

impl KernelPath {
    /// Loads the programs for at most `flows` flows, and tries them.
    ///
    /// # Errors
    /// Why there is no path through the kernel.
    pub(crate) fn load(object: &[u8], flows: u32) -> Result<Self, Unavailable> {
        Self::load_with(object, flows, Path::new(TYPES))
    }

    /// As [`load`](Self::load), with the kernel's types from that file.
    pub(super) fn load_with(object: &[u8], flows: u32, types: &Path) -> Result<Self, Unavailable> {
        let mut path = load::load(object, flows, types)?;
        path.features = selftest::run(&path)?;
        Ok(path)
    }

    /// What this kernel can do.
    pub(crate) fn features(&self) -> Features {
        self.features
    }

    /// How many flows there can be: the gates below this number are for them.
    pub(crate) fn flows(&self) -> u32 {
        self.count
    }

    /// All gates. One is to be reached before it is used: that may fail, for want of memory.
    pub(crate) fn region(&self) -> &GateRegion {
        &self.gates
    }

    /// The gate with a number below [`flows`](Self::flows).
    pub(crate) fn gate(&self, slot: u32) -> &AtomicGate {
        &self.gates[slot as usize]
    }

    /// Lets a socket be redirected to.
    ///
    /// # Errors
    /// `E2BIG` where the map is full; otherwise see [`Map::put`].
    pub(crate) fn add_target(&self, cookie: u64, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.targets.put_socket(&cookie, socket)
    }

    /// Sends what the socket's peer writes through the verdict. It cannot be taken back but by closing it.
    ///
    /// # Errors
    /// As [`add_target`](Self::add_target).
    pub(crate) fn add_source(&self, cookie: u64, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.sources.put_socket(&cookie, socket)
    }

    /// Says where the bytes of the socket with the cookie `sender` go.
    ///
    /// # Errors
    /// `E2BIG` where the map is full, `ENOMEM`.
    pub(crate) fn add_flow(&self, sender: u64, flow: &Flow) -> io::Result<()> {
        self.flows.put(&sender, flow)
    }

    /// Takes a flow out; to be called when its source is closed.
    pub(crate) fn remove_flow(&self, sender: u64) {
        // It fails only where there is none.
        let _ = self.flows.remove(&sender);
    }

    /// Says which gates a socket of ours belongs to.
    ///
    /// # Errors
    /// As [`add_flow`](Self::add_flow).
    pub(crate) fn trace(&self, cookie: u64, traced: &Traced) -> io::Result<()> {
        self.traced.put(&cookie, traced)
    }

    /// Undoes [`trace`](Self::trace).
    pub(crate) fn forget(&self, cookie: u64) {
        // As in `remove_flow`.
        let _ = self.traced.remove(&cookie);
    }

    /// Sends a marker behind everything that was redirected to the sink so far. It comes out of the sink's own
    /// receiving side; if the sink has left the map, never.
    ///
    /// # Errors
    /// `EAGAIN` where too many markers are under way; those of send(2).
    pub(crate) fn fence(&self, sink: u64, number: u64) -> io::Result<Marker> {
        let marker = Marker { sink, number, secret: self.secret };
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        // One socket buffer: as short as this it is sent whole or not at all (`unix_stream_sendmsg`).
        let sent =
            rustix::io::retry_on_intr(|| rustix::net::send(&self.fence, &marker_bytes(&marker), flags))?;
        if sent == MARKER_LEN { Ok(marker) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// What makes a marker ours.
    pub(crate) fn secret(&self) -> [u64; 2] {
        self.secret
    }
}

/// A marker as it travels.
pub(crate) fn marker_bytes(marker: &Marker) -> [u8; MARKER_LEN] {
    let mut bytes = [0; MARKER_LEN];
    let words = [marker.sink, marker.number, marker.secret[0], marker.secret[1]];
    for (at, word) in bytes.chunks_exact_mut(size_of::<u64>()).zip(words) {
        at.copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

/// A socket's cookie, as an error of loading where there is none.
fn cookie(socket: impl AsFd) -> Result<u64, Unavailable> {
    crate::sys::socket::cookie(socket.as_fd())
        .map_err(|error| Unavailable::call("read a socket's cookie", error))
}

#[cfg(test)]
mod tests;
