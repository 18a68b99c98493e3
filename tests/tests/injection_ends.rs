//! Whose namespace an end is in: the process of the graph and no other, the host only where the graph
//! names it, and nobody where there is no process.

use std::fs;

use xconnect_tests::{Container, Kind, Link, Listener, Mesh, OrFail, Socket, run};

/// A link between names that are no hosts, whose paths lead to a file and a socket of the host.
fn host_paths(sandbox: &xconnect_tests::Sandbox) -> (Link, Listener, std::path::PathBuf) {
    let dir = sandbox.new_dir("host");
    let (target, socket) = (dir.join("target.sock"), dir.join("socket.sock"));
    fs::write(&target, "the host's own").or_fail("sentinel");
    let trap = Listener::bind(Kind::Stream, &socket, 16).or_fail("trap");
    let link = Link::new("raw", "consumer", "provider")
        .with("target", target.display().to_string())
        .with("socket", socket.display().to_string());
    (link, trap, target)
}

#[test]
fn a_consumer_without_a_pid_waits_and_is_never_the_host() {
    run(|sandbox| {
        let (link, trap, sentinel) = host_paths(sandbox);
        let (consumer, provider) = (Container::start(sandbox), Container::start(sandbox));
        let _server = provider.listen(link.socket()).echo();
        let link = link.with("provider_pid", provider.pid());
        let mesh = Mesh::start(sandbox);
        let pids = [serde_json::json!(0), (-1).into(), (-5).into(), serde_json::Value::Null];
        for pid in pids {
            let link = link.clone().with("consumer_pid", pid);
            mesh.apply(std::slice::from_ref(&link));
            mesh.wait_reason(&link, "waiting", "the consumer is not running");
        }
        let link = link.between(&consumer, &provider);
        mesh.apply(std::slice::from_ref(&link));
        mesh.wait(&link, "up");
        consumer.connect(link.target()).echo(b"x");
        assert_eq!(fs::read_to_string(sentinel).unwrap(), "the host's own");
        assert!(trap.is_idle());
    });
}

#[test]
fn a_provider_without_a_pid_is_waited_for_and_is_never_the_host() {
    run(|sandbox| {
        let (link, trap, _) = host_paths(sandbox);
        let (consumer, provider) = (Container::start(sandbox), Container::start(sandbox));
        let link = link.with("consumer_pid", consumer.pid()).option("connect_timeout", 600);
        let mesh = Mesh::start(sandbox);
        let pids = [serde_json::json!(0), (-1).into(), (-5).into(), serde_json::Value::Null];
        for pid in pids {
            let link = link.clone().with("provider_pid", pid);
            mesh.apply(std::slice::from_ref(&link));
            mesh.wait_reason(&link, "waiting", "the provider is not running");
        }
        let client = consumer.connect(link.target());
        client.send(b"held");
        mesh.wait_counter(&link, "/connections/open", 1);
        let listener = provider.listen(link.socket());
        let link = link.between(&consumer, &provider);
        mesh.apply(std::slice::from_ref(&link));
        assert_eq!(listener.accept().recv_exact(4).bytes, b"held");
        assert!(trap.is_idle());
    });
}

#[test]
fn a_process_that_is_not_the_one_meant_is_not_touched() {
    run(|sandbox| {
        let (consumer, provider) = (Container::start(sandbox), Container::start(sandbox));
        let link = Link::new("raw", "consumer", "provider").between(&consumer, &provider);
        let start = xconnect_tests::process::start_time(consumer.pid());
        let mesh = Mesh::start(sandbox);
        mesh.apply(&[link.clone().with("consumer_start", start - 1)]);
        mesh.wait_reason(&link, "waiting", "the consumer has ended");
        assert!(consumer.list("/run").is_empty());
        let _server = provider.listen(link.socket()).echo();
        mesh.apply(&[link.clone().with("consumer_start", start)]);
        mesh.wait(&link, "up");
        consumer.connect(link.target()).echo(b"x");
    });
}

#[test]
fn an_end_that_the_graph_names_as_the_host_is_the_host() {
    run(|sandbox| {
        let consumer = Container::start(sandbox);
        let socket = sandbox.new_dir("host").join("x.sock");
        let _server = Listener::bind(Kind::Stream, &socket, 16).unwrap().echo();
        let link = Link::new("raw", "consumer", "_pv_")
            .with("consumer_pid", consumer.pid())
            .with("provider_pid", 0)
            .with("socket", socket.to_str().unwrap());
        let mesh = Mesh::start_with(sandbox, None, std::slice::from_ref(&link));
        mesh.wait(&link, "up");
        consumer.connect(link.target()).echo(b"x");
    });
}

#[test]
fn the_host_may_be_a_consumer_where_the_graph_names_it() {
    run(|sandbox| {
        let provider = Container::start(sandbox);
        let dir = sandbox.new_dir("host");
        let target = dir.join("sub/x.sock");
        let link = Link::new("raw", "_pv_", "provider")
            .with("consumer_pid", 0)
            .with("provider_pid", provider.pid())
            .with("target", target.to_str().unwrap());
        provider.echo(link.socket());
        let mesh = Mesh::start_with(sandbox, None, std::slice::from_ref(&link));
        mesh.wait(&link, "up");
        Socket::connect(Kind::Stream, &target).unwrap().echo(b"x");
        mesh.apply(&[]);
        mesh.wait_gone(&link);
        assert!(!target.exists());
    });
}
