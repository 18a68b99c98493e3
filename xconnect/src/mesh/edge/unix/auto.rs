//! `"forward": "auto"`: whether a connection is better off in the kernel.
//!
//! On more than one processor it always is (docs/decisions/0008 has the figures). Where both ends share one,
//! only small questions and answers are: for bulk, one copy more costs less than the kernel's worker does. There
//! is no way back from the kernel, so such a connection has to show what it is before.

use crate::mesh::edge::workers::Side;

/// So many messages tell what a connection is.
pub(super) const ENOUGH: u32 = 1000;
/// Messages of questions and answers are shorter than this, on the average.
const SMALL: u64 = 1024;
/// One direction has at most so many times the messages of the other one.
const LOPSIDED: u32 = 2;

/// The processors that both ends may run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Processors {
    /// One, and it is the same for both.
    One,
    /// More, or that is not known.
    Several,
}

/// Where a connection belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Kernel,
    User,
}

/// What has been said since the connection was judged last.
#[derive(Debug, Default)]
pub(super) struct Talk {
    /// By the side that sent.
    messages: [u32; 2],
    bytes: u64,
}

impl Talk {
    pub(super) fn add(&mut self, from: Side, bytes: usize) {
        let messages = &mut self.messages[from as usize];
        *messages = messages.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    /// It can be told what it is.
    pub(super) fn is_enough(&self) -> bool {
        self.messages[0].saturating_add(self.messages[1]) >= ENOUGH
    }

    fn is_small_ping_pong(&self) -> bool {
        let [fewer, more] = [self.messages[0].min(self.messages[1]), self.messages[0].max(self.messages[1])];
        let all = u64::from(fewer) + u64::from(more);
        self.is_enough() && more <= fewer.saturating_mul(LOPSIDED) && self.bytes < all * SMALL
    }

    /// Judges the connection. Once there was enough of it, what was said until now counts no more.
    pub(super) fn judge(&mut self, processors: Processors) -> Place {
        let place = match processors {
            Processors::Several => Place::Kernel,
            Processors::One if self.is_small_ping_pong() => Place::Kernel,
            Processors::One => Place::User,
        };
        if self.is_enough() {
            *self = Self::default();
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many messages by the consumer and the provider, each of so many bytes.
    fn talk(messages: [u32; 2], bytes: usize) -> Talk {
        let mut talk = Talk::default();
        for (side, count) in [Side::Consumer, Side::Provider].into_iter().zip(messages) {
            (0..count).for_each(|_| talk.add(side, bytes));
        }
        talk
    }

    #[test]
    fn several_processors_need_no_proof() {
        assert_eq!(talk([0, 0], 0).judge(Processors::Several), Place::Kernel);
        assert_eq!(talk([5000, 0], 65536).judge(Processors::Several), Place::Kernel);
    }

    #[test]
    fn on_one_processor_small_ping_pong_belongs_to_the_kernel() {
        assert_eq!(talk([500, 500], 64).judge(Processors::One), Place::Kernel);
        assert_eq!(talk([334, 667], 1023).judge(Processors::One), Place::Kernel);
    }

    #[test]
    fn on_one_processor_all_else_stays() {
        for (messages, bytes) in [
            ([499, 500], 64),
            ([500, 500], 1024),
            ([500, 500], 4096),
            ([333, 668], 64),
            ([1000, 0], 1),
            ([0, 1000], 65536),
        ] {
            assert_eq!(talk(messages, bytes).judge(Processors::One), Place::User, "{messages:?} {bytes}");
        }
    }

    #[test]
    fn what_was_judged_counts_no_more() {
        let mut was_bulk = talk([1000, 0], 65536);
        assert_eq!(was_bulk.judge(Processors::One), Place::User);
        assert!(!was_bulk.is_enough());
        for _ in 0..ENOUGH / 2 {
            was_bulk.add(Side::Consumer, 100);
            was_bulk.add(Side::Provider, 100);
        }
        assert_eq!(was_bulk.judge(Processors::One), Place::Kernel);
    }

    #[test]
    fn what_was_too_little_to_tell_goes_on_counting() {
        let mut slow = talk([400, 400], 10);
        assert_eq!(slow.judge(Processors::One), Place::User);
        (0..100).for_each(|_| slow.add(Side::Consumer, 10));
        (0..100).for_each(|_| slow.add(Side::Provider, 10));
        assert_eq!(slow.judge(Processors::One), Place::Kernel);
    }
}
