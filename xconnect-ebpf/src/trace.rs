//! What the tracepoints tell (kernels since 6.3): who is inside `sendmsg`, what was delivered.

use core::ffi::c_void;

use aya_ebpf::helpers::{bpf_get_current_task, bpf_loop, bpf_probe_read_kernel};
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use xconnect_common::{DECIDED, Gate, USER};

use crate::atomic;
use crate::maps::{FLOWS, GATES, TRACED, offsets};

/// Looks at the lock before a thread goes on without it: some milliseconds. Nobody is inside for longer than a
/// microsecond, unless its processor was taken away.
const LOOKS: u32 = 300_000;

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
    let Some(traced) = cookie(sock).and_then(|cookie| TRACED.get_ptr(cookie)) else { return 0 };
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
        if atomic::replace(&raw mut (*gate).inside, thread | DECIDED, 0) {
            return;
        }
        let handler: u64 = read(sock, offsets().data_ready).unwrap_or(0);
        if core::ptr::read_volatile(&raw const (*gate).armed) == 0 {
            if core::ptr::read_volatile(&raw const (*gate).plain_handler) == 0 {
                core::ptr::write_volatile(&raw mut (*gate).plain_handler, handler);
            }
            return;
        }
        // Nothing is taken from the queue: the source is not in the map yet, or not any more.
        if handler == core::ptr::read_volatile(&raw const (*gate).plain_handler) {
            return;
        }
        // Order is lost already, and the connection about to be cut: nobody waits for that.
        if core::ptr::read_volatile(&raw const (*gate).overlaps) != 0 {
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
    let mut wanted = Wanted { gate, thread, got: false };
    // SAFETY: the kernel calls `look` with what it is given here, before it returns.
    unsafe { bpf_loop(LOOKS, look as *mut c_void, (&raw mut wanted).cast(), 0) };
    wanted.got
}

/// A thread that wants a lock.
struct Wanted {
    gate: *mut Gate,
    thread: u64,
    got: bool,
}

/// Tries once. 1: do not look again.
unsafe extern "C" fn look(_: u32, wanted: *mut Wanted) -> i64 {
    // SAFETY: what `lock` has given.
    let wanted = unsafe { &mut *wanted };
    // SAFETY: as for the caller of `lock`.
    let inside = unsafe { &raw mut (*wanted.gate).inside };
    // SAFETY: as above.
    let holder = unsafe { core::ptr::read_volatile(inside) };
    // SAFETY: as above.
    if holder == wanted.thread || holder == 0 && unsafe { atomic::replace(inside, 0, wanted.thread) } {
        wanted.got = true;
        return 1;
    }
    0
}

/// `trace_sock_send_length(sk, ret, flags)`: at the end of each `sendmsg`, the kernel's own included.
#[raw_tracepoint(tracepoint = "sock_send_length")]
fn sent(ctx: RawTracePointContext) -> i32 {
    let (sock, sent): (*const u8, i32) = (ctx.arg(0), ctx.arg(1));
    let Some(cookie) = cookie(sock) else { return 0 };
    if let Some(flow) = FLOWS.get_ptr(cookie) {
        // SAFETY: a value of the map; it is not changed while its sender lives.
        leave(unsafe { (*flow).slot });
    } else if sent > 0
        && let Some(traced) = TRACED.get_ptr(cookie)
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

/// `trace_sock_recv_length(sk, ret, flags)`: at the end of each `recvmsg`. Ours on a source was done with the lock
/// held, which ends here: what it has read may wake up the sender, on this very processor.
#[raw_tracepoint(tracepoint = "sock_recv_length")]
fn received(ctx: RawTracePointContext) -> i32 {
    let Some(traced) = cookie(ctx.arg(0)).and_then(|cookie| TRACED.get_ptr(cookie)) else { return 0 };
    // SAFETY: a value of the map; it is not changed while its socket lives.
    let Some(gate) = GATES.get_ptr_mut(unsafe { (*traced).source_slot }) else { return 0 };
    // SAFETY: an element of the array, whose words are only ever changed atomically.
    unsafe { atomic::replace(&raw mut (*gate).inside, USER, 0) };
    0
}
