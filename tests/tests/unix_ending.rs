//! How links end: those that leave the graph are cut, those of a mesh that stops may end by themselves.

use xconnect_tests::mesh::Pair;
use xconnect_tests::payload::{assert_same, bytes};
use xconnect_tests::process::{fd_count, wait_fds_at_most};
use xconnect_tests::wait::ensure;
use xconnect_tests::{Container, Kind, Link, Mesh, eventually, run};

#[test]
fn a_link_that_leaves_the_graph_leaves_nothing() {
    run(|sandbox| {
        let (consumer, provider) = (Container::start(sandbox), Container::start(sandbox));
        let kept = Link::new("kept", "consumer", "provider").between(&consumer, &provider);
        let link = Link::new("raw", "consumer", "provider").between(&consumer, &provider);
        let listener = provider.listen(link.socket());
        let _kept = provider.listen(kept.socket()).echo();
        let mesh = Mesh::start_with(sandbox, None, std::slice::from_ref(&kept));
        mesh.wait(&kept, "up");
        let other = consumer.connect(kept.target());
        other.echo(b"before");
        let before = fd_count(mesh.pid());

        mesh.apply(&[kept.clone(), link.clone()]);
        mesh.wait(&link, "up");
        let (client, queued) = (consumer.connect(link.target()), consumer.connect(link.target()));
        let server = listener.accept();
        client.send(b"x");
        assert_eq!(server.recv(1).bytes, b"x");
        mesh.apply(std::slice::from_ref(&kept));
        mesh.wait_gone(&link);

        assert!(client.ends() && server.ends() && queued.ends());
        assert!(!consumer.exists(link.target()));
        assert_eq!(consumer.list("/run/pv/services"), ["kept.sock"]);
        assert!(consumer.try_connect(link.target(), Kind::Stream).is_err());
        wait_fds_at_most(mesh.pid(), before);
        other.echo(b"after");
    });
}

#[test]
fn a_link_that_comes_back_to_the_graph_works_again() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let _server = pair.listener.echo();
        for _ in 0..10 {
            pair.mesh.apply(&[]);
            pair.mesh.wait_gone(&pair.link);
            pair.mesh.apply(std::slice::from_ref(&pair.link));
            pair.mesh.wait(&pair.link, "up");
            pair.consumer.connect(pair.link.target()).echo(b"again");
        }
        assert_eq!(pair.consumer.list("/run/pv/services"), ["raw.sock"]);
    });
}

#[test]
fn a_mesh_that_is_stopped_lets_connections_end_and_removes_its_files() {
    run(|sandbox| {
        let Pair { mut mesh, consumer, link, listener, provider: _provider } = Pair::start(sandbox);
        let client = consumer.connect(link.target());
        let server = listener.accept();
        mesh.begin_stop();
        eventually("the socket is removed", || ensure(!consumer.exists(link.target()), "it is there"));
        assert!(consumer.list("/run/pv/services").is_empty());
        // Open ones go on, to their own end.
        let data = bytes(1, 1 << 20);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                client.send(&data);
                client.shutdown_write();
            });
            assert_same("while draining", &server.recv_to_end(), &data);
        });
        server.send(b"reply");
        drop(server);
        assert_eq!(client.recv_to_end(), b"reply");
        assert_eq!(mesh.stop(), Some(0));
        assert!(!mesh.socket().exists());
    });
}

#[test]
fn a_mesh_that_is_stopped_cuts_what_does_not_end() {
    run(|sandbox| {
        let Pair { mut mesh, consumer, link, listener, provider: _provider } = Pair::start(sandbox);
        let client = consumer.connect(link.target());
        let server = listener.accept();
        assert_eq!(mesh.stop(), Some(0));
        assert!(client.ends() && server.ends());
        assert!(!consumer.exists(link.target()));
    });
}

#[test]
fn a_stopped_mesh_can_be_started_again() {
    run(|sandbox| {
        let Pair { mut mesh, consumer, link, listener, provider: _provider } = Pair::start(sandbox);
        let _server = listener.echo();
        for _ in 0..5 {
            assert_eq!(mesh.stop(), Some(0));
            assert!(!consumer.exists(link.target()));
            mesh.start_again();
            mesh.wait(&link, "up");
            consumer.connect(link.target()).echo(b"again");
        }
    });
}
