//! Where a socket buffer goes.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::sk_action::SK_PASS;
use aya_ebpf::helpers::{bpf_get_current_task, bpf_get_socket_cookie};
use aya_ebpf::macros::stream_verdict;
use aya_ebpf::programs::SkBuffContext;
use aya_log_ebpf::warn;
use xconnect_common::{DECIDED, Gate, REDIRECT};

use crate::atomic;
use crate::maps::{FLOWS, GATES, TARGETS, fence_cookie};

/// To the socket's own receiving side (`BPF_F_INGRESS`) instead of to its peer.
const INGRESS: u64 = 1;
const EGRESS: u64 = 0;

/// Decides for one socket buffer. `SK_PASS` after a redirect means: go where it was redirected to; without
/// one: stay with the source, where user space can read it. Nothing is ever dropped.
#[stream_verdict]
fn verdict(ctx: SkBuffContext) -> u32 {
    // The cookie of the sender: the buffer is still charged to it.
    // SAFETY: the pointer is the context that the kernel gave us, which this helper takes.
    let sender = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    if sender == fence_cookie() {
        let Ok(sink) = ctx.load::<u64>(0) else { return SK_PASS };
        return TARGETS.redirect_skb(&ctx, sink, INGRESS) as u32;
    }
    let Some(flow) = FLOWS.get_ptr(sender) else { return SK_PASS };
    // SAFETY: a value of the map; it is not changed while its sender lives.
    let (sink, hold, slot) = unsafe { ((*flow).sink, (*flow).hold, (*flow).slot) };
    let Some(gate) = GATES.get_ptr_mut(slot) else { return SK_PASS };
    let len = u64::from(ctx.len());
    // SAFETY: the gate is an element of the array, whose words are only ever changed atomically.
    unsafe {
        let certain = keeps_order(gate);
        atomic::add(&raw mut (*gate).messages, 1);
        if atomic::add(&raw mut (*gate).word, len) & REDIRECT != 0 {
            if certain && TARGETS.redirect_skb(&ctx, sink, EGRESS) as u32 == SK_PASS {
                return SK_PASS;
            }
            atomic::add(&raw mut (*gate).fallen, len);
        }
        if TARGETS.redirect_skb(&ctx, hold, EGRESS) as u32 != SK_PASS {
            atomic::add(&raw mut (*gate).stranded, len);
            warn!(&ctx, "flow {}: {} bytes could be neither forwarded nor held", slot, len);
        }
    }
    SK_PASS
}

/// Whether this thread has had the lock since before it took the buffer, and all others before it too; and no promise
/// was broken, for which the connection is about to be cut: nothing more goes to the receiver then.
#[inline(always)]
unsafe fn keeps_order(gate: *mut Gate) -> bool {
    // SAFETY: as for the caller.
    unsafe {
        let thread = bpf_get_current_task();
        let armed = core::ptr::read_volatile(&raw const (*gate).armed) != 0;
        if armed && !atomic::replace(&raw mut (*gate).inside, thread, thread | DECIDED) {
            atomic::add(&raw mut (*gate).overlaps, 1);
        }
        core::ptr::read_volatile(&raw const (*gate).overlaps)
            | core::ptr::read_volatile(&raw const (*gate).urgent)
            | core::ptr::read_volatile(&raw const (*gate).unhashed)
            | core::ptr::read_volatile(&raw const (*gate).credentials)
            == 0
    }
}
