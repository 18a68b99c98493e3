//! Atomic operations on words that user space and other processors change too: `BPF_ATOMIC` instructions.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd, atomic_xchg};

/// Adds; gives what was there before.
#[inline(always)]
pub(crate) unsafe fn add(word: *mut u64, amount: u64) -> u64 {
    // SAFETY: the caller's: an aligned word that is only ever changed atomically.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(word, amount) }
}

/// Replaces; gives what was there before.
#[inline(always)]
pub(crate) unsafe fn swap(word: *mut u64, value: u64) -> u64 {
    // SAFETY: the caller's: an aligned word that is only ever changed atomically.
    unsafe { atomic_xchg::<u64, { AtomicOrdering::SeqCst }>(word, value) }
}

/// Replaces `old` by `new`; gives whether it was `old`.
#[inline(always)]
pub(crate) unsafe fn replace(word: *mut u64, old: u64, new: u64) -> bool {
    // SAFETY: the caller's: an aligned word that is only ever changed atomically.
    unsafe { atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(word, old, new).1 }
}
