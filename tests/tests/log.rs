//! The log is one file for years: what a container does in a loop is written a few times, and counted.

use std::thread;

use xconnect_tests::mesh::Pair;
use xconnect_tests::{Container, Kind, Link, Mesh, run};

/// How often a container does something.
const ROUNDS: usize = 60;
/// More lines than all kinds of them together may cost.
const MOST: usize = ROUNDS / 2;

#[track_caller]
fn assert_short(mesh: &Mesh, what: &str) {
    let log = mesh.log();
    assert!(log.contains(what), "{log}");
    let lines = log.lines().count();
    assert!(lines < MOST, "{lines} lines");
}

#[test]
fn a_consumer_that_removes_its_socket_in_a_loop_fills_no_log() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let _server = pair.listener.echo();
        for _ in 0..ROUNDS {
            pair.consumer.remove(pair.link.target());
            pair.consumer.eventually_echoes(pair.link.target());
        }
        assert_short(&pair.mesh, "injecting it again");
    });
}

#[test]
fn a_provider_that_comes_and_goes_in_a_loop_fills_no_log() {
    run(|sandbox| {
        let Pair { mesh, provider, link, listener, consumer: _consumer } = Pair::start(sandbox);
        drop(listener);
        for _ in 0..ROUNDS {
            provider.remove(link.socket());
            mesh.wait(&link, "waiting");
            let _listener = provider.listen(link.socket());
            mesh.wait(&link, "up");
        }
        assert_short(&mesh, "link waiting");
    });
}

#[test]
fn connects_that_fail_in_a_loop_fill_no_log() {
    run(|sandbox| {
        let (consumer, provider) = (Container::start(sandbox), Container::start(sandbox));
        let link = Link::new("raw", "consumer", "provider").between(&consumer, &provider);
        let _other_type = provider.listen_with(link.socket(), Kind::Seqpacket, 16);
        let mesh = Mesh::start_with(sandbox, None, std::slice::from_ref(&link));
        mesh.wait(&link, "up");
        for _ in 0..ROUNDS {
            assert!(consumer.connect(link.target()).ends());
        }
        assert_short(&mesh, "set socket_type in its manifest");
    });
}

#[test]
fn failures_that_come_and_go_in_a_loop_fill_no_log() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let _server = pair.listener.echo();
        for _ in 0..ROUNDS {
            pair.consumer.write("/run/file", "in its place");
            pair.consumer.rename("/run/file", pair.link.target());
            pair.mesh.wait(&pair.link, "failed");
            pair.consumer.remove(pair.link.target());
            pair.mesh.wait(&pair.link, "up");
        }
        assert_short(&pair.mesh, "link failed");
    });
}

#[test]
fn consumers_that_give_up_together_fill_no_log() {
    run(|sandbox| {
        let (consumer, provider) = (Container::start(sandbox), Container::start(sandbox));
        let link = Link::new("raw", "consumer", "provider").between(&consumer, &provider);
        let link = link.option("connect_timeout", 1);
        let mesh = Mesh::start_with(sandbox, None, std::slice::from_ref(&link));
        mesh.wait(&link, "waiting");
        thread::scope(|scope| {
            for _ in 0..ROUNDS {
                let client = consumer.connect(link.target());
                scope.spawn(move || assert!(client.ends()));
            }
        });
        assert_short(&mesh, "gave up waiting for the provider");
    });
}
