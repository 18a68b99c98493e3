//! What the tracepoints tell (kernels since 6.3): who is inside `sendmsg`, what was delivered.

use aya_ebpf::helpers::{bpf_get_current_task, bpf_ktime_get_ns, bpf_probe_read_kernel};
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use xconnect_common::{DECIDED, EMPTY, Gate, Traced};

use crate::atomic;
use crate::maps::{GATES, TRACED, offsets};

/// Looks at the lock before a thread goes on without it: 0.1 to 0.2 ms. Nobody is inside for longer than
/// a microsecond, unless its processor was taken away.
const LOOKS: u32 = 1024;

/// Looks after which a thread that found nothing has surely tried to take something.
const GRACE: u32 = 64;

/// Readings of the clock between two looks: some 20 ns each.
const PAUSE: u32 = 8;

/// A traced socket's entry; `None` for all the others on this host.
#[inline(always)]
fn traced(sock: *const u8) -> Option<Traced> {
    let cookie: u64 = unsafe { read(sock, offsets().cookie) }?;
    // 0: nobody has asked for this socket's cookie, so that it is none of ours.
    if cookie == 0 {
        return None;
    }
    TRACED.get_ptr(&cookie).map(|traced| unsafe { *traced })
}

#[inline(always)]
unsafe fn read<T>(sock: *const u8, offset: u64) -> Option<T> {
    unsafe { bpf_probe_read_kernel(sock.add(offset as usize).cast::<T>()) }.ok()
}

/// `trace_sk_data_ready(sk)`: in the sender's thread, with a verdict at the entry of its handler (before
/// a socket buffer is taken from the queue) and again once the buffer was handed on.
#[raw_tracepoint(tracepoint = "sk_data_ready")]
fn data_ready(ctx: RawTracePointContext) -> i32 {
    let sock: *const u8 = ctx.arg(0);
    let Some(gate) = traced(sock).and_then(|traced| GATES.get_ptr_mut(traced.source_slot)) else {
        return 0;
    };
    unsafe { enter_or_leave(sock, gate, bpf_get_current_task()) };
    0
}

#[inline(always)]
unsafe fn enter_or_leave(sock: *const u8, gate: *mut Gate, thread: u64) {
    unsafe {
        if core::ptr::read_volatile(&raw const (*gate).armed) == 0 {
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
        // User space has read it all: there is nothing to be taken, and no second call comes. Unless another
        // thread's buffer arrives in this moment: then this thread takes it, so it keeps the lock till then.
        if read::<u32>(sock, offsets().queue_len) == Some(0) {
            atomic::replace(&raw mut (*gate).inside, thread, thread | EMPTY);
        }
    }
}

/// Between a thread's taking a buffer from the queue and its handing it on, another thread could take the
/// next one and be faster. So they go one by one.
#[inline(always)]
unsafe fn lock(gate: *mut Gate, thread: u64) -> bool {
    for look in 0..LOOKS {
        let holder = unsafe { core::ptr::read_volatile(&raw const (*gate).inside) };
        let own = holder == thread | EMPTY;
        let given_up = holder & EMPTY != 0 && look >= GRACE;
        if (holder == 0 || own || given_up)
            && unsafe { atomic::replace(&raw mut (*gate).inside, holder, thread) }
        {
            return true;
        }
        for _ in 0..PAUSE {
            unsafe { bpf_ktime_get_ns() };
        }
    }
    false
}

/// `trace_sock_send_length(sk, ret, flags)`: after each send on a socket, the kernel's own included.
#[raw_tracepoint(tracepoint = "sock_send_length")]
fn sent(ctx: RawTracePointContext) -> i32 {
    let sent: i32 = ctx.arg(1);
    if sent > 0
        && let Some(gate) = traced(ctx.arg(0)).and_then(|traced| GATES.get_ptr_mut(traced.sink_slot))
    {
        unsafe { atomic::add(&raw mut (*gate).delivered, sent as u64) };
    }
    0
}
