//! Byte streams over a link: every byte arrives, once, in order, and so does the end.

use std::thread;

use xconnect_tests::mesh::Pair;
use xconnect_tests::payload::{assert_same, bytes, send_in_chunks};
use xconnect_tests::{Kind, Socket, run};

const MIB: usize = 1 << 20;

#[test]
fn bytes_arrive_whole_in_both_directions_at_once() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let (client, server) = pair.connect();
        let (there, back) = (bytes(1, 6 * MIB + 13), bytes(2, 5 * MIB + 7));
        thread::scope(|scope| {
            scope.spawn(|| send_in_chunks(&client, &there));
            scope.spawn(|| send_in_chunks(&server, &back));
            let got = scope.spawn(|| server.recv_exact(there.len()).bytes);
            assert_same("to the consumer", &client.recv_exact(back.len()).bytes, &back);
            assert_same("to the provider", &got.join().unwrap(), &there);
        });
        pair.mesh.wait_counter(&pair.link, "/bytes/to_provider", there.len() as u64);
        pair.mesh.wait_counter(&pair.link, "/bytes/to_consumer", back.len() as u64);
    });
}

#[test]
fn messages_of_odd_sizes_are_echoed() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let (client, server) = pair.connect();
        let data = bytes(3, 20_000);
        thread::scope(|scope| {
            scope.spawn(|| {
                for length in (1..20_000).step_by(37) {
                    let message = server.recv_exact(length).bytes;
                    server.send(&message);
                }
            });
            for length in (1..20_000).step_by(37) {
                client.echo(&data[..length]);
            }
        });
    });
}

#[test]
fn connections_at_the_same_time_do_not_mix() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let clients: Vec<_> = (0..48).map(|_| pair.consumer.connect(pair.link.target())).collect();
        let _server = pair.listener.echo();
        thread::scope(|scope| {
            for (number, client) in clients.iter().enumerate() {
                scope.spawn(move || {
                    let data = bytes(number as u64, 100_000);
                    let writer = client.dup();
                    thread::scope(|scope| {
                        scope.spawn(|| send_in_chunks(&writer, &data));
                        assert_same("the echo", &client.recv_exact(data.len()).bytes, &data);
                    });
                });
            }
        });
    });
}

#[test]
fn what_is_sent_before_the_provider_accepts_is_not_lost() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let client = pair.consumer.connect(pair.link.target());
        client.send(b"early");
        client.shutdown_write();
        pair.mesh.wait_counter(&pair.link, "/bytes/to_provider", 5);
        assert_eq!(pair.listener.accept().recv_to_end(), b"early");
    });
}

#[test]
fn what_a_consumer_sent_before_it_closed_arrives() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        for round in 0..50 {
            let sent = bytes(round, 100_000);
            let client = pair.consumer.connect(pair.link.target());
            client.send(&sent);
            drop(client);
            assert_same("before the end", &pair.listener.accept().recv_to_end(), &sent);
        }
    });
}

#[test]
fn what_a_provider_sent_before_it_closed_arrives() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        for round in 0..50 {
            let sent = bytes(round, 100_000);
            let (client, server) = pair.connect();
            server.send(&sent);
            drop(server);
            assert_same("before the end", &client.recv_to_end(), &sent);
        }
    });
}

/// `first` ends its sending; then all of the other's reply must come, and after it the end.
fn replies_after_the_end(first: &Socket, second: &Socket) {
    let (request, reply) = (bytes(4, 300_000), bytes(5, 2 * MIB));
    thread::scope(|scope| {
        scope.spawn(|| {
            first.send(&request);
            first.shutdown_write();
        });
        assert_same("the request", &second.recv_to_end(), &request);
        scope.spawn(|| {
            send_in_chunks(second, &reply);
            second.shutdown_write();
        });
        assert_same("the reply", &first.recv_to_end(), &reply);
    });
}

#[test]
fn half_close_by_the_consumer_is_exact() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let (client, server) = pair.connect();
        replies_after_the_end(&client, &server);
        pair.mesh.wait_counter(&pair.link, "/connections/open", 0);
    });
}

#[test]
fn half_close_by_the_provider_is_exact() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let (client, server) = pair.connect();
        replies_after_the_end(&server, &client);
        pair.mesh.wait_counter(&pair.link, "/connections/open", 0);
    });
}

/// `busy` has filled the way to `ending` when that one ends its sending.
fn ends_against_a_full_stream(ending: &Socket, busy: &Socket) {
    let (flood, last) = (bytes(6, 4 * MIB), bytes(7, 1000));
    thread::scope(|scope| {
        let flooding = scope.spawn(|| {
            send_in_chunks(busy, &flood);
            busy.shutdown_write();
        });
        // Nothing of the flood is taken until the other side has its end.
        ending.send(&last);
        ending.shutdown_write();
        assert_same("what came before the end", &busy.recv_to_end(), &last);
        assert!(!flooding.is_finished(), "the flood is larger than all buffers");
        assert_same("the flood", &ending.recv_to_end(), &flood);
    });
}

#[test]
fn half_close_passes_data_in_flight_the_other_way() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let (client, server) = pair.connect();
        ends_against_a_full_stream(&client, &server);
        let (client, server) = pair.connect();
        ends_against_a_full_stream(&server, &client);
    });
}

#[test]
fn a_half_closed_connection_stays_open_for_as_long_as_the_other_side_likes() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let (client, server) = pair.connect();
        client.shutdown_write();
        assert!(server.recv_to_end().is_empty());
        for round in 0..100 {
            let message = bytes(round, 10);
            server.send(&message);
            assert_eq!(client.recv_exact(10).bytes, message);
        }
        assert_eq!(pair.mesh.counter(&pair.link, "/connections/open"), 1);
        drop(server);
        assert!(client.recv_to_end().is_empty());
    });
}

#[test]
fn a_provider_that_stops_reading_is_noticed_by_a_sender() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let (client, server) = pair.connect();
        rustix::net::shutdown(&server, rustix::net::Shutdown::Read).unwrap();
        let sent = bytes(8, 65536);
        let error = loop {
            if let Err(error) = client.try_send(&sent, &[]) {
                break error;
            }
        };
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
        // The other way is still open.
        server.send(b"reply");
        assert_eq!(client.recv_exact(5).bytes, b"reply");
    });
}

#[test]
fn a_stream_consumer_cannot_reach_a_seqpacket_provider() {
    run(|sandbox| {
        let pair = Pair::start_with(sandbox, Kind::Seqpacket, |link| link.option("socket_type", "stream"));
        let client = pair.consumer.connect(pair.link.target());
        assert!(client.ends());
        pair.mesh.wait_counter(&pair.link, "/connections/failed", 1);
        assert!(pair.mesh.log().contains("set socket_type in its manifest"));
    });
}

#[test]
fn an_urgent_byte_arrives_as_one_and_in_its_place() {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::net::{RecvFlags, SendFlags};
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let (client, server) = pair.connect();
        for (from, to) in [(&client, &server), (&server, &client)] {
            from.send(b"before");
            rustix::net::send(from, b"!", SendFlags::OOB).unwrap();
            let deadline = Timespec { tv_sec: 15, tv_nsec: 0 };
            assert_eq!(poll(&mut [PollFd::new(to, PollFlags::PRI)], Some(&deadline)), Ok(1));
            // A read stops at the mark.
            assert_eq!(to.recv(64).bytes, b"before");
            let mut urgent = [0; 4];
            let (_, length) = rustix::net::recv(to, &mut urgent[..], RecvFlags::OOB).unwrap();
            assert_eq!(&urgent[..length], b"!");
            from.send(b"after");
            assert_eq!(to.recv_exact(5).bytes, b"after");
        }
    });
}
