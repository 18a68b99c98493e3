//! The programs that forward the bytes of Unix sockets inside the kernel.
#![no_std]
#![no_main]
#![expect(
    unsafe_code,
    reason = "helpers of the kernel, and symbols in the sections that the loader looks for"
)]
#![expect(clippy::needless_pass_by_value, reason = "the context is handed to a program by value")]

use aya_ebpf::bindings::sk_action::SK_PASS;
use aya_ebpf::helpers::bpf_get_socket_cookie;
use aya_ebpf::macros::{map, stream_verdict};
use aya_ebpf::maps::{HashMap, SockHash};
use aya_ebpf::programs::SkBuffContext;
use aya_log_ebpf::warn;
use xconnect_common::Flow;

/// Connections at once; each has two sockets of ours and two flows.
const CONNECTIONS: u32 = 32_768;

/// Our sockets, by their cookies.
#[map]
static SOCKETS: SockHash<u64> = SockHash::with_max_entries(2 * CONNECTIONS, 0);

/// Where the bytes of a sender go, by the sender's cookie.
#[map]
static FLOWS: HashMap<u64, Flow> = HashMap::with_max_entries(2 * CONNECTIONS, 0);

/// Runs in the sender's `sendmsg`, once for each buffer (`unix_stream_sendmsg`, `sk_psock_verdict_data_ready`).
#[stream_verdict]
fn verdict(ctx: SkBuffContext) -> u32 {
    // SAFETY: the pointer is the context that the kernel gave us, which this helper takes.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.skb.skb.cast()) };
    // SAFETY: a value is written before its sender may meet this program, and not changed while it lives.
    let Some(flow) = (unsafe { FLOWS.get(cookie) }) else { return SK_PASS };
    let action = SOCKETS.redirect_skb(&ctx, flow.target, 0) as u32;
    if action != SK_PASS {
        warn!(&ctx, "no socket {} for the bytes of {}", flow.target, cookie);
    }
    action
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Never linked: the verifier would refuse the loop.
    loop {}
}

/// The kernel lends some helpers to programs under the GPL alone.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
