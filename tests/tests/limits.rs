//! What one link, one consumer or one provider may take: the rest of the mesh goes on, and nothing grows.

use std::thread;
use std::time::{Duration, Instant};

use xconnect_tests::mesh::Pair;
use xconnect_tests::payload::{assert_same, bytes};
use xconnect_tests::process::{fd_count, rss_kib, ticks_in_a_second, wait_fds_at_most};
use xconnect_tests::wait::ensure;
use xconnect_tests::{Container, Kind, Link, Mesh, Socket, eventually, run, run_alone};

/// Sends until nothing more goes; gives how much went.
fn fill(socket: &Socket, most: usize) -> usize {
    socket.set_timeout(Duration::from_millis(500));
    let chunk = bytes(1, 65536);
    let mut sent = 0;
    while sent < most {
        match socket.try_send(&chunk, &[]) {
            Ok(count) => sent += count,
            Err(_) => return sent,
        }
    }
    sent
}

#[test]
fn a_provider_that_never_reads_blocks_the_sender_and_costs_little_memory() {
    run(|sandbox| {
        const MOST: usize = 64 << 20;
        let pair = Pair::start(sandbox);
        let before = rss_kib(pair.mesh.pid());
        let (client, server) = pair.connect();
        let sent = fill(&client, MOST);
        assert!(sent < MOST, "the sender was never blocked");
        let grown = rss_kib(pair.mesh.pid()).saturating_sub(before);
        assert!(grown < 16 * 1024, "one connection took {grown} KiB");
        // Nothing of it is lost.
        client.shutdown_write();
        let got = server.recv_to_end();
        let chunk = bytes(1, 65536);
        assert_eq!(got.len(), sent);
        for part in got.chunks(chunk.len()) {
            assert_same("what was sent", part, &chunk[..part.len()]);
        }
    });
}

#[test]
fn many_providers_that_never_read_cost_bounded_memory() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let before = rss_kib(pair.mesh.pid());
        let pairs: Vec<_> = (0..40).map(|_| pair.connect()).collect();
        thread::scope(|scope| {
            for (client, _) in &pairs {
                scope.spawn(|| assert!(fill(client, 64 << 20) < 64 << 20));
            }
        });
        let grown = rss_kib(pair.mesh.pid()).saturating_sub(before);
        assert!(grown < 64 * 1024, "40 connections took {grown} KiB");
        // Others are served meanwhile.
        let (client, server) = pair.connect();
        client.send(b"x");
        assert_eq!(server.recv(1).bytes, b"x");
    });
}

#[test]
fn a_consumer_that_never_reads_blocks_the_provider() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let before = rss_kib(pair.mesh.pid());
        let (client, server) = pair.connect();
        let sent = fill(&server, 64 << 20);
        assert!(sent < 64 << 20, "the provider was never blocked");
        assert!(rss_kib(pair.mesh.pid()).saturating_sub(before) < 16 * 1024);
        server.shutdown_write();
        assert_eq!(client.recv_to_end().len(), sent);
    });
}

#[test]
fn a_mesh_that_waits_uses_no_processor() {
    run_alone(|sandbox| {
        let pair = Pair::start(sandbox);
        let (client, _server) = pair.connect();
        let _ = fill(&client, 64 << 20);
        // A held one, a blocked one, an idle one: none of them makes the mesh spin.
        let _idle = pair.connect();
        let used = ticks_in_a_second(pair.mesh.pid());
        assert!(used < 20, "{used} ticks of a hundred");
    });
}

#[test]
fn connections_above_max_connections_are_refused_until_there_is_room() {
    run(|sandbox| {
        let pair = Pair::start_with(sandbox, Kind::Stream, |link| link.option("max_connections", 3));
        let mut open: Vec<_> = (0..3).map(|_| pair.connect()).collect();
        for round in 1..=5 {
            let refused = pair.consumer.connect(pair.link.target());
            assert!(refused.ends());
            pair.mesh.wait_counter(&pair.link, "/connections/refused", round);
            // One goes, another one may come.
            open.remove(0);
            pair.mesh.wait_counter(&pair.link, "/connections/open", 2);
            let (client, server) = pair.connect();
            client.send(b"x");
            assert_eq!(server.recv(1).bytes, b"x");
            open.push((client, server));
        }
        assert!(pair.mesh.log().contains("refused connections: it has as many connections as it may"));
        assert_eq!(pair.mesh.counter(&pair.link, "/connections/failed"), 0);
    });
}

#[test]
fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    run(|sandbox| {
        let pair = Pair::start_with(sandbox, Kind::Stream, |link| link.option("idle_timeout", 1));
        let (idle, idle_server) = pair.connect();
        let (busy, busy_server) = pair.connect();
        let began = Instant::now();
        let (over, ended) = std::sync::mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(move || {
                let both = idle.ends() && idle_server.ends();
                let _ = over.send(both);
            });
            // Either way counts.
            while began.elapsed() < Duration::from_secs(2) {
                busy.send(b"x");
                assert_eq!(busy_server.recv(1).bytes, b"x");
                busy_server.send(b"y");
                assert_eq!(busy.recv(1).bytes, b"y");
            }
            assert_eq!(ended.recv(), Ok(true));
        });
        assert!(began.elapsed() >= Duration::from_secs(1));
        pair.mesh.wait_counter(&pair.link, "/connections/open", 0);
        assert!(busy.ends() && busy_server.ends());
    });
}

#[test]
fn a_link_that_takes_all_descriptors_leaves_some_for_the_others() {
    run(|sandbox| {
        let (consumer, provider) = (Container::start(sandbox), Container::start(sandbox));
        let link = |name| {
            Link::new(name, "consumer", "provider")
                .between(&consumer, &provider)
                .option("max_connections", 100_000)
        };
        let (greedy, other) = (link("greedy"), link("other"));
        let greedy_listener = provider.listen(greedy.socket());
        let _other = provider.listen(other.socket()).echo();
        let mesh = Mesh::start_with(sandbox, Some(1024), &[greedy.clone(), other.clone()]);
        mesh.wait_all(&[greedy.clone(), other.clone()], "up");
        let before = fd_count(mesh.pid());

        let clients: Vec<_> = (0..1500).map(|_| consumer.connect(greedy.target())).collect();
        let served = eventually("all are served or refused", || {
            let (total, refused) =
                (mesh.counter(&greedy, "/connections/total"), mesh.counter(&greedy, "/connections/refused"));
            ensure(total + refused == 1500, format_args!("{total} and {refused}"))?;
            Ok::<_, String>(total)
        });
        assert!(served >= 50, "only {served} were served");
        assert!(served < 512, "{served} of two descriptors each cannot be");
        assert!(mesh.log().contains("the other links need the descriptors that are left"));
        let refused = clients.iter().skip(usize::try_from(served).unwrap()).all(Socket::ends);
        assert!(refused, "those above the limit see their end");
        // The other link goes on, with more than one connection, and descriptors pass.
        let others: Vec<_> = (0..20).map(|_| consumer.connect(other.target())).collect();
        let file = std::fs::File::open("/dev/null").unwrap();
        for client in &others {
            client.echo(b"x");
            client.send_with(b"f", &[std::os::fd::AsFd::as_fd(&file)]);
            assert_eq!(client.recv(1).fds.len(), 1);
        }
        consumer.churn(other.target(), 200).unwrap();
        drop(clients);
        drop(others);
        while !greedy_listener.is_idle() {
            drop(greedy_listener.accept());
        }
        wait_fds_at_most(mesh.pid(), before);
        let client = consumer.connect(greedy.target());
        client.send(b"x");
        assert_eq!(greedy_listener.accept().recv(1).bytes, b"x");
    });
}

#[test]
fn many_connections_leave_nothing_behind() {
    run(|sandbox| {
        const ROUNDS: u64 = 20_000;
        let pair = Pair::start(sandbox);
        let _server = pair.listener.echo();
        let target = pair.link.target();
        pair.consumer.churn(target, 1000).unwrap();
        pair.mesh.wait_counter(&pair.link, "/connections/open", 0);
        let (fds, rss) = (fd_count(pair.mesh.pid()), rss_kib(pair.mesh.pid()));
        thread::scope(|scope| {
            for agent in [pair.consumer.another(), pair.consumer.another()] {
                scope.spawn(move || agent.churn(target, ROUNDS / 2).unwrap());
            }
        });
        pair.mesh.wait_counter(&pair.link, "/connections/total", ROUNDS + 1000);
        pair.mesh.wait_counter(&pair.link, "/connections/open", 0);
        assert_eq!(pair.mesh.counter(&pair.link, "/bytes/to_provider"), 64 * (ROUNDS + 1000));
        assert_eq!(pair.mesh.counter(&pair.link, "/connections/failed"), 0);
        wait_fds_at_most(pair.mesh.pid(), fds);
        let grown = rss_kib(pair.mesh.pid()).saturating_sub(rss);
        assert!(grown < 8 * 1024, "{ROUNDS} connections left {grown} KiB");
    });
}

#[test]
fn many_links_that_come_and_go_leave_nothing_behind() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let all: Vec<_> = (0..50)
            .map(|n| Link::new(&format!("s{n}"), "consumer", "provider"))
            .map(|link| link.between(&pair.consumer, &pair.provider).with("socket", pair.link.socket()))
            .collect();
        let round = |count: usize| {
            for _ in 0..count {
                pair.mesh.apply(&all);
                pair.mesh.wait_all(&all, "up");
                pair.mesh.apply(&[]);
                eventually("all are gone", || ensure(pair.mesh.links()?.is_empty(), "some are there"));
            }
        };
        round(5);
        let (fds, rss) = (fd_count(pair.mesh.pid()), rss_kib(pair.mesh.pid()));
        round(30);
        wait_fds_at_most(pair.mesh.pid(), fds);
        let grown = rss_kib(pair.mesh.pid()).saturating_sub(rss);
        assert!(grown < 8 * 1024, "1,500 links left {grown} KiB");
        assert!(pair.consumer.list("/run/pv/services").is_empty());
        let record = std::fs::metadata(sandbox.run_dir().join("xconnect-state.json")).unwrap();
        assert!(record.len() < 1 << 20, "the record has {} bytes", record.len());
    });
}

#[test]
fn a_mesh_that_nobody_connects_to_holds_no_containers_that_ended() {
    run(|sandbox| {
        let mesh = Mesh::start(sandbox);
        let before = fd_count(mesh.pid());
        for _ in 0..10 {
            let (consumer, provider) = (Container::start(sandbox), Container::start(sandbox));
            let link = Link::new("raw", "consumer", "provider").between(&consumer, &provider);
            let _listener = provider.listen(link.socket());
            mesh.apply(std::slice::from_ref(&link));
            mesh.wait(&link, "up");
            consumer.kill();
            provider.kill();
            mesh.wait(&link, "waiting");
        }
        mesh.apply(&[]);
        eventually("all are gone", || ensure(mesh.links()?.is_empty(), "some are there"));
        wait_fds_at_most(mesh.pid(), before);
    });
}
