//! How a connection ends: everything that was sent arrives first, and the peers see an end, no error.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use tokio::sync::Notify;

use crate::graph::{Identity, Limits, SocketType};
use crate::ids::{ContainerName, InsidePath, LinkKey, ServiceName};
use crate::mesh::edge::unix::shared::{Admission, LinkShared};
use crate::mesh::edge::unix::{FdSearch, Relay, Scratch, Verdict};
use crate::mesh::edge::workers::{Clock, Poller, Side};
use crate::mesh::edge::{FdBudget, LinkCounters};
use crate::sys::scm::{self, Sender};

/// A connection with both of its peers, turned by hand.
struct Bench {
    consumer: UnixStream,
    provider: UnixStream,
    relay: Relay,
    poller: Poller,
    scratch: Scratch,
}

fn link() -> Arc<LinkShared> {
    let key = LinkKey {
        consumer: ContainerName::new("c").unwrap(),
        service: ServiceName::new("s").unwrap(),
        target: InsidePath::new("/s").unwrap(),
    };
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    Arc::new(LinkShared {
        number: 1,
        id: key.id(),
        socket_type: SocketType::Stream,
        identity: Identity { uid, gid },
        role: Sender { pid: std::process::id(), uid, gid },
        limits: Limits::default(),
        plain: false,
        kernel: None,
        own: Arc::default(),
        counters: Arc::new(LinkCounters::default()),
        limiter: Arc::default(),
        share: FdBudget::new(1024).share(),
        consumer: key.consumer.clone(),
        provider: ContainerName::new("p").unwrap(),
        service: key.service.clone(),
        open: AtomicUsize::new(0),
        empty: Notify::new(),
        cut: AtomicBool::new(false),
    })
}

impl Bench {
    fn new() -> Self {
        let pair = || {
            let (peer, ours) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            (peer, OwnedFd::from(ours))
        };
        let ((consumer, to_consumer), (provider, to_provider)) = (pair(), pair());
        let link = link();
        let admission = Admission::new(&link, link.share.connection().unwrap());
        Self {
            consumer,
            provider,
            relay: Relay::new(to_consumer, to_provider, admission, Instant::now()),
            poller: Poller::new().unwrap(),
            scratch: Scratch::new(FdSearch::Boundary),
        }
    }

    fn turn(&mut self, side: Side, flags: EventFlags) -> Verdict {
        self.relay.event(side, flags);
        loop {
            match self.relay.run(&self.poller, &mut self.scratch, &Clock::default()) {
                Verdict::Again => {}
                verdict => return verdict,
            }
        }
    }
}

const CLOSED: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::HUP);
const HALF_CLOSED: EventFlags = EventFlags::IN.union(EventFlags::RDHUP);

fn rest(mut stream: &UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_provider_that_answers_and_closes() {
    let mut bench = Bench::new();
    bench.provider.write_all(b"answer").unwrap();
    bench.provider.shutdown(Shutdown::Both).unwrap();
    assert_eq!(bench.turn(Side::Provider, CLOSED), Verdict::Over);
    let Bench { consumer, relay, .. } = bench;
    drop(relay);
    assert_eq!(rest(&consumer), b"answer");
}

#[test]
fn a_half_close_is_told_while_the_other_way_goes_on() {
    let mut bench = Bench::new();
    bench.consumer.write_all(b"question").unwrap();
    bench.consumer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(bench.turn(Side::Consumer, HALF_CLOSED), Verdict::Idle);
    assert_eq!(rest(&bench.provider), b"question");
    bench.provider.write_all(b"first").unwrap();
    assert_eq!(bench.turn(Side::Provider, EventFlags::IN), Verdict::Idle);
    bench.provider.write_all(b" second").unwrap();
    bench.provider.shutdown(Shutdown::Write).unwrap();
    assert_eq!(bench.turn(Side::Provider, HALF_CLOSED), Verdict::Over);
    let Bench { consumer, relay, .. } = bench;
    drop(relay);
    assert_eq!(rest(&consumer), b"first second");
}

#[test]
fn an_end_without_bytes() {
    let mut bench = Bench::new();
    bench.consumer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(bench.turn(Side::Consumer, HALF_CLOSED), Verdict::Idle);
    assert_eq!(rest(&bench.provider), b"");
}

#[test]
fn descriptors_before_the_end_keep_their_byte() {
    let mut bench = Bench::new();
    let carried: [OwnedFd; 1] = [bench.consumer.try_clone().unwrap().into()];
    for (bytes, fds) in [(&b"plain"[..], &[][..]), (b"head", &carried[..]), (b"tail", &[][..])] {
        assert_eq!(scm::send(bench.consumer.as_fd(), bytes, fds, None).unwrap(), bytes.len());
    }
    bench.consumer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(bench.turn(Side::Consumer, HALF_CLOSED), Verdict::Idle);
    let mut buffer = [0; 64];
    let mut fds = Vec::new();
    bench.provider.read_exact(&mut buffer[..5]).unwrap();
    assert_eq!(&buffer[..5], b"plain");
    let received = scm::receive(bench.provider.as_fd(), &mut buffer, &mut fds).unwrap();
    assert_eq!((&buffer[..received.len], fds.len()), (&b"head"[..], 1));
    assert_eq!(rest(&bench.provider), b"tail");
}

#[test]
fn urgent_bytes_before_the_end_do_not_hide_what_follows() {
    let mut bench = Bench::new();
    rustix::net::sockopt::set_socket_oobinline(&bench.provider, true).unwrap();
    bench.consumer.write_all(b"ab").unwrap();
    crate::sys::socket::send_urgent(bench.consumer.as_fd(), b'!').unwrap();
    bench.consumer.write_all(b"cd").unwrap();
    bench.consumer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(bench.turn(Side::Consumer, HALF_CLOSED.union(EventFlags::PRI)), Verdict::Idle);
    assert_eq!(rest(&bench.provider), b"ab!cd");
}

#[test]
fn more_than_a_sink_holds_arrives_before_the_end() {
    let mut bench = Bench::new();
    rustix::net::sockopt::set_socket_send_buffer_size(&bench.consumer, 4 << 20).unwrap();
    bench.consumer.set_nonblocking(true).unwrap();
    let block: Vec<u8> = (0..=255).cycle().take(64 * 1024).collect();
    let mut sent = Vec::new();
    while let Ok(count) = bench.consumer.write(&block) {
        sent.extend_from_slice(&block[..count]);
    }
    bench.consumer.shutdown(Shutdown::Write).unwrap();
    bench.turn(Side::Consumer, HALF_CLOSED);
    bench.provider.set_nonblocking(true).unwrap();
    let (mut got, mut buffer) = (Vec::new(), vec![0; 100_000]);
    loop {
        match bench.provider.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => got.extend_from_slice(&buffer[..count]),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                assert!(got.len() < sent.len(), "no end");
                bench.turn(Side::Provider, EventFlags::OUT);
            }
        }
    }
    assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
}
