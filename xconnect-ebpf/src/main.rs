//! The programs that run in the kernel: they forward what a container sends on a raw Unix stream.
//!
//! `verdict` runs in the sender's `sendmsg`, once for each socket buffer that it has queued on our source
//! socket, and hands it to the sink or to the hold pair. `data_ready` and `sent` watch: who is inside
//! `sendmsg`, and what the kernel has delivered. None of them waits, allocates or looks into the bytes.
//! What decides is user space, by a flow's gate (`xconnect_common::Gate`).
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(
    unsafe_code,
    reason = "helpers of the kernel, atomic instructions, and symbols in the sections that the loader looks for"
)]
#![expect(internal_features, reason = "the atomic operations of core do not exist for this target")]
#![expect(clippy::needless_pass_by_value, reason = "the context is handed to a program by value")]

mod atomic;
mod maps;
mod sock;
mod trace;
mod verdict;

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Nothing here panics; the verifier refuses a program in which this could be reached.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
