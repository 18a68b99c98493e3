//! Ends that come, go and come back: connections are held, served, ended, never left hanging.

use std::time::Instant;

use xconnect_tests::mesh::Pair;
use xconnect_tests::payload::bytes;
use xconnect_tests::process::Process;
use xconnect_tests::wait::ensure;
use xconnect_tests::{Container, Kind, Link, Mesh, Socket, eventually, run};

#[test]
fn a_consumer_sees_that_the_provider_closed() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let (client, server) = pair.connect();
        client.send(b"unread: the provider's close is a reset");
        drop(server);
        assert!(client.ends());
        let (client, server) = pair.connect();
        drop(server);
        assert!(client.recv_to_end().is_empty());
        pair.mesh.wait_counter(&pair.link, "/connections/open", 0);
    });
}

#[test]
fn a_consumer_sees_that_the_provider_died() {
    run(|sandbox| {
        let Pair { mesh, consumer, provider, link, listener } = Pair::start(sandbox);
        drop(listener);
        provider.remove(link.socket());
        provider.echo(link.socket());
        let clients: Vec<_> = (0..5).map(|_| consumer.connect(link.target())).collect();
        for client in &clients {
            client.echo(b"hello");
        }
        // Not a close of its own: the kernel takes its sockets away.
        Process::open(provider.pid()).unwrap().kill();
        assert!(clients.iter().all(Socket::ends));
        mesh.wait_reason(&link, "waiting", "the provider has ended");
        mesh.wait_counter(&link, "/connections/open", 0);
    });
}

#[test]
fn a_provider_sees_that_the_consumer_closed() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let (client, server) = pair.connect();
        server.send(b"unread");
        drop(client);
        assert!(server.ends());
        pair.mesh.wait_counter(&pair.link, "/connections/open", 0);
    });
}

#[test]
fn a_connection_comes_through_when_the_provider_makes_its_socket_in_time() {
    run(|sandbox| {
        let (consumer, provider) = (Container::start(sandbox), Container::start(sandbox));
        let link = Link::new("raw", "consumer", "provider")
            .between(&consumer, &provider)
            .option("connect_timeout", 600);
        let mesh = Mesh::start_with(sandbox, None, std::slice::from_ref(&link));
        mesh.wait_reason(&link, "waiting", "has no socket /srv/raw.sock yet");
        let clients: Vec<_> = (0..5).map(|_| consumer.connect(link.target())).collect();
        for (number, client) in clients.iter().enumerate() {
            client.send(&bytes(number as u64, 1000));
        }
        mesh.wait_counter(&link, "/connections/open", 5);
        let listener = provider.listen(link.socket());
        for number in 0..clients.len() {
            let server = listener.accept();
            assert_eq!(server.recv_exact(1000).bytes, bytes(number as u64, 1000), "in their order");
            server.send(b"reply");
        }
        assert!(clients.iter().all(|client| client.recv_exact(5).bytes == b"reply"));
        mesh.wait(&link, "up");
        assert_eq!(mesh.counter(&link, "/connections/failed"), 0);
    });
}

#[test]
fn a_connection_comes_through_when_the_provider_is_started_in_time() {
    run(|sandbox| {
        let consumer = Container::start(sandbox);
        let waiting = Link::new("raw", "consumer", "provider")
            .with("consumer_pid", consumer.pid())
            .option("connect_timeout", 600);
        let mesh = Mesh::start_with(sandbox, None, std::slice::from_ref(&waiting));
        mesh.wait_reason(&waiting, "waiting", "the provider is not running");
        let client = consumer.connect(waiting.target());
        client.send(b"early");
        mesh.wait_counter(&waiting, "/connections/open", 1);
        let provider = Container::start(sandbox);
        let link = waiting.between(&consumer, &provider);
        mesh.apply(std::slice::from_ref(&link));
        mesh.wait_reason(&link, "waiting", "has no socket");
        let server = provider.listen(link.socket()).accept();
        assert_eq!(server.recv_exact(5).bytes, b"early");
    });
}

#[test]
fn a_connection_is_refused_when_the_provider_does_not_come_in_time() {
    run(|sandbox| {
        let (consumer, provider) = (Container::start(sandbox), Container::start(sandbox));
        let link = Link::new("raw", "consumer", "provider")
            .between(&consumer, &provider)
            .option("connect_timeout", 0.5);
        let mesh = Mesh::start_with(sandbox, None, std::slice::from_ref(&link));
        mesh.wait(&link, "waiting");
        let began = Instant::now();
        let (silent, talking) = (consumer.connect(link.target()), consumer.connect(link.target()));
        talking.send(b"request");
        assert!(silent.ends() && talking.ends());
        assert!(began.elapsed().as_millis() >= 250, "it was not held");
        mesh.wait_counter(&link, "/connections/failed", 2);
        mesh.wait_counter(&link, "/connections/open", 0);
        assert!(mesh.log().contains("gave up waiting for the provider"));
    });
}

#[test]
fn a_consumer_that_hangs_up_while_it_is_held_is_let_go() {
    run(|sandbox| {
        let (consumer, provider) = (Container::start(sandbox), Container::start(sandbox));
        let link = Link::new("raw", "consumer", "provider")
            .between(&consumer, &provider)
            .option("connect_timeout", 600);
        let mesh = Mesh::start_with(sandbox, None, std::slice::from_ref(&link));
        mesh.wait(&link, "waiting");
        let clients: Vec<_> = (0..20).map(|_| consumer.connect(link.target())).collect();
        mesh.wait_counter(&link, "/connections/open", 20);
        drop(clients);
        mesh.wait_counter(&link, "/connections/open", 0);
        // What one has sent before is still delivered.
        let client = consumer.connect(link.target());
        client.send(b"last words");
        drop(client);
        mesh.wait_counter(&link, "/connections/total", 21);
        let listener = provider.listen(link.socket());
        assert_eq!(listener.accept().recv_to_end(), b"last words");
        mesh.wait_counter(&link, "/connections/open", 0);
        assert!(listener.is_idle());
    });
}

#[test]
fn a_socket_at_which_nobody_listens_is_waited_for_too() {
    run(|sandbox| {
        let Pair { mesh, consumer, provider, link, listener } =
            Pair::start_with(sandbox, Kind::Stream, |link| link.option("connect_timeout", 600));
        // The file stays, as after a crash.
        drop(listener);
        assert!(provider.exists(link.socket()));
        let client = consumer.connect(link.target());
        client.send(b"early");
        mesh.wait_counter(&link, "/connections/open", 1);
        provider.remove(link.socket());
        let server = provider.listen(link.socket()).accept();
        assert_eq!(server.recv_exact(5).bytes, b"early");
    });
}

#[test]
fn a_provider_with_a_full_backlog_loses_no_connection() {
    run(|sandbox| {
        let (consumer, provider) = (Container::start(sandbox), Container::start(sandbox));
        let link = Link::new("raw", "consumer", "provider")
            .between(&consumer, &provider)
            .option("connect_timeout", 600);
        let listener = provider.listen_with(link.socket(), Kind::Stream, 1);
        let mesh = Mesh::start_with(sandbox, None, std::slice::from_ref(&link));
        mesh.wait(&link, "up");
        let clients: Vec<_> = (0..20).map(|_| consumer.connect(link.target())).collect();
        for (number, client) in clients.iter().enumerate() {
            client.send(&[u8::try_from(number).unwrap()]);
        }
        mesh.wait_counter(&link, "/connections/total", 20);
        let mut seen: Vec<_> = (0..20)
            .map(|_| {
                let server = listener.accept();
                let number = server.recv_exact(1).bytes;
                server.send(&number);
                number[0]
            })
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..20).collect::<Vec<_>>());
        for (number, client) in clients.iter().enumerate() {
            assert_eq!(usize::from(client.recv_exact(1).bytes[0]), number);
        }
        assert_eq!(mesh.counter(&link, "/connections/failed"), 0);
        assert_eq!(mesh.counter(&link, "/connections/refused"), 0);
    });
}

#[test]
fn a_provider_that_never_accepts_is_given_up_after_connect_timeout() {
    run(|sandbox| {
        let (consumer, provider) = (Container::start(sandbox), Container::start(sandbox));
        let link = Link::new("raw", "consumer", "provider")
            .between(&consumer, &provider)
            .option("connect_timeout", 0.5);
        let _listener = provider.listen_with(link.socket(), Kind::Stream, 1);
        let mesh = Mesh::start_with(sandbox, None, std::slice::from_ref(&link));
        mesh.wait(&link, "up");
        let clients: Vec<_> = (0..8).map(|_| consumer.connect(link.target())).collect();
        // A backlog of 1 takes two (unix_stream_connect in net/unix/af_unix.c).
        mesh.wait_counter(&link, "/connections/failed", 6);
        assert!(clients[2..].iter().all(Socket::ends));
        assert_eq!(mesh.counter(&link, "/connections/open"), 2);
    });
}

#[test]
fn a_restarted_provider_gets_its_link_back() {
    run(|sandbox| {
        let Pair { mesh, consumer, provider, link, listener } = Pair::start(sandbox);
        let before = consumer.stat(link.target()).unwrap();
        drop(listener);
        provider.kill();
        mesh.wait_reason(&link, "waiting", "the provider has ended");
        for _ in 0..3 {
            let provider = Container::start(sandbox);
            let link = link.clone().between(&consumer, &provider);
            let listener = provider.listen(link.socket());
            mesh.apply(std::slice::from_ref(&link));
            mesh.wait(&link, "up");
            let _server = listener.echo();
            consumer.connect(link.target()).echo(b"again");
        }
        // The consumer's end never moved.
        assert_eq!(consumer.stat(link.target()).unwrap(), before);
    });
}

#[test]
fn a_restarted_consumer_gets_its_link_back() {
    run(|sandbox| {
        let Pair { mesh, consumer, provider, link, listener } = Pair::start(sandbox);
        let client = consumer.connect(link.target());
        let server = listener.accept();
        consumer.kill();
        mesh.wait_reason(&link, "waiting", "the consumer has ended");
        // The test's copy of the consumer's socket is still open; the link is not.
        assert!(server.ends() && client.ends());
        let _server = listener.echo();
        for _ in 0..3 {
            let consumer = Container::start(sandbox);
            let link = link.clone().between(&consumer, &provider);
            mesh.apply(std::slice::from_ref(&link));
            mesh.wait(&link, "up");
            consumer.connect(link.target()).echo(b"again");
        }
    });
}

#[test]
fn a_socket_that_the_provider_makes_anew_is_found() {
    run(|sandbox| {
        let Pair { mesh, consumer, provider, link, mut listener } =
            Pair::start_with(sandbox, Kind::Stream, |link| link.option("connect_timeout", 600));
        for round in 0..10 {
            drop(listener);
            provider.remove(link.socket());
            // Half the time somebody connects while it is away.
            let early = (round % 2 == 0).then(|| consumer.connect(link.target()));
            listener = provider.listen(link.socket());
            let client = early.unwrap_or_else(|| consumer.connect(link.target()));
            client.send(b"x");
            assert_eq!(listener.accept().recv_exact(1).bytes, b"x", "round {round}");
        }
        mesh.wait(&link, "up");
        assert_eq!(mesh.counter(&link, "/connections/failed"), 0);
    });
}

#[test]
fn a_socket_that_the_provider_renames_into_place_is_found() {
    run(|sandbox| {
        let Pair { mesh, consumer, provider, link, listener: _old } = Pair::start(sandbox);
        let listener = provider.listen("/srv/new.sock");
        provider.rename("/srv/new.sock", link.socket());
        // The old one still listens, so that a connection may get there until the new one is seen.
        eventually("the new socket is used", || {
            let _client = consumer.connect(link.target());
            mesh.wait_counter(&link, "/connections/open", 1);
            let found = !listener.is_idle();
            ensure(found, "the old one")
        });
        drop(listener.accept());
    });
}

#[test]
fn a_directory_of_the_provider_that_comes_later_is_found() {
    run(|sandbox| {
        let Pair { mesh, consumer, provider, link, listener } =
            Pair::start_with(sandbox, Kind::Stream, |link| link.with("socket", "/srv/a/b/c/raw.sock"));
        drop(listener);
        provider.remove("/srv/a");
        mesh.wait(&link, "waiting");
        let listener = provider.listen("/srv/moved/b/c/raw.sock");
        provider.rename("/srv/moved", "/srv/a");
        mesh.wait(&link, "up");
        let _server = listener.echo();
        consumer.connect(link.target()).echo(b"x");
    });
}
