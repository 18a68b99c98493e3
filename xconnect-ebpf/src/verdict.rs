//! Where a socket buffer goes.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::sk_action::SK_PASS;
use aya_ebpf::helpers::{bpf_get_current_task, bpf_get_socket_cookie};
use aya_ebpf::macros::stream_verdict;
use aya_ebpf::programs::SkBuffContext;
use xconnect_common::{DECIDED, EMPTY, REDIRECT};

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
    let sender = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    if sender == fence_cookie() {
        let Ok(sink) = ctx.load::<u64>(0) else { return SK_PASS };
        return TARGETS.redirect_skb(&ctx, sink, INGRESS) as u32;
    }
    let Some(flow) = FLOWS.get_ptr(&sender) else { return SK_PASS };
    let (sink, hold, slot) = unsafe { ((*flow).sink, (*flow).hold, (*flow).slot) };
    let Some(gate) = GATES.get_ptr_mut(slot) else { return SK_PASS };
    let len = u64::from(ctx.len());
    unsafe {
        let thread = bpf_get_current_task();
        if !atomic::replace(&raw mut (*gate).inside, thread, thread | DECIDED) {
            atomic::replace(&raw mut (*gate).inside, thread | EMPTY, thread | DECIDED);
        }
        atomic::add(&raw mut (*gate).messages, 1);
        let redirect = atomic::add(&raw mut (*gate).word, len) & REDIRECT != 0;
        if redirect {
            if TARGETS.redirect_skb(&ctx, sink, EGRESS) as u32 == SK_PASS {
                return SK_PASS;
            }
            // The sink has left the map: its peer has half-closed.
            atomic::add(&raw mut (*gate).fallen, len);
        }
        if TARGETS.redirect_skb(&ctx, hold, EGRESS) as u32 != SK_PASS {
            atomic::add(&raw mut (*gate).stranded, len);
        }
    }
    SK_PASS
}
