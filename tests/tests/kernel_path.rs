//! Links whose provider promises a plain protocol: the kernel forwards, exactly as the mesh would.
//!
//! Where this kernel cannot, the tests say so and hold for the path through user space too. What is tried on every
//! kernel that may have the path is in `kernel_smoke`.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use xconnect_tests::mesh::Pair;
use xconnect_tests::payload::{assert_same, bytes, send_in_chunks};
use xconnect_tests::plain::{self, exchange, kernel_bytes, refuses_descriptors};
use xconnect_tests::process::ticks_in_a_second;
use xconnect_tests::{Kind, OrFail, Sandbox, Socket, ensure, eventually, run};

const MIB: usize = 1 << 20;

/// A link with the promise.
fn start(sandbox: &Sandbox) -> Pair {
    Pair::start_with(sandbox, Kind::Stream, |link| link.option("forward", "kernel"))
}

/// Whether the link goes through the kernel here.
fn in_kernel(pair: &Pair) -> bool {
    let entry = pair.mesh.entry(&pair.link).or_fail("the link");
    let (kernel, why) = (entry["path"] == "kernel", &entry["path_reason"]);
    // Where descriptors cannot be refused the link stays in user space: `kernel_smoke` has those kernels.
    assert!(kernel || !refuses_descriptors(), "no kernel path: {why}");
    if !kernel {
        println!("SKIP: the kernel path is not there, tried in user space: {why}");
    }
    kernel
}

/// A connection that the kernel forwards, both ways.
fn handed_over(pair: &Pair) -> (Socket, Socket) {
    if in_kernel(pair) { plain::handed_over(pair) } else { pair.connect() }
}

#[test]
fn descriptors_are_refused_to_their_sender() {
    run(|sandbox| {
        let pair = start(sandbox);
        // Before anybody has accepted, too.
        for _ in 0..50 {
            let client = pair.consumer.connect(pair.link.target());
            let file = std::fs::File::open("/dev/null").unwrap();
            let refused = client.try_send(b"at once", &[file.as_fd()]);
            assert!(
                !refuses_descriptors()
                    || refused.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
            );
            drop((client, pair.listener.accept()));
        }
        for (client, server) in [pair.connect(), handed_over(&pair)] {
            let file = std::fs::File::open("/dev/null").unwrap();
            for (from, to) in [(&client, &server), (&server, &client)] {
                let refused = from.try_send(b"with a descriptor", &[file.as_fd()]);
                if refuses_descriptors() {
                    assert_eq!(refused.unwrap_err().kind(), ErrorKind::PermissionDenied);
                    from.send(b"nothing is lost");
                    assert_eq!(to.recv_exact(15).bytes, b"nothing is lost");
                }
            }
        }
    });
}

#[test]
fn a_receiver_that_pauses_after_the_end_gets_everything() {
    run(|sandbox| {
        let pair = start(sandbox);
        for round in 0..4 {
            let (client, server) = handed_over(&pair);
            let (from, to) = if round % 2 == 0 { (server, client) } else { (client, server) };
            let data = bytes(round, 4 * MIB);
            thread::scope(|scope| {
                let data = &data;
                scope.spawn(move || {
                    send_in_chunks(&from, data);
                    drop(from);
                });
                // Much longer than anything in the mesh waits.
                let mut got = to.recv_exact(100_000).bytes;
                thread::sleep(Duration::from_millis(300));
                got.extend(to.recv_to_end());
                assert_same("all of it", &got, data);
            });
        }
        assert_eq!(pair.mesh.counter(&pair.link, "/kernel/cut"), 0);
    });
}

#[test]
fn what_nobody_receives_any_more_is_refused_to_its_sender() {
    run(|sandbox| {
        let pair = start(sandbox);
        let (client, server) = handed_over(&pair);
        rustix::net::shutdown(client.as_fd(), rustix::net::Shutdown::Read).unwrap();
        eventually("the provider is told", || {
            ensure(server.try_send(&[7; 4096], &[]).is_err(), "still taken")
        });
        // The other direction goes on.
        for round in 0..20 {
            client.send(&bytes(round, 1000));
            assert_same("one way", &server.recv_exact(1000).bytes, &bytes(round, 1000));
        }
    });
}

#[test]
fn what_was_moved_is_counted_though_the_receiver_closes_at_once() {
    run(|sandbox| {
        let pair = start(sandbox);
        let (client, server) = handed_over(&pair);
        let before = pair.mesh.counter(&pair.link, "/bytes/to_consumer");
        thread::scope(|scope| {
            scope.spawn(|| send_in_chunks(&server, &bytes(3, 3 * MIB)));
            assert_eq!(client.recv_exact(3 * MIB).bytes.len(), 3 * MIB);
        });
        drop(client);
        assert!(server.ends());
        let all = before + 3 * MIB as u64;
        eventually("all of it is counted", || {
            ensure(pair.mesh.counter(&pair.link, "/bytes/to_consumer") >= all, "not yet")
        });
    });
}

#[test]
fn out_of_band_bytes_keep_a_connection_in_user_space_or_end_it() {
    run(|sandbox| {
        let pair = start(sandbox);
        let (client, server) = pair.connect();
        let urgent = |socket: &Socket| rustix::net::send(socket.as_fd(), b"!", rustix::net::SendFlags::OOB);
        urgent(&client).unwrap();
        thread::sleep(Duration::from_millis(30));
        client.send(b"behind it");
        assert_eq!(server.recv_exact(9).bytes, b"behind it");
        let in_user_space = (client, server);
        // The kernel drops them where it forwards, and the connection ends for that (`kernel_promises`); before 6.3
        // nobody tells. What is sent behind it may still come, and the mesh must not spin.
        let (client, server) = handed_over(&pair);
        let _ = urgent(&client);
        let _ = client.try_send(b"behind it", &[]);
        if let Ok(message) = server.try_recv(9) {
            assert!(b"behind it".starts_with(&message.bytes[..]));
        }
        let used = ticks_in_a_second(pair.mesh.pid());
        assert!(used < 20, "{used} ticks of a hundred, with nothing to do");
        drop((in_user_space, client, server));
    });
}

#[test]
fn an_end_that_stops_reading_loses_nothing_of_what_it_sends() {
    run(|sandbox| {
        let pair = start(sandbox);
        // After a long silence the mesh looks less often.
        for silence in [0, 6] {
            let (client, server) = handed_over(&pair);
            thread::sleep(Duration::from_secs(silence));
            rustix::net::shutdown(client.as_fd(), rustix::net::Shutdown::Read).unwrap();
            for round in 0..20 {
                client.send(&bytes(round, 1000));
                assert_same("one way", &server.recv_exact(1000).bytes, &bytes(round, 1000));
            }
        }
    });
}

#[test]
fn bytes_in_the_kernel_keep_a_connection_and_silence_ends_it() {
    run(|sandbox| {
        let pair = Pair::start_with(sandbox, Kind::Stream, |link| {
            link.option("forward", "kernel").option("idle_timeout", 3)
        });
        let (client, server) = handed_over(&pair);
        let (before, mut sent) = (kernel_bytes(&pair), 0);
        let began = Instant::now();
        // One way is enough.
        while began.elapsed() < Duration::from_secs(8) {
            client.send(b"alive");
            assert_eq!(server.recv_exact(5).bytes, b"alive");
            sent += 5;
            thread::sleep(Duration::from_millis(100));
        }
        if in_kernel(&pair) {
            assert!(kernel_bytes(&pair) > before + sent / 2, "it was not the kernel");
        }
        assert!(client.ends() && server.ends());
        pair.mesh.wait_counter(&pair.link, "/connections/open", 0);
        assert_eq!(pair.mesh.counter(&pair.link, "/kernel/cut"), 0);
    });
}

#[test]
fn a_receiver_that_does_not_read_stops_its_sender() {
    run(|sandbox| {
        let pair = start(sandbox);
        let (client, server) = handed_over(&pair);
        rustix::io::ioctl_fionbio(client.as_fd(), true).unwrap();
        let mut sent = 0;
        let mut quiet = 0;
        while quiet < 20 {
            match client.try_send(&[7; 65_536], &[]) {
                Ok(bytes) => (sent, quiet) = (sent + bytes, 0),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    quiet += 1;
                    thread::sleep(Duration::from_millis(10));
                }
                Err(error) => panic!("{error}"),
            }
            assert!(sent < 64 * MIB, "nobody stops it");
        }
        rustix::io::ioctl_fionbio(client.as_fd(), false).unwrap();
        let got = server.recv_exact(sent).bytes;
        assert!(got.iter().all(|byte| *byte == 7));
        exchange(&client, &server);
    });
}

#[test]
fn threads_that_send_at_once_keep_their_order() {
    run(|sandbox| {
        let pair = start(sandbox);
        for threads in [2_u64, 8] {
            const WORDS: u64 = 40_000;
            let (client, server) = handed_over(&pair);
            let (by_kernel, by_mesh) = (kernel_bytes(&pair), user_bytes(&pair));
            thread::scope(|scope| {
                for thread in 0..threads {
                    let client = client.dup();
                    scope.spawn(move || {
                        for word in 0..WORDS {
                            client.send(&(thread << 48 | word).to_le_bytes());
                        }
                    });
                }
                let got = server.recv_exact((threads * WORDS * 8) as usize).bytes;
                let mut next = vec![0; threads as usize];
                for word in got.chunks_exact(8) {
                    let word = u64::from_le_bytes(word.try_into().unwrap());
                    let (thread, number) = ((word >> 48) as usize, word & ((1 << 48) - 1));
                    assert_eq!(number, next[thread], "thread {thread} of {threads}");
                    next[thread] += 1;
                }
            });
            if in_kernel(&pair) {
                let all = threads * WORDS * 8;
                eventually("all of it is counted", || {
                    let counted = kernel_bytes(&pair) - by_kernel + user_bytes(&pair) - by_mesh;
                    ensure(counted >= all, format_args!("{counted} bytes of {all}"))
                });
                let by_mesh = user_bytes(&pair) - by_mesh;
                assert!(by_mesh * 100 <= all, "{by_mesh} bytes of {all} went through user space");
            }
        }
        for counter in ["/kernel/errors", "/kernel/cut"] {
            assert_eq!(pair.mesh.counter(&pair.link, counter), 0, "{counter}");
        }
    });
}

/// Bytes that the mesh has forwarded on the link.
fn user_bytes(pair: &Pair) -> u64 {
    pair.mesh.counter(&pair.link, "/user/bytes")
}
