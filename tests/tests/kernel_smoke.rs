//! The kernel path on every kernel that may have one, with what it promises there: `cargo xtask kernels` runs
//! this on older ones. Kernels before 6.16 cannot refuse descriptors, so a provider has to accept that they are lost.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use xconnect_tests::mesh::Pair;
use xconnect_tests::payload::{assert_same, bytes, send_in_chunks};
use xconnect_tests::plain::{
    exchange, handed_over, kernel_bytes, kernel_version, refuses_descriptors, to_end_or_reset,
};
use xconnect_tests::{Kind, OrFail, Sandbox, Socket, ensure, eventually, run};

const KIB: usize = 1 << 10;
/// Rounds of what has to be seen more than once.
const ROUNDS: u64 = 10;

/// A link whose provider accepts that descriptors are lost, which must go through the kernel.
#[track_caller]
fn accepted(sandbox: &Sandbox) -> Pair {
    let pair = Pair::start_with(sandbox, Kind::Stream, |link| {
        link.option("forward", "kernel").option("lossy_fds", true)
    });
    let entry = pair.mesh.entry(&pair.link).or_fail("the link");
    assert_eq!(entry["path"], "kernel", "{entry}\n{}", pair.mesh.log());
    pair
}

/// Since 6.3 the kernel tells what it has delivered.
fn traced() -> bool {
    kernel_version() >= (6, 3)
}

/// A connection of any age, from one that is new to one that the kernel has.
fn connected(pair: &Pair, age: u64) -> (Socket, Socket) {
    let (client, server) = pair.connect();
    for _ in 0..age {
        exchange(&client, &server);
        thread::sleep(Duration::from_millis(8));
    }
    (client, server)
}

#[test]
fn the_kernel_forwards_every_byte() {
    run(|sandbox| {
        let pair = accepted(sandbox);
        let (client, server) = handed_over(&pair);
        let (there, back) = (bytes(1, 900 * KIB + 13), bytes(2, 700 * KIB + 7));
        let before = kernel_bytes(&pair);
        thread::scope(|scope| {
            scope.spawn(|| send_in_chunks(&client, &there));
            scope.spawn(|| send_in_chunks(&server, &back));
            let got = scope.spawn(|| server.recv_exact(there.len()).bytes);
            assert_same("to the consumer", &client.recv_exact(back.len()).bytes, &back);
            assert_same("to the provider", &got.join().unwrap(), &there);
        });
        let all = (there.len() + back.len()) as u64;
        eventually("all of it is counted", || ensure(kernel_bytes(&pair) >= before + all, "not yet"));
        assert_eq!(pair.mesh.counter(&pair.link, "/kernel/errors"), 0);
        assert_eq!(pair.mesh.counter(&pair.link, "/kernel/cut"), 0);
    });
}

#[test]
fn a_stream_that_begins_at_once_is_exact() {
    run(|sandbox| {
        let pair = accepted(sandbox);
        for round in 0..ROUNDS {
            let (client, server) = pair.connect();
            let (there, back) = (bytes(round, 200 * KIB + 1), bytes(!round, 150 * KIB + 1));
            thread::scope(|scope| {
                scope.spawn(|| send_in_chunks(&client, &there));
                scope.spawn(|| send_in_chunks(&server, &back));
                let got = scope.spawn(|| server.recv_exact(there.len()).bytes);
                assert_same("to the consumer", &client.recv_exact(back.len()).bytes, &back);
                assert_same("to the provider", &got.join().unwrap(), &there);
            });
        }
        assert_eq!(pair.mesh.counter(&pair.link, "/kernel/cut"), 0);
    });
}

#[test]
fn numbered_words_in_small_pieces_keep_their_order() {
    run(|sandbox| {
        let pair = accepted(sandbox);
        let (client, server) = pair.connect();
        const WORDS: u64 = 5_000;
        thread::scope(|scope| {
            scope.spawn(|| {
                for word in 0..WORDS {
                    client.send(&word.to_le_bytes());
                    if word % 500 == 499 {
                        thread::sleep(Duration::from_millis(15));
                    }
                }
            });
            for word in 0..WORDS {
                assert_eq!(server.recv_exact(8).bytes, word.to_le_bytes(), "word {word}");
            }
        });
    });
}

#[test]
fn what_is_sent_right_before_closing_arrives() {
    run(|sandbox| {
        let pair = accepted(sandbox);
        for round in 0..2 * ROUNDS {
            let (client, server) = connected(&pair, round / 2 % 4);
            let (from, to) = if round % 2 == 0 { (client, server) } else { (server, client) };
            let data = bytes(round, 150 * KIB);
            thread::scope(|scope| {
                scope.spawn(|| {
                    send_in_chunks(&from, &data);
                    drop(from);
                });
                assert_same("before the end", &to.recv_to_end(), &data);
            });
        }
    });
}

#[test]
fn half_close_is_exact_where_nothing_is_in_flight_the_other_way() {
    run(|sandbox| {
        let pair = accepted(sandbox);
        for round in 0..ROUNDS {
            let (client, server) = connected(&pair, round % 4);
            settled();
            client.send(b"the request");
            client.shutdown_write();
            assert_eq!(server.recv_to_end(), b"the request");
            let answer = bytes(round, 200 * KIB);
            thread::scope(|scope| {
                scope.spawn(|| {
                    send_in_chunks(&server, &answer);
                    server.shutdown_write();
                });
                assert_same("the answer", &client.recv_to_end(), &answer);
            });
            let (client, server) = connected(&pair, round % 4);
            settled();
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

/// Where the kernel does not tell what it has delivered, the mesh finds out once a connection is quiet.
fn settled() {
    if !traced() {
        thread::sleep(Duration::from_secs(3));
    }
}

#[test]
fn half_close_against_the_stream_is_exact_or_cut_and_counted() {
    run(|sandbox| {
        let pair = accepted(sandbox);
        for round in 0..ROUNDS {
            let before = pair.mesh.counter(&pair.link, "/kernel/cut");
            let (client, server) = connected(&pair, 3);
            let data = bytes(round, 600 * KIB);
            let got = thread::scope(|scope| {
                // It fails once both ends are cut.
                let (data, server, reader) = (&data[..], &server, client.dup());
                scope.spawn(move || {
                    let mut rest = data;
                    while !rest.is_empty() {
                        match server.try_send(&rest[..rest.len().min(20_000)], &[]) {
                            Ok(sent) => rest = &rest[sent..],
                            Err(_) => return,
                        }
                    }
                    server.shutdown_write();
                });
                let reading = scope.spawn(move || to_end_or_reset(&reader));
                thread::sleep(Duration::from_millis(round));
                client.shutdown_write();
                reading.join().unwrap()
            });
            assert_same("what came", &got, &data[..got.len()]);
            if got.len() < data.len() {
                eventually("the cut is counted", || {
                    let cut = pair.mesh.counter(&pair.link, "/kernel/cut");
                    ensure(cut == before + 1, format_args!("{cut}, not {before} + 1"))
                });
            }
        }
    });
}

#[test]
fn an_end_that_is_gone_is_seen_at_the_other() {
    run(|sandbox| {
        let pair = accepted(sandbox);
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
        let mut pair = accepted(sandbox);
        let (client, server) = handed_over(&pair);
        pair.mesh.kill();
        assert!(client.ends() && server.ends());
    });
}

#[test]
fn descriptors_never_arrive_in_secret() {
    run(|sandbox| {
        let pair = accepted(sandbox);
        let (client, server) = handed_over(&pair);
        let file = std::fs::File::open("/dev/null").unwrap();
        let sent = client.try_send(b"with a descriptor", &[file.as_fd()]);
        if refuses_descriptors() {
            assert_eq!(sent.unwrap_err().kind(), ErrorKind::PermissionDenied);
        } else {
            // The kernel drops them, as the provider has accepted; the bytes come.
            sent.unwrap();
            let got = server.recv_exact(17);
            assert_eq!((got.bytes.as_slice(), got.fds.len()), (&b"with a descriptor"[..], 0));
        }
        exchange(&client, &server);
        // As the first bytes of a connection, which go through user space.
        let (client, server) = pair.connect();
        let sent = client.try_send(b"with a descriptor", &[file.as_fd()]);
        if refuses_descriptors() {
            assert_eq!(sent.unwrap_err().kind(), ErrorKind::PermissionDenied);
            exchange(&client, &server);
        } else {
            sent.unwrap();
            assert!(server.ends() && client.ends());
        }
    });
}

#[test]
fn without_consent_a_kernel_that_cannot_refuse_descriptors_is_not_used() {
    run(|sandbox| {
        let pair = Pair::start_with(sandbox, Kind::Stream, |link| link.option("forward", "kernel"));
        let entry = pair.mesh.entry(&pair.link).unwrap();
        if refuses_descriptors() {
            assert_eq!(entry["path"], "kernel", "{entry}");
            return;
        }
        assert_eq!(entry["path"], "user", "{entry}");
        let reason = entry["path_reason"].as_str().unwrap_or_default();
        assert!(reason.contains("6.16") && reason.contains("lossy_fds"), "{reason}");
        let (client, server) = pair.connect();
        for _ in 0..5 {
            exchange(&client, &server);
        }
        assert_eq!(kernel_bytes(&pair), 0);
    });
}

#[test]
fn the_mesh_knows_what_this_kernel_tells() {
    run(|sandbox| {
        let pair = accepted(sandbox);
        let log = pair.mesh.log();
        assert!(log.contains(&format!("traced={}", traced())), "{log}");
        assert!(log.contains(&format!("refuses_rights={}", refuses_descriptors())), "{log}");
    });
}
