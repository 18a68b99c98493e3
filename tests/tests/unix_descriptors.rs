//! Descriptors over a link: all of them arrive, with the very byte that they were sent with, and none
//! stays in the mesh.

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd;

use xconnect_tests::mesh::Pair;
use xconnect_tests::payload::{borrow, bytes, files, inodes};
use xconnect_tests::process::{fd_count, wait_fds_at_most};
use xconnect_tests::socket::SCM_MAX_FD;
use xconnect_tests::{OrFail, Sandbox, Socket, run};

/// Sends descriptors between plain bytes and reads them byte by byte.
fn pass(sandbox: &Sandbox, from: &Socket, to: &Socket, count: usize) {
    let files = files(sandbox, count);
    let (before, after) = (bytes(1, 5000), bytes(2, 5000));
    from.send(&before);
    from.send_with(b"F", &borrow(&files));
    from.send(&after);
    for (place, byte) in before.iter().enumerate() {
        let message = to.recv(1);
        assert_eq!(message.bytes, [*byte], "byte {place}");
        assert!(message.fds.is_empty(), "descriptors with byte {place} of those before");
    }
    let message = to.recv(1);
    assert_eq!(message.bytes, b"F");
    assert!(!message.truncated);
    assert_eq!(inodes(&message.fds), inodes(&files));
    let rest = to.recv_exact(after.len());
    assert_eq!(rest.bytes, after);
    assert!(rest.fds.is_empty(), "descriptors with the bytes after");
}

fn pass_both_ways(count: usize) {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let (client, server) = pair.connect();
        pass(sandbox, &client, &server, count);
        pass(sandbox, &server, &client, count);
        pair.mesh.wait_counter(&pair.link, "/fds", 2 * count as u64);
    });
}

#[test]
fn one_descriptor_arrives_with_its_byte() {
    pass_both_ways(1);
}

#[test]
fn ten_descriptors_arrive_with_their_byte() {
    pass_both_ways(10);
}

#[test]
fn as_many_descriptors_as_a_message_can_carry_arrive_with_their_byte() {
    pass_both_ways(SCM_MAX_FD);
}

#[test]
fn messages_with_descriptors_keep_their_bounds() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let (client, server) = pair.connect();
        let files = files(sandbox, 20);
        for (number, file) in files.iter().enumerate() {
            client.send_with(&bytes(number as u64, 100 + number), &[file.as_fd()]);
        }
        for (number, file) in files.iter().enumerate() {
            let message = server.recv(65536);
            assert_eq!(message.bytes, bytes(number as u64, 100 + number), "message {number}");
            assert_eq!(inodes(&message.fds), inodes(std::slice::from_ref(file)), "message {number}");
        }
    });
}

#[test]
fn descriptors_find_their_byte_in_a_flood() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let (client, server) = pair.connect();
        let files = files(sandbox, 40);
        let flood = bytes(3, 70_001);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for file in &files {
                    client.send(&flood);
                    client.send_with(b"F", &[file.as_fd()]);
                }
            });
            for file in &files {
                let plain = server.recv_exact(flood.len());
                assert!(plain.bytes == flood && plain.fds.is_empty());
                let message = server.recv(1);
                assert_eq!(message.bytes, b"F");
                assert_eq!(inodes(&message.fds), inodes(std::slice::from_ref(file)));
            }
        });
    });
}

/// What one write of the traffic below has: bytes, and descriptors of these files.
struct Write {
    bytes: Vec<u8>,
    files: std::ops::Range<usize>,
}

/// Writes of all sizes, some with descriptors.
fn traffic(seed: u64, files: usize) -> Vec<Write> {
    let dice = bytes(seed, 4 * 300);
    let write = |dice: &[u8]| {
        let size = 1 + usize::from(dice[0]) * [1, 7, 60, 400][usize::from(dice[1] % 4)];
        let count = if dice[2].is_multiple_of(3) { usize::from(dice[3]) % 6 } else { 0 };
        let first = usize::from(dice[3]) % (files - 6);
        Write { bytes: bytes(seed ^ u64::from(dice[0]), size), files: first..first + count }
    };
    dice.chunks(4).map(write).collect()
}

/// Reads it with buffers of all sizes: each read that brings descriptors must span the first byte of the
/// write that they were sent with, as it does without a mesh in between.
fn check(to: &Socket, traffic: &[Write], files: &[std::fs::File]) {
    let whole: Vec<u8> = traffic.iter().flat_map(|write| write.bytes.clone()).collect();
    let mut place = 0;
    let mut starts = traffic.iter().scan(0, |at, write| {
        let start = *at;
        *at += write.bytes.len();
        Some((start, write.files.clone()))
    });
    for size in [1, 5, 100, 4096, 10, 65536, 3, 300_000].into_iter().cycle() {
        if place == whole.len() {
            break;
        }
        let message = to.recv(size);
        let end = place + message.bytes.len();
        assert!(end > place && !message.truncated, "the end at {place}");
        assert!(message.bytes == whole[place..end], "other bytes between {place} and {end}");
        if !message.fds.is_empty() {
            let (start, range) = starts.find(|(_, range)| !range.is_empty()).or_fail("too many descriptors");
            assert!((place..end).contains(&start), "those of byte {start} came with {place}..{end}");
            assert_eq!(inodes(&message.fds), inodes(&files[range]));
        }
        place = end;
    }
    assert!(starts.all(|(_, range)| range.is_empty()), "descriptors did not come");
}

#[test]
fn traffic_of_all_kinds_keeps_descriptors_at_their_bytes() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let files = files(sandbox, 40);
        for seed in 1..8 {
            let (client, server) = pair.connect();
            let (there, back) = (traffic(seed, files.len()), traffic(seed + 100, files.len()));
            let send = |socket: &Socket, traffic: &[Write]| {
                for write in traffic {
                    socket.send_with(&write.bytes, &borrow(&files[write.files.clone()]));
                }
            };
            std::thread::scope(|scope| {
                scope.spawn(|| send(&client, &there));
                scope.spawn(|| send(&server, &back));
                scope.spawn(|| check(&server, &there, &files));
                check(&client, &back, &files);
            });
        }
    });
}

#[test]
fn a_descriptor_that_arrived_works() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let (client, server) = pair.connect();
        let (mut reader, writer) = std::io::pipe().unwrap();
        client.send_with(b"x", &[writer.as_fd()]);
        drop(writer);
        let message = server.recv(1);
        let mut writer = std::fs::File::from(message.fds.into_iter().next().unwrap());
        writer.write_all(b"through the pipe").unwrap();
        drop(writer);
        // The end comes only where no copy is left in the mesh.
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through the pipe");
    });
}

#[test]
fn descriptors_do_not_stay_in_the_mesh() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        drop(pair.connect());
        pair.mesh.wait_counter(&pair.link, "/connections/open", 0);
        let before = fd_count(pair.mesh.pid());
        let files = files(sandbox, 10);
        let (client, server) = pair.connect();
        for _ in 0..300 {
            client.send_with(b"there", &borrow(&files));
            let there = server.recv(64);
            server.send_with(b"back", &borrow(&there.fds));
            assert_eq!(client.recv(64).fds.len(), files.len());
        }
        // Two are those of the connection.
        wait_fds_at_most(pair.mesh.pid(), before + 2);
        drop((client, server));
        wait_fds_at_most(pair.mesh.pid(), before);
    });
}

#[test]
fn descriptors_that_nobody_takes_do_not_stay_in_the_mesh() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        drop(pair.connect());
        pair.mesh.wait_counter(&pair.link, "/connections/open", 0);
        let before = fd_count(pair.mesh.pid());
        let files = files(sandbox, 100);
        for _ in 0..20 {
            let (client, server) = pair.connect();
            for _ in 0..5 {
                client.send_with(b"unread", &borrow(&files));
                server.send_with(b"unread", &borrow(&files));
            }
            drop((client, server));
            // Nobody accepts this one before it is gone.
            let client = pair.consumer.connect(pair.link.target());
            client.send_with(b"unread", &borrow(&files));
            drop(client);
            drop(pair.listener.accept());
        }
        pair.mesh.wait_counter(&pair.link, "/connections/open", 0);
        wait_fds_at_most(pair.mesh.pid(), before);
    });
}

#[test]
fn a_receiver_that_does_not_read_holds_up_descriptors_of_its_own_link_only() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let (client, _server) = pair.connect();
        let files = files(sandbox, 50);
        client.set_timeout(std::time::Duration::from_millis(300));
        let mut sent = 0;
        while sent < 4000 && client.try_send(&bytes(4, 4096), &borrow(&files)).is_ok() {
            sent += 1;
        }
        assert!(sent < 4000, "the sender is never blocked");
        let (client, server) = pair.connect();
        client.send_with(b"x", &borrow(&files));
        assert_eq!(inodes(&server.recv(1).fds), inodes(&files));
    });
}
