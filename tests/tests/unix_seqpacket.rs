//! `SOCK_SEQPACKET` links: messages keep their bounds, empty ones too.

use std::os::fd::AsFd;
use std::thread;

use rustix::net::sockopt;
use xconnect_tests::mesh::Pair;
use xconnect_tests::payload::{assert_same, borrow, bytes, files, inodes};
use xconnect_tests::socket::SCM_MAX_FD;
use xconnect_tests::{Kind, Sandbox, Socket, run};

fn start(sandbox: &Sandbox) -> Pair {
    Pair::start_with(sandbox, Kind::Seqpacket, |link| link)
}

/// Messages of all sizes, sent and received at the same time.
fn bounds_are_kept(from: &Socket, to: &Socket) {
    let sizes: Vec<usize> = (0..400).map(|number| number * 7 % 1000 * (1 + number % 90)).collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            for (number, size) in sizes.iter().enumerate() {
                from.send(&bytes(number as u64, *size));
            }
        });
        for (number, size) in sizes.iter().enumerate() {
            let message = to.recv(1 << 20);
            assert!(!message.truncated);
            assert!(message.bytes == bytes(number as u64, *size), "message {number} of {size} bytes");
        }
    });
}

#[test]
fn messages_keep_their_bounds_both_ways() {
    run(|sandbox| {
        let pair = start(sandbox);
        let (client, server) = pair.connect_seqpacket();
        bounds_are_kept(&client, &server);
        bounds_are_kept(&server, &client);
        pair.mesh.wait_counter(&pair.link, "/messages/to_provider", 400);
        pair.mesh.wait_counter(&pair.link, "/messages/to_consumer", 400);
    });
}

#[test]
fn an_empty_message_is_no_end() {
    run(|sandbox| {
        let pair = start(sandbox);
        let (client, server) = pair.connect_seqpacket();
        for (from, to) in [(&client, &server), (&server, &client)] {
            // A message has credentials, the end has none.
            sockopt::set_socket_passcred(to, true).unwrap();
            for text in ["a", "", "", "b", ""] {
                from.try_send(text.as_bytes(), &[]).unwrap();
                let message = to.recv(16);
                assert_eq!(message.bytes, text.as_bytes());
                assert!(message.credentials.is_some(), "{text:?} is a message");
            }
        }
        drop(client);
        let end = server.recv(16);
        assert!(end.bytes.is_empty() && end.credentials.is_none(), "{end:?}");
    });
}

#[test]
fn large_messages_arrive_whole() {
    run(|sandbox| {
        let pair = start(sandbox);
        let (client, server) = pair.connect_seqpacket();
        for (from, to) in [(&client, &server), (&server, &client)] {
            sockopt::set_socket_send_buffer_size_force(from, 8 << 20).unwrap();
            for size in [200_000, 262_144, 262_145, 1 << 20, 3_000_001] {
                let sent = bytes(size as u64, size);
                assert_eq!(from.try_send(&sent, &[]).unwrap(), size);
                let message = to.recv(4 << 20);
                assert!(!message.truncated, "{size} bytes");
                assert_same("the message", &message.bytes, &sent);
            }
        }
    });
}

#[test]
fn descriptors_arrive_with_their_message() {
    run(|sandbox| {
        let pair = start(sandbox);
        let (client, server) = pair.connect_seqpacket();
        for (from, to) in [(&client, &server), (&server, &client)] {
            for count in [1, 10, SCM_MAX_FD] {
                let files = files(sandbox, count);
                from.try_send(b"before", &[]).unwrap();
                from.try_send(b"with", &borrow(&files)).unwrap();
                from.try_send(b"after", &[]).unwrap();
                let messages: Vec<_> = (0..3).map(|_| to.recv(4096)).collect();
                assert_eq!(messages[0].bytes, b"before");
                assert_eq!(messages[1].bytes, b"with");
                assert_eq!(messages[2].bytes, b"after");
                assert_eq!(inodes(&messages[1].fds), inodes(&files));
                assert!(messages[0].fds.is_empty() && messages[2].fds.is_empty());
            }
        }
    });
}

#[test]
fn an_empty_message_can_carry_a_descriptor() {
    run(|sandbox| {
        let pair = start(sandbox);
        let (client, server) = pair.connect_seqpacket();
        let files = files(sandbox, 1);
        client.try_send(b"", &[files[0].as_fd()]).unwrap();
        client.try_send(b"next", &[]).unwrap();
        let message = server.recv(16);
        assert!(message.bytes.is_empty());
        assert_eq!(inodes(&message.fds), inodes(&files));
        assert_eq!(server.recv(16).bytes, b"next");
    });
}

#[test]
fn half_close_is_exact() {
    run(|sandbox| {
        let pair = start(sandbox);
        for swap in [false, true] {
            let (client, server) = pair.connect_seqpacket();
            let (first, second) = if swap { (&server, &client) } else { (&client, &server) };
            first.try_send(b"request", &[]).unwrap();
            first.shutdown_write();
            assert_eq!(second.recv(16).bytes, b"request");
            assert!(second.recv(16).bytes.is_empty());
            for number in 0..200 {
                second.try_send(&bytes(number, 1000), &[]).unwrap();
                assert_eq!(first.recv(4096).bytes, bytes(number, 1000));
            }
            second.try_send(b"last", &[]).unwrap();
            second.shutdown_write();
            assert_eq!(first.recv(16).bytes, b"last");
            assert!(first.recv(16).bytes.is_empty());
        }
        pair.mesh.wait_counter(&pair.link, "/connections/open", 0);
    });
}

#[test]
fn what_was_sent_before_closing_arrives() {
    run(|sandbox| {
        let pair = start(sandbox);
        for _ in 0..50 {
            let (client, server) = pair.connect_seqpacket();
            for number in 0..20 {
                client.try_send(&bytes(number, 500), &[]).unwrap();
            }
            drop(client);
            for number in 0..20 {
                assert_eq!(server.recv(4096).bytes, bytes(number, 500));
            }
            assert!(server.recv(16).bytes.is_empty());
        }
    });
}

#[test]
fn a_receiver_that_does_not_read_blocks_the_sender() {
    run(|sandbox| {
        let pair = start(sandbox);
        let (client, server) = pair.connect_seqpacket();
        client.set_timeout(std::time::Duration::from_millis(300));
        let mut sent: u64 = 0;
        while sent < 20_000 && client.try_send(&bytes(sent, 5000), &[]).is_ok() {
            sent += 1;
        }
        assert!(sent < 20_000, "the sender is never blocked");
        for number in 0..sent {
            assert!(server.recv(65536).bytes == bytes(number, 5000), "message {number} of {sent}");
        }
    });
}
