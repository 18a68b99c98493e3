//! The send buffers of a connection in the kernel: how large they are, and what they take of the budget.
//!
//! What counts is what they may hold (`SO_SNDBUF` as the kernel reports it), of our two sockets and of both ends of
//! the hold pair, whatever is in them.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::mesh::pool::{Share, Taken};
use crate::sys::socket;

/// A buffer's size at first, and the most that one grows to, in bytes as the kernel counts them. The kernel's worker
/// waits for a tick once a sink's buffer is half full: 256 KiB let 28 MiB a second through, 512 KiB 300, 1 MiB 1000
/// and more, 2 MiB 3000, 8 MiB 3500, and more than that nothing more.
const SIZES: (usize, usize) = (1024 * 1024, 8 * 1024 * 1024);
/// By how much one grows at a look: what passes is bounded by the buffer itself, so that it does not tell how
/// much is needed.
const GROWTH: usize = 4;
/// A direction that has moved nothing for so long gives back what its buffer has grown by.
const IDLE: Duration = Duration::from_secs(10);

/// What is seen of a flow at a look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Bytes with a verdict, all in all.
    pub(super) moved: u64,
    /// The kernel forwards.
    pub(super) in_kernel: bool,
    /// Since the last look.
    pub(super) elapsed: Duration,
    pub(super) now: Instant,
}

/// The send buffers of one connection.
#[derive(Debug)]
pub(super) struct Buffers {
    taken: Taken,
    /// By the socket: the consumer's, the provider's.
    sizes: [usize; 2],
    /// Both ends of the hold pair together.
    held: usize,
    /// By the source: what had moved at the last look, and since when.
    moved: [(u64, Instant); 2],
    /// The budget had no room for growth, and how often that began since it was asked.
    short: bool,
    refused: u64,
}

impl Buffers {
    /// Gives the sockets and the hold pair their first size. `None`: the budget has no room for it.
    pub(super) fn first(
        share: &Arc<Share>,
        sockets: [BorrowedFd<'_>; 2],
        hold: [BorrowedFd<'_>; 2],
        now: Instant,
    ) -> Option<Self> {
        let all = [sockets[0], sockets[1], hold[0], hold[1]];
        // What is larger already stays so.
        let taken = share.take(all.map(|fd| size(fd).max(SIZES.0)).iter().sum())?;
        let [consumer, provider, one, other] = all.map(|fd| {
            // Without the privilege the system's limit holds: slower, not wrong.
            let _ = socket::grow_send_buffer(fd, SIZES.0);
            size(fd)
        });
        let mut buffers = Self {
            taken,
            sizes: [consumer, provider],
            held: one + other,
            moved: [(0, now); 2],
            short: false,
            refused: 0,
        };
        buffers.settle();
        Some(buffers)
    }

    /// Bytes that they may hold.
    pub(super) fn bytes(&self) -> usize {
        self.taken.count()
    }

    /// How often growth was refused since the last call.
    pub(super) fn refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    /// Fits the sink's buffer to what has come from `source` since the last look.
    pub(super) fn look(&mut self, source: usize, sink: BorrowedFd<'_>, pace: Pace) {
        let (before, since) = self.moved[source];
        let since = if pace.moved == before { since } else { pace.now };
        self.moved[source] = (pace.moved, since);
        let size = self.sizes[1 - source];
        let bytes = pace.moved.saturating_sub(before);
        if pace.in_kernel && is_tight(size, bytes, pace.elapsed) {
            self.grow(1 - source, sink, (size * GROWTH).min(SIZES.1));
        } else if size > SIZES.0 && pace.now.duration_since(since) >= IDLE {
            // What is queued stays queued.
            let _ = socket::force_send_buffer(sink, SIZES.0);
            self.resized(1 - source, sink);
        }
    }

    fn grow(&mut self, which: usize, socket: BorrowedFd<'_>, size: usize) {
        let more = size.saturating_sub(self.sizes[which]);
        if more == 0 {
            return;
        }
        if !self.taken.grow(self.taken.count() + more) {
            self.refused += u64::from(!self.short);
            self.short = true;
            return;
        }
        self.short = false;
        // As in `first`.
        let _ = socket::grow_send_buffer(socket, size);
        self.resized(which, socket);
    }

    fn resized(&mut self, which: usize, socket: BorrowedFd<'_>) {
        self.sizes[which] = size(socket);
        self.settle();
    }

    /// Gives back what was taken and not had.
    fn settle(&mut self) {
        self.taken.shrink(self.sizes[0] + self.sizes[1] + self.held);
    }
}

/// Whether so many bytes are near what a buffer lets through: half of it in a tick (net/core/skmsg.c,
/// `sk_psock_backlog`), which is 10 ms at most (HZ = 100).
fn is_tight(size: usize, bytes: u64, elapsed: Duration) -> bool {
    let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX).max(1);
    bytes > (size as u64 / 2).saturating_mul(micros) / 10_000 / 2
}

fn size(socket: BorrowedFd<'_>) -> usize {
    // It fails for no socket that there is.
    socket::send_buffer(socket).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::mesh::pool::Pool;

    const MIB: usize = 1 << 20;

    struct Rig {
        pool: Arc<Pool>,
        share: Arc<Share>,
        sockets: (UnixStream, UnixStream),
        hold: (UnixStream, UnixStream),
        now: Instant,
    }

    impl Rig {
        fn new(mib: usize) -> Self {
            let pool = Pool::new(mib * MIB);
            let pair = || UnixStream::pair().unwrap();
            Self { share: pool.share(), pool, sockets: pair(), hold: pair(), now: Instant::now() }
        }

        fn first(&self) -> Option<Buffers> {
            let sockets = [self.sockets.0.as_fd(), self.sockets.1.as_fd()];
            Buffers::first(&self.share, sockets, [self.hold.0.as_fd(), self.hold.1.as_fd()], self.now)
        }

        /// A look a quarter of a second later, at the flow from the consumer.
        fn look(&mut self, buffers: &mut Buffers, moved: usize) {
            let elapsed = Duration::from_millis(250);
            self.now += elapsed;
            let pace = Pace { moved: moved as u64, in_kernel: true, elapsed, now: self.now };
            buffers.look(0, self.sockets.1.as_fd(), pace);
        }

        fn provider(&self) -> usize {
            size(self.sockets.1.as_fd())
        }

        /// Whether sizes may be chosen here.
        fn privileged(&self) -> bool {
            let may = socket::force_send_buffer(self.hold.0.as_fd(), size(self.hold.0.as_fd())).is_ok();
            if !may {
                assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "it takes CAP_NET_ADMIN");
                println!("SKIP: without CAP_NET_ADMIN");
            }
            may
        }
    }

    #[test]
    fn what_is_taken_is_what_they_may_hold_and_comes_back() {
        let rig = Rig::new(8);
        if !rig.privileged() {
            return;
        }
        let buffers = rig.first().unwrap();
        assert_eq!((buffers.bytes(), rig.pool.used(), rig.provider()), (4 * MIB, 4 * MIB, MIB));
        drop(buffers);
        assert_eq!(rig.pool.used(), 0);
    }

    #[test]
    fn without_room_for_the_first_size_nothing_is_touched() {
        let rig = Rig::new(3);
        let before = rig.provider();
        assert!(rig.first().is_none());
        assert_eq!((rig.provider(), rig.pool.used()), (before, 0));
    }

    #[test]
    fn a_fast_flow_grows_as_far_as_the_budget_goes() {
        let mut rig = Rig::new(14);
        if !rig.privileged() {
            return;
        }
        let mut buffers = rig.first().unwrap();
        rig.look(&mut buffers, 100 * MIB);
        assert_eq!((rig.provider(), buffers.bytes(), buffers.refused()), (4 * MIB, 7 * MIB, 0));
        rig.look(&mut buffers, 600 * MIB);
        rig.look(&mut buffers, 1200 * MIB);
        assert_eq!((rig.provider(), buffers.refused(), buffers.refused()), (4 * MIB, 1, 0));
        assert_eq!(rig.pool.used(), 7 * MIB);
    }

    #[test]
    fn a_flow_that_rests_gives_back_its_growth() {
        let mut rig = Rig::new(64);
        if !rig.privileged() {
            return;
        }
        let mut buffers = rig.first().unwrap();
        rig.look(&mut buffers, 500 * MIB);
        rig.look(&mut buffers, 1500 * MIB);
        rig.look(&mut buffers, 3500 * MIB);
        assert_eq!((rig.provider(), rig.pool.used()), (SIZES.1, 3 * MIB + SIZES.1));
        // Slow is not idle.
        rig.now += IDLE;
        rig.look(&mut buffers, 3500 * MIB + 1);
        assert_eq!(rig.provider(), SIZES.1);
        rig.now += IDLE;
        rig.look(&mut buffers, 3500 * MIB + 1);
        assert_eq!((rig.provider(), rig.pool.used()), (SIZES.0, 4 * MIB));
    }

    #[test]
    fn a_buffer_is_tight_at_half_of_what_it_lets_through() {
        let tick = Duration::from_millis(10);
        assert!(!is_tight(MIB, MIB as u64 / 4, tick));
        assert!(is_tight(MIB, MIB as u64 / 4 + 1, tick));
        assert!(!is_tight(MIB, 0, Duration::ZERO));
    }
}
