//! What the tracepoints tell (kernels since 6.3): who is inside `sendmsg`, what was delivered.

use aya_ebpf::helpers::{bpf_get_current_task, bpf_ktime_get_ns, bpf_probe_read_kernel};
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use xconnect_common::{DECIDED, Gate};

use crate::atomic;
use crate::maps::{FLOWS, GATES, TRACED, offsets};

/// Looks at the lock before a thread goes on without it: 0.1 to 0.2 ms. Nobody is inside for longer than
/// a microsecond, unless its processor was taken away.
const LOOKS: u32 = 1024;

/// Readings of the clock between two looks: some 20 ns each.
const PAUSE: u32 = 8;

/// A socket's cookie; `None` where nobody has asked for it, so that it is none of ours.
#[inline(always)]
fn cookie(sock: *const u8) -> Option<u64> {
    // SAFETY: it fails for an address that cannot be read.
    unsafe { read(sock, offsets().cookie) }.filter(|cookie| *cookie != 0)
}

#[inline(always)]
unsafe fn read<T>(sock: *const u8, offset: u64) -> Option<T> {
    // SAFETY: the helper fails for an address that cannot be read.
    unsafe { bpf_probe_read_kernel(sock.add(offset as usize).cast::<T>()) }.ok()
}

/// `trace_sk_data_ready(sk)`: in the sender's thread, with a verdict at the entry of its handler (before
/// a socket buffer is taken from the queue) and again once the buffer was handed on.
#[raw_tracepoint(tracepoint = "sk_data_ready")]
fn data_ready(ctx: RawTracePointContext) -> i32 {
    let sock: *const u8 = ctx.arg(0);
    let Some(traced) = cookie(sock).and_then(|cookie| TRACED.get_ptr(&cookie)) else { return 0 };
    // SAFETY: a value of the map; it is not changed while its socket lives.
    let Some(gate) = GATES.get_ptr_mut(unsafe { (*traced).source_slot }) else { return 0 };
    // SAFETY: the gate is an element of the array.
    unsafe { enter_or_leave(sock, gate, bpf_get_current_task()) };
    0
}

#[inline(always)]
unsafe fn enter_or_leave(sock: *const u8, gate: *mut Gate, thread: u64) {
    // SAFETY: the gate is an element of the array, whose words are only ever changed atomically.
    unsafe {
        let handler: u64 = read(sock, offsets().data_ready).unwrap_or(0);
        if core::ptr::read_volatile(&raw const (*gate).armed) == 0 {
            core::ptr::write_volatile(&raw mut (*gate).plain_handler, handler);
            return;
        }
        // Nothing is taken from the queue: the source is not in the map yet, or not any more.
        if handler == core::ptr::read_volatile(&raw const (*gate).plain_handler) {
            return;
        }
        if atomic::replace(&raw mut (*gate).inside, thread | DECIDED, 0) {
            return;
        }
        atomic::add(&raw mut (*gate).entries, 1);
        if !lock(gate, thread) {
            atomic::add(&raw mut (*gate).overlaps, 1);
            atomic::swap(&raw mut (*gate).inside, thread);
        }
    }
}

/// Between a thread's taking a buffer from the queue and its handing it on, another thread could take the
/// next one and be faster. So they go one by one. Where there was nothing to take, the lock is kept until
/// the end of the thread's `sendmsg`.
#[inline(always)]
unsafe fn lock(gate: *mut Gate, thread: u64) -> bool {
    for _ in 0..LOOKS {
        // SAFETY: as for the caller.
        let holder = unsafe { core::ptr::read_volatile(&raw const (*gate).inside) };
        // SAFETY: as for the caller.
        if holder == thread || holder == 0 && unsafe { atomic::replace(&raw mut (*gate).inside, 0, thread) } {
            return true;
        }
        for _ in 0..PAUSE {
            // SAFETY: this helper takes nothing.
            unsafe { bpf_ktime_get_ns() };
        }
    }
    false
}

/// `trace_sock_send_length(sk, ret, flags)`: at the end of each `sendmsg`, the kernel's own included.
#[raw_tracepoint(tracepoint = "sock_send_length")]
fn sent(ctx: RawTracePointContext) -> i32 {
    let (sock, sent): (*const u8, i32) = (ctx.arg(0), ctx.arg(1));
    let Some(cookie) = cookie(sock) else { return 0 };
    if let Some(flow) = FLOWS.get_ptr(&cookie) {
        // SAFETY: a value of the map; it is not changed while its sender lives.
        leave(unsafe { (*flow).slot });
    } else if sent > 0
        && let Some(traced) = TRACED.get_ptr(&cookie)
        // SAFETY: as above.
        && let Some(gate) = GATES.get_ptr_mut(unsafe { (*traced).sink_slot })
    {
        // SAFETY: an element of the array, whose words are only ever changed atomically.
        unsafe { atomic::add(&raw mut (*gate).delivered, sent as u64) };
    }
    0
}

/// A sender's thread is done: it has the lock still where there was nothing for it to take, or where what
/// it took was refused.
#[inline(always)]
fn leave(slot: u32) {
    let Some(gate) = GATES.get_ptr_mut(slot) else { return };
    // SAFETY: the gate is an element of the array, whose words are only ever changed atomically.
    unsafe {
        let thread = bpf_get_current_task();
        let holder = core::ptr::read_volatile(&raw const (*gate).inside);
        if holder & !DECIDED == thread {
            atomic::replace(&raw mut (*gate).inside, holder, 0);
        }
    }
}
