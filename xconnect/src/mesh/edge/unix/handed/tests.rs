//! Connections that the maps do not take as a whole, on the kernel that runs (see `for_tests`).

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use super::*;
use crate::mesh::edge::FdBudget;
use crate::mesh::edge::unix::FdSearch;
use crate::mesh::offload::{KernelShare, Peers, for_tests};
use crate::sys::scm::Sender;

const TOKEN: Token = Token::ANY;

/// A connection between two ends, driven by hand.
struct Rig {
    handed: Handed,
    sockets: [OwnedFd; 2],
    ends: [UnixStream; 2],
    poller: Poller,
    scratch: Scratch,
}

fn kernel(flows: u32) -> Option<Arc<KernelPath>> {
    Some(Arc::new(KernelPath::load(&for_tests()?, flows).unwrap()))
}

fn cookie(socket: &UnixStream) -> u64 {
    socket::cookie(socket.as_fd()).unwrap()
}

/// Takes all the room in the map of sources.
fn fill(kernel: &KernelPath) -> Vec<(UnixStream, UnixStream)> {
    let pairs = std::iter::repeat_with(|| UnixStream::pair().unwrap());
    pairs.take_while(|(one, _)| kernel.add_source(cookie(one), one.as_fd()).is_ok()).collect()
}

impl Rig {
    fn prepared(kernel: &Arc<KernelPath>) -> Self {
        let ((client, consumer), (provider, server)) =
            (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        for socket in [&consumer, &provider, &client, &server] {
            socket.set_nonblocking(true).unwrap();
        }
        let role = Sender {
            pid: std::process::id(),
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
        };
        let sockets = [OwnedFd::from(consumer), OwnedFd::from(provider)];
        let now = Instant::now();
        let (share, link) = (KernelShare::for_tests(kernel), FdBudget::new(1024).share());
        let handed = Handed::prepare(&share, &link, &sockets, role, &mut Peers::default(), now).unwrap();
        let poller = Poller::new().unwrap();
        for (side, socket) in [(Side::Consumer, &sockets[0]), (Side::Provider, &sockets[1])] {
            poller.add(socket.as_fd(), TOKEN.of(side), EventFlags::IN | EventFlags::ET).unwrap();
        }
        Self { handed, sockets, ends: [client, server], poller, scratch: Scratch::new(FdSearch::Blind) }
    }

    fn enter(&mut self) -> Entered {
        let entered = self.handed.enter(&self.sockets, Instant::now());
        self.handed.register(&self.sockets, &self.poller, TOKEN).unwrap();
        entered
    }

    /// As `enter` where the map does not take all.
    fn enter_in_part(&mut self, taken: [bool; 2], verdict: bool) {
        self.handed.entered = true;
        for side in [0, 1] {
            self.handed.flows[side].begin();
            self.handed.flows[side].outside = !taken[side];
            if taken[side] || verdict {
                self.handed.kernel.add_source(self.handed.sockets[side], self.sockets[side].as_fd()).unwrap();
            }
        }
        self.handed.register(&self.sockets, &self.poller, TOKEN).unwrap();
    }

    /// One round of events, and a turn. False: it is over.
    fn turn(&mut self) -> bool {
        let mut events = Vec::new();
        let soon = Instant::now() + Duration::from_millis(2);
        self.poller.wait(&mut events, Some(soon)).unwrap();
        for event in &events {
            self.handed.event(Token::parse(event.data.u64()).1, event.flags, &self.sockets);
        }
        let (scratch, poller) = (&mut self.scratch, &self.poller);
        match self.handed.run(&self.sockets, scratch, Instant::now(), poller, Some(TOKEN)) {
            Turn::Over => false,
            Turn::Broken(trouble) => panic!("cut: {trouble:?}"),
            Turn::Idle | Turn::Again | Turn::Later => true,
        }
    }

    fn look(&mut self) -> bool {
        self.handed.look(&self.sockets, Instant::now())
    }

    /// Sends bytes from one end, and receives them at the other.
    fn carries(&mut self, from: usize, len: usize) {
        let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
        let (mut sent, mut got) = (0, Vec::new());
        let deadline = Instant::now() + Duration::from_secs(20);
        while got.len() < len {
            assert!(Instant::now() < deadline, "{sent} bytes of {len} sent, {} received", got.len());
            let chunk = &bytes[sent..len.min(sent + 5000)];
            sent += if chunk.is_empty() { 0 } else { (&self.ends[from]).write(chunk).unwrap_or(0) };
            assert!(self.turn());
            let mut buffer = [0; 65_536];
            let read = (&self.ends[1 - from]).read(&mut buffer).unwrap_or(0);
            got.extend_from_slice(&buffer[..read]);
        }
        assert!(got == bytes, "other bytes came");
    }

    fn in_kernel(&self) -> [bool; 2] {
        [0, 1].map(|side| self.handed.flows[side].in_kernel())
    }
}

#[test]
fn what_the_map_takes_goes_through_the_kernel() {
    let Some(kernel) = kernel(2) else { return };
    let mut rig = Rig::prepared(&kernel);
    assert!(matches!(rig.enter(), Entered::Whole));
    for from in [0, 1, 0, 1] {
        rig.carries(from, 100_000);
    }
    assert_eq!(rig.in_kernel(), [true; 2]);
}

/// It has its verdict all the same (`KernelPath::add_source`).
#[test]
fn a_full_map_is_no_matter_to_what_is_prepared() {
    let Some(kernel) = kernel(2) else { return };
    let _fill = fill(&kernel);
    let mut rig = Rig::prepared(&kernel);
    assert!(matches!(rig.enter(), Entered::Whole));
    for from in [0, 1, 0, 1] {
        rig.carries(from, 100_000);
    }
    assert_eq!(rig.in_kernel(), [true; 2]);
}

/// Which directions the map takes, and whether the sources of the others have their verdict.
const REFUSALS: [([bool; 2], bool); 6] = [
    ([false, false], false),
    ([false, true], false),
    ([true, false], false),
    ([false, false], true),
    ([false, true], true),
    ([true, false], true),
];

#[test]
fn what_the_map_refuses_is_relayed_and_enters_later() {
    let Some(kernel) = kernel(16) else { return };
    for (taken, verdict) in REFUSALS {
        let mut rig = Rig::prepared(&kernel);
        rig.enter_in_part(taken, verdict);
        for from in [0, 1, 0, 1] {
            rig.carries(from, 100_000);
        }
        assert_eq!(rig.in_kernel(), taken);
        assert!(rig.look());
        for from in [0, 1, 0, 1] {
            rig.carries(from, 100_000);
        }
        assert_eq!(rig.in_kernel(), [true; 2]);
    }
}

#[test]
fn what_the_map_refuses_ends_as_it_should() {
    let Some(kernel) = kernel(32) else { return };
    for ((taken, verdict), first) in REFUSALS.into_iter().flat_map(|refusal| [(refusal, 0), (refusal, 1)]) {
        let mut rig = Rig::prepared(&kernel);
        rig.enter_in_part(taken, verdict);
        rig.carries(1 - first, 1000);
        (&rig.ends[first]).write_all(b"the last").unwrap();
        rig.ends[first].shutdown(std::net::Shutdown::Write).unwrap();
        let mut got = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            assert!(Instant::now() < deadline);
            rig.turn();
            let mut buffer = [0; 100];
            match (&rig.ends[1 - first]).read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => got.extend_from_slice(&buffer[..read]),
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
        }
        assert_eq!(got, b"the last");
        rig.carries(1 - first, 1000);
        rig.ends[1 - first].shutdown(std::net::Shutdown::Write).unwrap();
        while rig.turn() {
            assert!(Instant::now() < deadline);
        }
    }
}

#[test]
fn what_was_only_prepared_leaves_no_entry() {
    let Some(kernel) = kernel(2) else { return };
    let mut alive = Vec::new();
    // Each takes two gates, which rest for a second.
    for _ in 0..3 {
        let rig = Rig::prepared(&kernel);
        let Rig { handed, sockets, ends, .. } = rig;
        drop(handed);
        alive.push((sockets, ends));
        std::thread::sleep(Duration::from_millis(1100));
    }
    let mut rig = Rig::prepared(&kernel);
    assert!(matches!(rig.enter(), Entered::Whole));
    rig.carries(0, 1000);
    // They work as any sockets.
    for ([consumer, _], [client, _]) in &alive {
        (&mut &*client).write_all(b"12345").unwrap();
        let mut read = [0; 9];
        assert_eq!(socket::receive_plain(consumer.as_fd(), &mut read).unwrap(), 5);
    }
}
