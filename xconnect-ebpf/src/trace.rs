//! What the tracepoints tell (kernels since 6.3): who is inside `sendmsg`, what was delivered.
//!
//! They are told of every socket of the machine. What is none of ours is let go after one look into it.

use core::ffi::c_void;

use aya_ebpf::helpers::{bpf_get_current_task, bpf_get_smp_processor_id, bpf_loop};
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use aya_log_ebpf::warn;
use xconnect_common::{DECIDED, Gate, NO_SLOT, Traced, USER};

use crate::atomic;
use crate::maps::{GATES, TRACED, control};
use crate::sock::Sock;

/// Looks at the lock before a thread goes on without it: some tens of milliseconds. Nobody is inside for longer than
/// a microsecond, unless its processor was taken away. `bpf_loop` takes no more (`BPF_MAX_LOOPS`).
const LOOKS: u32 = 1 << 23;
/// Where whoever has it was on this very processor, which has us now: it can only go on on another one.
const LOOKS_HERE: u32 = 30_000;

/// What is known of a socket that somebody has asked the cookie of: others are none of ours.
#[inline(always)]
fn traced(sock: Sock) -> Option<Traced> {
    let cookie = sock.cookie().filter(|cookie| *cookie != 0)?;
    // SAFETY: a value of the map; it is not changed while its socket lives.
    TRACED.get_ptr(cookie).map(|traced| unsafe { *traced })
}

/// `trace_sk_data_ready(sk)`: in the sender's thread, with a verdict at the entry of its handler (before
/// a socket buffer is taken from the queue) and again once the buffer was handed on.
#[raw_tracepoint(tracepoint = "sk_data_ready")]
fn data_ready(ctx: RawTracePointContext) -> i32 {
    let sock = Sock(ctx.arg(0));
    let (Some(control), Some(handler)) = (control(), sock.data_ready()) else { return 0 };
    // SAFETY: an element of the array, whose words are read and written at once.
    let plain = unsafe { core::ptr::read_volatile(&raw const (*control).plain_handler) };
    // Nothing is taken from the queue: the source is not in its map yet, or not any more.
    if handler == plain {
        return 0;
    }
    let Some(traced) = traced(sock) else { return 0 };
    if plain == 0 {
        // SAFETY: as above.
        unsafe { core::ptr::write_volatile(&raw mut (*control).plain_handler, handler) };
        return 0;
    }
    let Some(gate) = GATES.get_ptr_mut(traced.source_slot) else { return 0 };
    // SAFETY: the gate is an element of the array.
    if !unsafe { enter_or_leave(sock, gate, bpf_get_current_task()) } {
        warn!(&ctx, "flow {}: a sender went on without its turn", traced.source_slot);
    }
    0
}

/// False: it went on without the lock.
#[inline(always)]
unsafe fn enter_or_leave(sock: Sock, gate: *mut Gate, thread: u64) -> bool {
    // SAFETY: the gate is an element of the array, whose words are only ever changed atomically.
    unsafe {
        if core::ptr::read_volatile(&raw const (*gate).inside) == thread | DECIDED {
            atomic::replace(&raw mut (*gate).inside, thread | DECIDED, 0);
            return true;
        }
        if core::ptr::read_volatile(&raw const (*gate).armed) == 0 {
            return true;
        }
        // Order is lost already, and the connection about to be cut: nobody waits for that.
        if core::ptr::read_volatile(&raw const (*gate).overlaps) != 0 {
            return true;
        }
        if sock.has_urgent() {
            atomic::swap(&raw mut (*gate).urgent, 1);
        }
        let locked = lock(gate, thread);
        if !locked {
            atomic::add(&raw mut (*gate).overlaps, 1);
            atomic::swap(&raw mut (*gate).inside, thread);
        }
        locked
    }
}

/// Between a thread's taking a buffer from the queue and its handing it on, another thread could take the
/// next one and be faster. So they go one by one. Where there was nothing to take, the lock is kept until
/// the end of the thread's `sendmsg`.
#[inline(always)]
unsafe fn lock(gate: *mut Gate, thread: u64) -> bool {
    let mut wanted = Wanted { gate, thread, got: false };
    // SAFETY: `look` is given what it takes, by the kernel before `bpf_loop` returns.
    unsafe {
        let processor = u64::from(bpf_get_smp_processor_id());
        if look(0, &raw mut wanted) == 0 {
            let here = core::ptr::read_volatile(&raw const (*gate).processor) == processor;
            let looks = if here { LOOKS_HERE } else { LOOKS };
            bpf_loop(looks, look as *mut c_void, (&raw mut wanted).cast(), 0);
        }
        if wanted.got {
            core::ptr::write_volatile(&raw mut (*gate).processor, processor);
        }
    }
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
    let (sock, sent): (_, i32) = (Sock(ctx.arg(0)), ctx.arg(1));
    let Some(traced) = traced(sock) else { return 0 };
    if traced.sender_slot != NO_SLOT {
        leave(sock, traced.sender_slot);
    } else if sent > 0
        && let Some(gate) = GATES.get_ptr_mut(traced.sink_slot)
    {
        // SAFETY: an element of the array, whose words are only ever changed atomically.
        unsafe {
            atomic::add(&raw mut (*gate).delivered, sent as u64);
            if asks_for_credentials(sock) {
                atomic::swap(&raw mut (*gate).credentials, 1);
            }
        }
    }
    0
}

/// Whether the socket's peer is told who has sent.
#[inline(always)]
fn asks_for_credentials(sock: Sock) -> bool {
    sock.peer().is_some_and(Sock::is_told_who_sends)
}

/// A sender's thread is done: it has the lock still where there was nothing for it to take, or where what
/// it took was refused.
#[inline(always)]
fn leave(sock: Sock, slot: u32) {
    let Some(gate) = GATES.get_ptr_mut(slot) else { return };
    // SAFETY: the gate is an element of the array, whose words are only ever changed atomically.
    unsafe {
        let thread = bpf_get_current_task();
        let holder = core::ptr::read_volatile(&raw const (*gate).inside);
        if holder & !DECIDED != thread {
            return;
        }
        if holder & DECIDED == 0 && has_no_verdict(sock) {
            atomic::add(&raw mut (*gate).unhashed, 1);
        }
        atomic::replace(&raw mut (*gate).inside, holder, 0);
    }
}

/// Whether the sender's peer, its source, has left its map: it had a verdict when this thread entered.
#[inline(always)]
fn has_no_verdict(sender: Sock) -> bool {
    let handler = sender.peer().and_then(Sock::data_ready);
    let (Some(control), Some(handler)) = (control(), handler) else { return false };
    // SAFETY: an element of the array, whose words are read and written at once.
    handler == unsafe { core::ptr::read_volatile(&raw const (*control).plain_handler) }
}

/// `trace_sock_recv_length(sk, ret, flags)`: at the end of each `recvmsg`. Ours on a source was done with the lock
/// held, which ends here: what it has read may wake up the sender, on this very processor.
#[raw_tracepoint(tracepoint = "sock_recv_length")]
fn received(ctx: RawTracePointContext) -> i32 {
    let Some(control) = control() else { return 0 };
    // SAFETY: an element of the array, whose words are read and written at once.
    if unsafe { core::ptr::read_volatile(&raw const (*control).receiving) } == 0 {
        return 0;
    }
    let sock = Sock(ctx.arg(0));
    let Some(traced) = traced(sock) else { return 0 };
    if let Some(gate) = GATES.get_ptr_mut(traced.source_slot) {
        // SAFETY: an element of the array, whose words are only ever changed atomically.
        unsafe { atomic::replace(&raw mut (*gate).inside, USER, 0) };
    }
    if let Some(gate) = GATES.get_ptr_mut(traced.sink_slot)
        && asks_for_credentials(sock)
    {
        // SAFETY: as above.
        unsafe { atomic::swap(&raw mut (*gate).credentials, 1) };
    }
    0
}
