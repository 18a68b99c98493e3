//! A flow's gate as user space sees it: the same words that the programs change (`xconnect_common::Gate`).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys::memory::shared_struct;
use xconnect_common::{Control, Gate, REDIRECT, USER};

shared_struct! {
    /// [`Gate`], word by word: what is changed by the programs too. An element of the mapped array.
    #[derive(Debug, Default)]
    align(128) pub(crate) struct AtomicGate {
        /// Mode and bytes.
        pub(in crate::mesh) word: AtomicU64,
        /// Socket buffers.
        pub(in crate::mesh) messages: AtomicU64,
        /// Bytes held instead of redirected.
        pub(in crate::mesh) fallen: AtomicU64,
        /// Bytes neither redirected nor held.
        pub(in crate::mesh) stranded: AtomicU64,
        /// Who is between queueing and handing on.
        pub(in crate::mesh) inside: AtomicU64,
        /// How often two were.
        pub(in crate::mesh) overlaps: AtomicU64,
        /// Whether an out-of-band byte was sent.
        pub(in crate::mesh) urgent: AtomicU64,
        /// Whether this is kept.
        pub(in crate::mesh) armed: AtomicU64,
        /// Bytes sent on the sink.
        pub(in crate::mesh) delivered: AtomicU64,
        /// How often the source left its map under a sender's hands.
        pub(in crate::mesh) unhashed: AtomicU64,
        /// Whether the receiver wants to be told who sends.
        pub(in crate::mesh) credentials: AtomicU64,
        /// Where the lock was taken last.
        pub(in crate::mesh) processor: AtomicU64,
        reserved: [AtomicU64; 4],
    }
}

impl AtomicGate {
    /// [`Control::plain_handler`], where this is the element behind the gates.
    pub(super) fn plain_handler(&self) -> &AtomicU64 {
        &self.word
    }

    /// [`Control::receiving`], where this is the element behind the gates.
    pub(super) fn receiving(&self) -> &AtomicU64 {
        &self.messages
    }
}

const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<AtomicGate>() == size_of::<Gate>() && align_of::<AtomicGate>() == align_of::<Gate>());
    assert!(offset_of!(AtomicGate, word) == offset_of!(Gate, word));
    assert!(offset_of!(AtomicGate, messages) == offset_of!(Gate, messages));
    assert!(offset_of!(AtomicGate, fallen) == offset_of!(Gate, fallen));
    assert!(offset_of!(AtomicGate, stranded) == offset_of!(Gate, stranded));
    assert!(offset_of!(AtomicGate, inside) == offset_of!(Gate, inside));
    assert!(offset_of!(AtomicGate, urgent) == offset_of!(Gate, urgent));
    assert!(offset_of!(AtomicGate, overlaps) == offset_of!(Gate, overlaps));
    assert!(offset_of!(AtomicGate, armed) == offset_of!(Gate, armed));
    assert!(offset_of!(AtomicGate, delivered) == offset_of!(Gate, delivered));
    assert!(offset_of!(AtomicGate, unhashed) == offset_of!(Gate, unhashed));
    assert!(offset_of!(AtomicGate, credentials) == offset_of!(Gate, credentials));
    assert!(offset_of!(AtomicGate, processor) == offset_of!(Gate, processor));
    assert!(size_of::<AtomicGate>() == size_of::<Control>());
    assert!(offset_of!(AtomicGate, word) == offset_of!(Control, plain_handler));
    assert!(offset_of!(AtomicGate, messages) == offset_of!(Control, receiving));
};

impl AtomicGate {
    /// Everything at 0: hold mode, not armed.
    pub(in crate::mesh) fn clear(&self) {
        let words = [
            &self.armed,
            &self.word,
            &self.messages,
            &self.fallen,
            &self.stranded,
            &self.inside,
            &self.overlaps,
            &self.urgent,
            &self.delivered,
            &self.unhashed,
            &self.credentials,
            &self.processor,
        ];
        for word in words {
            word.store(0, Ordering::SeqCst);
        }
    }

    /// From now on the lock is used, once the source has a verdict.
    pub(super) fn arm(&self) {
        self.armed.store(1, Ordering::SeqCst);
    }

    /// Bytes whose verdict was to hold, with those that had to be held instead of redirected.
    ///
    /// Only in hold mode.
    pub(in crate::mesh) fn held(&self) -> u64 {
        (self.word.load(Ordering::SeqCst) & !REDIRECT) + self.fallen.load(Ordering::SeqCst)
    }

    /// From hold to redirect, if exactly `read` bytes were held in this mode. The bytes are counted from 0.
    pub(in crate::mesh) fn redirect(&self, read: u64) -> bool {
        self.word.compare_exchange(read, REDIRECT, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// From redirect to hold; gives the bytes that were to be redirected. They are counted from 0.
    pub(in crate::mesh) fn hold(&self) -> u64 {
        self.word.swap(0, Ordering::SeqCst) & !REDIRECT
    }

    /// Bytes to be redirected since [`redirect`](Self::redirect).
    pub(in crate::mesh) fn redirected(&self) -> u64 {
        self.word.load(Ordering::SeqCst) & !REDIRECT
    }

    /// Bytes that could not be redirected and were held.
    pub(in crate::mesh) fn fallen(&self) -> u64 {
        self.fallen.load(Ordering::SeqCst)
    }

    /// Bytes that could be neither redirected nor held.
    pub(in crate::mesh) fn stranded(&self) -> u64 {
        self.stranded.load(Ordering::SeqCst)
    }

    /// Socket buffers seen.
    pub(in crate::mesh) fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// Bytes sent on the sink since it is traced.
    pub(in crate::mesh) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::SeqCst)
    }

    /// How often a thread went on without the lock: not 0, and order is not certain.
    pub(in crate::mesh) fn overlaps(&self) -> u64 {
        self.overlaps.load(Ordering::SeqCst)
    }

    /// Whether an out-of-band byte was sent, which the kernel has dropped.
    pub(in crate::mesh) fn has_lost_urgent(&self) -> bool {
        self.urgent.load(Ordering::SeqCst) != 0
    }

    /// Whether the source has left its map while a thread of the sender had bytes in its hands.
    pub(in crate::mesh) fn was_unhashed_under_way(&self) -> bool {
        self.unhashed.load(Ordering::SeqCst) != 0
    }

    /// Whether the receiver wants to be told who sends, which would be the kernel's worker. Looked at with each
    /// message, and by [`Gate::look_for_credentials`](super::Gate::look_for_credentials).
    pub(in crate::mesh) fn asks_for_credentials(&self) -> bool {
        self.credentials.load(Ordering::SeqCst) != 0
    }

    /// Whether no thread is inside, nor we.
    pub(in crate::mesh) fn is_free(&self) -> bool {
        self.inside.load(Ordering::SeqCst) == 0
    }

    /// Takes the turn if nobody is inside: the sender's threads wait meanwhile, for a short time. False: try
    /// again some milliseconds later.
    pub(super) fn lock(&self) -> bool {
        self.inside.compare_exchange(0, USER, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Gives the turn back, if it is ours still.
    pub(super) fn unlock(&self) {
        // A read from the source has given it back already. A thread that did not wait is counted in `overlaps`.
        let _ = self.inside.compare_exchange(USER, 0, Ordering::SeqCst, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_changes_only_at_the_count_that_was_read() {
        let gate = AtomicGate::default();
        gate.word.store(5, Ordering::SeqCst);
        assert!(!gate.redirect(4));
        assert!(gate.redirect(5));
        assert_eq!(gate.redirected(), 0);
        gate.word.fetch_add(7, Ordering::SeqCst);
        gate.fallen.store(3, Ordering::SeqCst);
        assert_eq!((gate.hold(), gate.held()), (7, 3));
    }

    #[test]
    fn only_our_own_turn_is_given_back() {
        let gate = AtomicGate::default();
        assert!(gate.lock());
        assert!(!gate.lock());
        gate.unlock();
        assert!(gate.lock());
        gate.inside.store(0x1000, Ordering::SeqCst);
        gate.unlock();
        assert!(!gate.lock());
    }
}
