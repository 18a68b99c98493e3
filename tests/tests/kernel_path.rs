//! Links whose provider promises a plain protocol: the kernel forwards, exactly as the mesh would.
//!
//! Where this kernel cannot, the tests say so and hold for the path through user space too.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use xconnect_tests::mesh::Pair;
use xconnect_tests::payload::{assert_same, bytes, send_in_chunks};
use xconnect_tests::{Kind, OrFail, Sandbox, Socket, ensure, eventually, run};

const MIB: usize = 1 << 20;

/// A link with the promise.
fn plain(sandbox: &Sandbox) -> Pair {
    Pair::start_with(sandbox, Kind::Stream, |link| link.option("forward", "kernel"))
}

/// Whether the link goes through the kernel here.
fn in_kernel(pair: &Pair) -> bool {
    let entry = pair.mesh.entry(&pair.link).or_fail("the link");
    let (kernel, why) = (entry["path"] == "kernel", &entry["path_reason"]);
    // Where descriptors cannot be refused the link stays in user space: `kernel_smoke` has those kernels.
    assert!(kernel || !refusing_kernel(), "no kernel path: {why}");
    if !kernel {
        println!("SKIP: the kernel path is not there, tried in user space: {why}");
    }
    kernel
}

/// Bytes that the kernel has forwarded on the link.
fn kernel_bytes(pair: &Pair) -> u64 {
    pair.mesh.counter(&pair.link, "/kernel/bytes")
}

/// A connection that the kernel forwards, both ways.
fn handed_over(pair: &Pair) -> (Socket, Socket) {
    let (client, server) = pair.connect();
    if in_kernel(pair) {
        let before = kernel_bytes(pair);
        eventually("the kernel forwards both ways", || {
            client.send(b"ping");
            assert_eq!(server.recv_exact(4).bytes, b"ping");
            server.send(b"pong!");
            assert_eq!(client.recv_exact(5).bytes, b"pong!");
            thread::sleep(Duration::from_millis(5));
            ensure(kernel_bytes(pair) >= before + 18, "not yet")
        });
    }
    (client, server)
}

#[test]
fn the_kernel_forwards_what_lasts() {
    run(|sandbox| {
        let pair = plain(sandbox);
        let (client, server) = handed_over(&pair);
        let (there, back) = (bytes(1, 6 * MIB + 13), bytes(2, 5 * MIB + 7));
        let before = kernel_bytes(&pair);
        thread::scope(|scope| {
            scope.spawn(|| send_in_chunks(&client, &there));
            scope.spawn(|| send_in_chunks(&server, &back));
            let got = scope.spawn(|| server.recv_exact(there.len()).bytes);
            assert_same("to the consumer", &client.recv_exact(back.len()).bytes, &back);
            assert_same("to the provider", &got.join().unwrap(), &there);
        });
        if in_kernel(&pair) {
            let by_mesh = pair.mesh.counter(&pair.link, "/user/bytes");
            let all = (there.len() + back.len()) as u64;
            eventually("all of it is counted", || ensure(kernel_bytes(&pair) >= before + all, "not yet"));
            let counters = pair.mesh.entry(&pair.link).unwrap()["counters"].clone();
            assert_eq!(
                (&counters["kernel"]["errors"], &counters["user"]["bytes"]),
                (&0.into(), &by_mesh.into())
            );
        }
    });
}

#[test]
fn descriptors_are_refused_to_their_sender() {
    run(|sandbox| {
        let pair = plain(sandbox);
        // Before anybody has accepted, too.
        for _ in 0..50 {
            let client = pair.consumer.connect(pair.link.target());
            let file = std::fs::File::open("/dev/null").unwrap();
            let refused = client.try_send(b"at once", &[file.as_fd()]);
            assert!(
                !refusing_kernel() || refused.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
            );
            drop((client, pair.listener.accept()));
        }
        for (client, server) in [pair.connect(), handed_over(&pair)] {
            let file = std::fs::File::open("/dev/null").unwrap();
            for (from, to) in [(&client, &server), (&server, &client)] {
                let refused = from.try_send(b"with a descriptor", &[file.as_fd()]);
                if refusing_kernel() {
                    assert_eq!(refused.unwrap_err().kind(), ErrorKind::PermissionDenied);
                    from.send(b"nothing is lost");
                    assert_eq!(to.recv_exact(15).bytes, b"nothing is lost");
                }
            }
        }
    });
}

/// Kernels from 6.16 on refuse descriptors for a socket that does not want them (`SO_PASSRIGHTS`).
fn refusing_kernel() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").or_fail("the kernel's version");
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    let version = (numbers.next(), numbers.next());
    let refuses = version >= (Some(6), Some(16));
    if !refuses {
        println!("SKIP: this kernel cannot refuse descriptors");
    }
    refuses
}

#[test]
fn what_is_sent_before_closing_arrives_and_then_the_end() {
    run(|sandbox| {
        let pair = plain(sandbox);
        for round in 0..6 {
            let (client, server) = handed_over(&pair);
            let (from, to) = if round % 2 == 0 { (client, server) } else { (server, client) };
            let data = bytes(round, 300_000);
            let sending = data.clone();
            let sender = thread::spawn(move || {
                send_in_chunks(&from, &sending);
                drop(from);
            });
            assert_same("before the end", &to.recv_to_end(), &data);
            sender.join().unwrap();
        }
    });
}

#[test]
fn half_close_is_exact_where_nothing_is_in_flight_the_other_way() {
    run(|sandbox| {
        let pair = plain(sandbox);
        for _ in 0..3 {
            let (client, server) = handed_over(&pair);
            client.send(b"the request");
            client.shutdown_write();
            assert_eq!(server.recv_to_end(), b"the request");
            let answer = bytes(7, 2 * MIB);
            thread::scope(|scope| {
                scope.spawn(|| {
                    send_in_chunks(&server, &answer);
                    server.shutdown_write();
                });
                assert_same("the answer", &client.recv_to_end(), &answer);
            });
            // And the other way round.
            let (client, server) = handed_over(&pair);
            server.shutdown_write();
            assert!(client.ends());
            client.send(b"still there");
            assert_eq!(server.recv_exact(11).bytes, b"still there");
            drop(client);
            assert!(server.ends());
        }
        assert_eq!(pair.mesh.counter(&pair.link, "/kernel/cut"), 0);
    });
}

#[test]
fn half_close_against_the_stream_is_exact_or_cut_and_counted() {
    run(|sandbox| {
        let pair = plain(sandbox);
        for round in 0..8 {
            let before = pair.mesh.counter(&pair.link, "/kernel/cut");
            let (client, server) = handed_over(&pair);
            let data = bytes(round, 4 * MIB);
            let got = thread::scope(|scope| {
                let data = &data;
                let (server, reader) = (&server, client.dup());
                scope.spawn(move || {
                    // It fails once both ends are cut.
                    let mut rest = &data[..];
                    while !rest.is_empty() {
                        match server.try_send(&rest[..rest.len().min(60_000)], &[]) {
                            Ok(sent) => rest = &rest[sent..],
                            Err(_) => return,
                        }
                    }
                    server.shutdown_write();
                });
                let reading = scope.spawn(move || {
                    let mut got = Vec::new();
                    loop {
                        match reader.try_recv(MIB) {
                            Ok(message) if message.bytes.is_empty() => return got,
                            Ok(message) => got.extend(message.bytes),
                            Err(error) if error.kind() == ErrorKind::ConnectionReset => return got,
                            Err(error) => panic!("{error}"),
                        }
                    }
                });
                thread::sleep(Duration::from_micros(500 * round));
                client.shutdown_write();
                reading.join().unwrap()
            });
            if got.len() < data.len() {
                assert_same("what came before the cut", &got, &data[..got.len()]);
                eventually("the cut is counted", || {
                    let cut = pair.mesh.counter(&pair.link, "/kernel/cut");
                    ensure(cut == before + 1, "not counted")
                });
            } else {
                assert_same("all", &got, &data);
            }
        }
    });
}

#[test]
fn a_receiver_that_pauses_after_the_end_gets_everything() {
    run(|sandbox| {
        let pair = plain(sandbox);
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
        let pair = plain(sandbox);
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
        let pair = plain(sandbox);
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
        let pair = plain(sandbox);
        let (client, server) = pair.connect();
        let urgent = |socket: &Socket| rustix::net::send(socket.as_fd(), b"!", rustix::net::SendFlags::OOB);
        urgent(&client).unwrap();
        thread::sleep(Duration::from_millis(30));
        client.send(b"behind it");
        assert_eq!(server.recv_exact(9).bytes, b"behind it");
        // The kernel drops them where it forwards; nothing else may be lost by that, nor may the mesh spin.
        let (client, server) = handed_over(&pair);
        let _ = urgent(&client);
        client.send(b"behind it");
        assert_eq!(server.recv_exact(9).bytes, b"behind it");
    });
}

#[test]
fn an_end_that_stops_reading_loses_nothing_of_what_it_sends() {
    run(|sandbox| {
        let pair = plain(sandbox);
        let (client, server) = handed_over(&pair);
        rustix::net::shutdown(client.as_fd(), rustix::net::Shutdown::Read).unwrap();
        for round in 0..20 {
            client.send(&bytes(round, 1000));
            assert_same("one way", &server.recv_exact(1000).bytes, &bytes(round, 1000));
        }
    });
}

#[test]
fn a_killed_end_is_seen_at_the_other() {
    run(|sandbox| {
        let pair = plain(sandbox);
        let (client, server) = handed_over(&pair);
        drop(client);
        assert!(server.ends());
        let (client, server) = handed_over(&pair);
        drop(server);
        assert!(client.ends());
        eventually("writing to nobody fails", || {
            ensure(client.try_send(b"anyone?", &[]).is_err(), "still taken")
        });
    });
}

#[test]
fn a_mesh_that_dies_ends_its_connections() {
    run(|sandbox| {
        let mut pair = plain(sandbox);
        let (client, server) = handed_over(&pair);
        pair.mesh.kill();
        assert!(client.ends() && server.ends());
    });
}

#[test]
fn a_receiver_that_does_not_read_stops_its_sender() {
    run(|sandbox| {
        let pair = plain(sandbox);
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
        client.echo_by(&server);
    });
}

/// Both ways once more.
trait EchoBy {
    fn echo_by(&self, server: &Socket);
}

impl EchoBy for Socket {
    fn echo_by(&self, server: &Socket) {
        self.send(b"there");
        assert_eq!(server.recv_exact(5).bytes, b"there");
        server.send(b"back");
        assert_eq!(self.recv_exact(4).bytes, b"back");
    }
}

#[test]
fn threads_that_send_at_once_keep_their_order() {
    run(|sandbox| {
        let pair = plain(sandbox);
        for threads in [2_u64, 8] {
            let (client, server) = handed_over(&pair);
            const WORDS: u64 = 40_000;
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
            assert!(
                !in_kernel(&pair) || kernel_bytes(&pair) > threads * WORDS * 8 / 2,
                "it was not the kernel"
            );
        }
    });
}
