//! Which gates are in use.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::KernelPath;
use super::gate::AtomicGate;
use super::kernel::Receiving;
use crate::mesh::pool::Taken;

/// A gate is not used again for so long: a verdict that began before its flow ended may still add to it.
const QUARANTINE: Duration = Duration::from_secs(1);

/// The free gates' numbers, the longest free ones first.
#[derive(Debug)]
pub(super) struct Slots {
    /// From here on no gate was ever used.
    fresh: u32,
    count: u32,
    /// Those that rest, with what they count as in their link's share until then.
    resting: VecDeque<(u32, Instant, Option<Taken>)>,
    rested: VecDeque<u32>,
}

impl Slots {
    pub(super) fn new(count: u32) -> Self {
        Self { fresh: 0, count, resting: VecDeque::new(), rested: VecDeque::new() }
    }

    /// Lets those that have rested for long enough go.
    pub(super) fn reap(&mut self, now: Instant) {
        while let Some((_, since, _)) = self.resting.front()
            && now.duration_since(*since) >= QUARANTINE
        {
            self.rested.extend(self.resting.pop_front().map(|(slot, _, _)| slot));
        }
    }

    fn take(&mut self, now: Instant) -> Option<u32> {
        self.reap(now);
        if let Some(slot) = self.rested.pop_front() {
            return Some(slot);
        }
        let slot = self.fresh;
        (slot < self.count).then(|| {
            self.fresh += 1;
            slot
        })
    }

    fn give_back(&mut self, slot: u32, now: Instant, taken: Option<Taken>) {
        self.resting.push_back((slot, now, taken));
    }
}

/// A gate of our own; given back when this is dropped.
pub(in crate::mesh) struct Gate {
    kernel: Arc<KernelPath>,
    slot: u32,
    taken: Option<Taken>,
}

impl Gate {
    /// A gate in hold mode, with everything at 0, for what was taken of a link's share: it is given back when the gate
    /// has rested. `None`: all are taken, or there is no memory to see it.
    pub(in crate::mesh) fn take(kernel: &Arc<KernelPath>, taken: Taken) -> Option<Self> {
        let mut slots = kernel.slots().lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.take(Instant::now())?;
        drop(slots);
        let gate = Self { kernel: kernel.clone(), slot, taken: Some(taken) };
        kernel.region().reach(slot as usize).ok()?;
        gate.clear();
        Some(gate)
    }

    /// From now on the sender's threads take turns.
    pub(in crate::mesh) fn arm(&self) {
        self.kernel.arm(self.slot);
    }

    pub(in crate::mesh) fn slot(&self) -> u32 {
        self.slot
    }

    /// See [`AtomicGate::lock`]; the kernel gives the turn back at the end of the `recvmsg` that follows.
    pub(in crate::mesh) fn lock(&self) -> Option<Turn<'_>> {
        let receiving = self.kernel.receiving();
        AtomicGate::lock(self).then(|| Turn { gate: self, _receiving: receiving })
    }

    /// Looks whether the peer of the flow's sink wants to be told who sends.
    ///
    /// # Errors
    /// Those of recv(2).
    pub(in crate::mesh) fn look_for_credentials(&self, sink: BorrowedFd<'_>) -> io::Result<bool> {
        self.kernel.look_for_credentials(self.slot, sink)
    }
}

/// Our turn at a source: given back when this is dropped, if it was not before.
pub(in crate::mesh) struct Turn<'a> {
    gate: &'a AtomicGate,
    _receiving: Receiving<'a>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.gate.unlock();
    }
}

impl std::ops::Deref for Gate {
    type Target = AtomicGate;

    fn deref(&self) -> &AtomicGate {
        self.kernel.gate(self.slot)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let slots: &Mutex<Slots> = self.kernel.slots();
        let mut slots = slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.give_back(self.slot, Instant::now(), self.taken.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_rests_before_it_is_used_again() {
        let mut slots = Slots::new(2);
        let start = Instant::now();
        assert_eq!((slots.take(start), slots.take(start), slots.take(start)), (Some(0), Some(1), None));
        slots.give_back(1, start, None);
        assert_eq!(slots.take(start + QUARANTINE / 2), None);
        assert_eq!(slots.take(start + QUARANTINE), Some(1));
    }
}
