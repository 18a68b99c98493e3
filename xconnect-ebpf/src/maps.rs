//! The maps, and what user space sets before the programs are loaded.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, SockHash};
use xconnect_common::{Control, Flow, Gate, Offsets, Traced};

/// How many flows there can be; user space loads the object with the number that it wants.
const FLOWS_MAX: u32 = 8192;

/// `BPF_F_NO_PREALLOC`: memory for what is there, not for what may come.
const NO_PREALLOC: u32 = 1;
/// `BPF_F_MMAPABLE`.
const MMAPABLE: u32 = 1 << 10;

/// Sockets whose peers' bytes go through the verdict. Key: cookie.
#[map]
pub(crate) static SOURCES: SockHash<u64> = SockHash::with_max_entries(FLOWS_MAX, 0);

/// Sockets that can be redirected to; no program runs for them here. Key: cookie.
#[map]
pub(crate) static TARGETS: SockHash<u64> = SockHash::with_max_entries(2 * FLOWS_MAX, 0);

/// Flows by the sender's cookie.
#[map]
pub(crate) static FLOWS: HashMap<u64, Flow> = HashMap::with_max_entries(FLOWS_MAX, NO_PREALLOC);

/// Our sockets and the senders' by their cookie, for the tracepoints.
#[map]
pub(crate) static TRACED: HashMap<u64, Traced> = HashMap::with_max_entries(2 * FLOWS_MAX, NO_PREALLOC);

/// The flows' gates, and behind them what they share.
#[map]
pub(crate) static GATES: Array<Gate> = Array::with_max_entries(FLOWS_MAX, MMAPABLE);

/// The cookie of the socket that fences are written to.
#[unsafe(no_mangle)]
static FENCE: u64 = 0;

#[unsafe(no_mangle)]
static OFFSETS: Offsets =
    Offsets { cookie: 0, data_ready: 0, peer: 0, urgent: 0, flags_in: 0, flags: 0, flags_mask: 0 };

/// The number of the element behind the gates.
#[unsafe(no_mangle)]
static CONTROL: u32 = 0;

pub(crate) fn fence_cookie() -> u64 {
    // SAFETY: a valid static. Volatile: the loader replaces the value.
    unsafe { core::ptr::read_volatile(&raw const FENCE) }
}

pub(crate) fn offsets() -> Offsets {
    // SAFETY: as above.
    unsafe { core::ptr::read_volatile(&raw const OFFSETS) }
}

#[inline(always)]
pub(crate) fn control() -> Option<*mut Control> {
    // SAFETY: as above.
    let number = unsafe { core::ptr::read_volatile(&raw const CONTROL) };
    GATES.get_ptr_mut(number).map(<*mut Gate>::cast)
}
