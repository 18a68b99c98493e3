//! The eBPF programs as loaded, and their maps: what every flow through the kernel shares.
//!
//! All of it may be used by any thread at any time; nothing here takes a lock. Maps and programs go with the
//! process, however it ends: they are held by its descriptors alone.
mod load;
mod selftest;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use aya::programs::raw_trace_point::RawTracePointLink;
use aya::programs::sk_skb::SkSkbLink;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use xconnect_common::{Flow, MARKER_LEN, Marker, NO_SLOT, Traced};

use super::gate::AtomicGate;
use super::reports::Reports;
use super::slots::Slots;
use super::unavailable::Unavailable;
use crate::sys::bpf::Map;
use crate::sys::memory::SharedArray;

/// The kernel's types (CONFIG_DEBUG_INFO_BTF).
const TYPES: &str = "/sys/kernel/btf/vmlinux";

/// What this kernel can do beyond what is indispensable, as it was seen to do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Features {
    /// A socket can refuse descriptors (`SO_PASSRIGHTS`, since Linux 6.16).
    pub(crate) refuses_rights: bool,
    /// Both tracepoints tell (since Linux 6.3): threads take turns, and what was delivered is counted.
    pub(crate) traced: bool,
}

/// The gates; there is one more than flows, for the self-test, and an element for what they share.
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
    fences: AtomicU64,
    slots: Mutex<Slots>,
    reports: Mutex<Option<Reports>>,
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

    /// What the programs report; once.
    pub(super) fn reports(&self) -> Option<Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What this kernel can do.
    pub(crate) fn features(&self) -> Features {
        self.features
    }

    /// How many flows there can be: the gates below this number are for them.
    pub(crate) fn flows(&self) -> u32 {
        self.count
    }

    /// Which gates are free.
    pub(super) fn slots(&self) -> &Mutex<Slots> {
        &self.slots
    }

    /// All gates. One is to be reached before it is used: that may fail, for want of memory.
    pub(crate) fn region(&self) -> &GateRegion {
        &self.gates
    }

    /// The gate with a number below [`flows`](Self::flows).
    pub(crate) fn gate(&self, slot: u32) -> &AtomicGate {
        &self.gates[slot as usize]
    }

    /// From now on the sender's threads take turns, once the source has a verdict; where the kernel tells who
    /// is inside.
    pub(super) fn arm(&self, slot: u32) {
        if self.features.traced {
            self.gate(slot).arm();
        }
    }

    /// What all flows share (`xconnect_common::Control`).
    fn control(&self) -> &AtomicGate {
        self.gate(self.count + 1)
    }

    /// While this lives the programs look at the end of each `recvmsg`, of ours that is.
    pub(super) fn receiving(&self) -> Receiving<'_> {
        let count = self.control().receiving();
        count.fetch_add(1, Ordering::SeqCst);
        Receiving { count }
    }

    /// See [`Gate::look_for_credentials`](super::Gate::look_for_credentials).
    pub(super) fn look_for_credentials(&self, slot: u32, sink: BorrowedFd<'_>) -> io::Result<bool> {
        // What the program does is the point: it sees the socket at the end of the call, whatever came of it.
        let receiving = self.receiving();
        let looked = rustix::net::recv(sink, &mut [0u8], RecvFlags::DONTWAIT | RecvFlags::PEEK);
        drop(receiving);
        match looked {
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(self.gate(slot).asks_for_credentials()),
            Err(error) => Err(error.into()),
        }
    }

    /// Lets a socket be redirected to.
    ///
    /// # Errors
    /// `E2BIG` where the map is full; otherwise see [`Map::put`].
    pub(crate) fn add_target(&self, cookie: u64, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.targets.put_socket(&cookie, socket)
    }

    /// Undoes [`add_target`](Self::add_target) for a socket that was not redirected to, and is no source: nothing
    /// is queued on it, and its handler is its own.
    pub(crate) fn remove_target(&self, cookie: u64) {
        // As in `remove_flow`.
        let _ = self.targets.remove(&cookie);
    }

    /// Sends what the socket's peer writes through the verdict. It cannot be taken back but by closing it.
    ///
    /// The kernel sets the verdict before it finds that the map is full or memory short, and takes it away only
    /// from a socket that is in no other map (`sock_hash_update_common`). So a target may have its verdict though
    /// the map has refused it, which is as good: a second try is told so (`EBUSY`, `sock_map_link`).
    ///
    /// # Errors
    /// As [`add_target`](Self::add_target). Whether a target has its verdict is then not known.
    pub(crate) fn add_source(&self, cookie: u64, socket: BorrowedFd<'_>) -> io::Result<()> {
        let put = || self.sources.put_socket(&cookie, socket);
        put().or_else(|_| put()).or_else(|error| match error.kind() {
            io::ErrorKind::ResourceBusy => Ok(()),
            _ => Err(error),
        })
    }

    /// Says where the bytes of the socket with the cookie `sender` go.
    ///
    /// # Errors
    /// `E2BIG` where the map is full, `ENOMEM`.
    pub(crate) fn add_flow(&self, sender: u64, flow: &Flow) -> io::Result<()> {
        let traced = Traced { source_slot: NO_SLOT, sink_slot: NO_SLOT, sender_slot: flow.slot, reserved: 0 };
        self.traced.put(&sender, &traced)?;
        self.flows.put(&sender, flow)
    }

    /// Takes a flow out; to be called when its source is closed.
    pub(crate) fn remove_flow(&self, sender: u64) {
        // It fails only where there is none.
        let _ = self.flows.remove(&sender);
        let _ = self.traced.remove(&sender);
    }

    /// Says which gates a socket of ours belongs to, as a source and as a sink.
    ///
    /// # Errors
    /// As [`add_flow`](Self::add_flow).
    pub(crate) fn trace(&self, cookie: u64, [source_slot, sink_slot]: [u32; 2]) -> io::Result<()> {
        self.traced.put(&cookie, &Traced { source_slot, sink_slot, sender_slot: NO_SLOT, reserved: 0 })
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
    pub(crate) fn fence(&self, sink: u64) -> io::Result<Marker> {
        let number = self.fences.fetch_add(1, Ordering::Relaxed);
        let marker = Marker { sink, number, secret: self.secret };
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        // One socket buffer: as short as this it is sent whole or not at all (`unix_stream_sendmsg`).
        let sent =
            rustix::io::retry_on_intr(|| rustix::net::send(&self.fence, &marker_bytes(&marker), flags))?;
        if sent == MARKER_LEN { Ok(marker) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Whether the marker has come through to its sink; if so, takes it out.
    ///
    /// # Errors
    /// Those of recv(2).
    pub(crate) fn take_marker(&self, sink: BorrowedFd<'_>, marker: &Marker) -> io::Result<bool> {
        let mut bytes = [0; MARKER_LEN];
        let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
        // What the sink's peer has sent is in another queue, and is seen only where the marker is not there.
        let seen = match rustix::net::recv(sink, &mut bytes, flags) {
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            seen => seen?.0,
        };
        if seen != MARKER_LEN || bytes != marker_bytes(marker) {
            return Ok(false);
        }
        rustix::net::recv(sink, &mut bytes, RecvFlags::DONTWAIT)?;
        Ok(true)
    }
}

/// See [`KernelPath::receiving`].
pub(super) struct Receiving<'a> {
    count: &'a AtomicU64,
}

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::SeqCst);
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
