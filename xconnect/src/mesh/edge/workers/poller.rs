//! epoll(7), with tokens that say which socket of which connection.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use super::Key;

/// Events taken at once.
const BATCH: usize = 64;

/// Which of a connection's sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mesh::edge) enum Side {
    /// The one accepted from the consumer (or the only one).
    Consumer = 0,
    /// The one connected to the provider.
    Provider = 1,
    /// Where the kernel puts what the consumer sends, while it is held (see `mesh::offload`).
    HoldOfConsumer = 2,
    /// Where the kernel puts what the provider sends, while it is held.
    HoldOfProvider = 3,
}

/// Names a connection in epoll; stale once its slot is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mesh::edge) struct Token(Key);

impl Token {
    /// The worker's own bell.
    pub(super) const BELL: u64 = u64::MAX;
    /// Any connection, where there is one alone.
    #[cfg(test)]
    pub(in crate::mesh::edge) const ANY: Self = Self(Key { index: 1, generation: 1 });

    pub(in crate::mesh::edge) fn new(key: Key) -> Self {
        Self(key)
    }

    /// The number that epoll gives back for one side.
    pub(in crate::mesh::edge) fn of(self, side: Side) -> u64 {
        (u64::from(self.0.generation) << 32) | (u64::from(self.0.index) << 2) | side as u64
    }

    /// Reads such a number.
    pub(in crate::mesh::edge) fn parse(number: u64) -> (Key, Side) {
        let side = match number & 3 {
            0 => Side::Consumer,
            1 => Side::Provider,
            2 => Side::HoldOfConsumer,
            _ => Side::HoldOfProvider,
        };
        // Both halves are cut to 32 bits on purpose.
        let (generation, index) = ((number >> 32) as u32, (number as u32) >> 2);
        (Key { index, generation }, side)
    }
}

/// A worker's epoll instance.
#[derive(Debug)]
pub(in crate::mesh::edge) struct Poller(OwnedFd);

impl Poller {
    pub(in crate::mesh::edge) fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(CreateFlags::CLOEXEC)?))
    }

    pub(in crate::mesh::edge) fn add(
        &self,
        fd: BorrowedFd<'_>,
        number: u64,
        flags: EventFlags,
    ) -> io::Result<()> {
        Ok(epoll::add(&self.0, fd, EventData::new_u64(number), flags)?)
    }

    pub(in crate::mesh::edge) fn modify(
        &self,
        fd: BorrowedFd<'_>,
        number: u64,
        flags: EventFlags,
    ) -> io::Result<()> {
        Ok(epoll::modify(&self.0, fd, EventData::new_u64(number), flags)?)
    }

    /// Needed where the descriptor lives on, here or as a duplicate elsewhere.
    pub(in crate::mesh::edge) fn remove(&self, fd: BorrowedFd<'_>) {
        // It fails only for a descriptor that is not watched, which is what is wanted.
        let _ = epoll::delete(&self.0, fd);
    }

    /// Waits for events until `deadline`, for ever without one.
    pub(in crate::mesh::edge) fn wait(
        &self,
        events: &mut Vec<Event>,
        deadline: Option<Instant>,
    ) -> io::Result<()> {
        let timeout = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            // epoll counts in milliseconds: round up, or the last one is spent spinning.
            let left = if left.is_zero() { left } else { left + Duration::from_micros(999) };
            let seconds = i64::try_from(left.as_secs().min(3600)).unwrap_or(3600);
            Timespec { tv_sec: seconds, tv_nsec: i64::from(left.subsec_millis()) * 1_000_000 }
        });
        events.clear();
        events.reserve(BATCH);
        match epoll::wait(&self.0, rustix::buffer::spare_capacity(events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_epoll() {
        for key in [Key { index: 0, generation: 1 }, Key { index: (1 << 30) - 1, generation: u32::MAX - 1 }] {
            for side in [Side::Consumer, Side::Provider, Side::HoldOfConsumer, Side::HoldOfProvider] {
                assert_eq!(Token::parse(Token::new(key).of(side)), (key, side));
            }
        }
    }
}
