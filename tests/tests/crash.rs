//! The mesh's own end, and signals: what a dead one leaves is taken over, there is never a second one,
//! and no consumer can make it end.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use xconnect_tests::mesh::Pair;
use xconnect_tests::payload::bytes;
use xconnect_tests::process::fd_count;
use xconnect_tests::wait::Raise;
use xconnect_tests::{Kind, Link, programs, run};

#[test]
fn a_killed_mesh_is_replaced_in_the_middle_of_traffic() {
    run(|sandbox| {
        let Pair { mut mesh, consumer, link, listener, provider: _provider } = Pair::start(sandbox);
        let _server = listener.echo();
        for _ in 0..5 {
            let over = AtomicBool::new(false);
            thread::scope(|scope| {
                let agent = consumer.another();
                let (over, target) = (&over, link.target());
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        // It fails while there is no mesh.
                        let _ = agent.churn(target, 100);
                    }
                });
                let _over = Raise(over);
                let busy = consumer.connect(link.target());
                busy.echo(&bytes(1, 10_000));
                mesh.kill();
                assert!(busy.ends());
                mesh.start_again();
                mesh.wait(&link, "up");
            });
            consumer.connect(link.target()).echo(b"again");
            assert_eq!(consumer.list("/run/pv/services"), ["raw.sock"]);
        }
    });
}

#[test]
fn a_mesh_removes_what_a_killed_one_left_and_the_graph_wants_no_more() {
    run(|sandbox| {
        let Pair { mut mesh, consumer, link, provider, listener: _listener } = Pair::start(sandbox);
        let kept = Link::new("kept", "consumer", "provider").between(&consumer, &provider);
        mesh.apply(&[kept.clone(), link.clone()]);
        let _server = provider.listen(kept.socket()).echo();
        mesh.wait_all(&[kept.clone(), link.clone()], "up");
        mesh.kill();
        assert_eq!(consumer.list("/run/pv/services"), ["kept.sock", "raw.sock"]);
        mesh.apply(std::slice::from_ref(&kept));
        mesh.start_again();
        mesh.wait(&kept, "up");
        assert_eq!(consumer.list("/run/pv/services"), ["kept.sock"]);
        consumer.connect(kept.target()).echo(b"x");
    });
}

#[test]
fn a_mesh_leaves_alone_what_replaced_a_killed_ones_socket() {
    run(|sandbox| {
        let Pair { mut mesh, consumer, link, provider: _provider, listener: _listener } =
            Pair::start(sandbox);
        mesh.kill();
        consumer.remove(link.target());
        consumer.write(link.target(), "precious");
        mesh.start_again();
        mesh.wait_reason(&link, "failed", "is taken by a file");
        mesh.apply(&[]);
        mesh.wait_gone(&link);
        assert_eq!(consumer.read(link.target()).unwrap(), "precious");
    });
}

#[test]
fn a_mesh_starts_over_a_record_that_was_cut_off() {
    run(|sandbox| {
        let Pair { mut mesh, consumer, link, listener, provider: _provider } = Pair::start(sandbox);
        let _server = listener.echo();
        mesh.kill();
        let record = sandbox.run_dir().join("xconnect-state.json");
        let mut text = std::fs::read(&record).unwrap();
        text.extend(b"{\"op\":\"put\",\"place\":{\"pi\xff");
        std::fs::write(&record, text).unwrap();
        mesh.start_again();
        mesh.wait(&link, "up");
        consumer.connect(link.target()).echo(b"x");
    });
}

#[test]
fn a_second_mesh_in_the_run_directory_is_refused() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let _server = pair.listener.echo();
        let second = Command::new(programs::program("pv-xconnect"))
            .arg("--run-dir")
            .arg(sandbox.run_dir())
            .arg("--graph")
            .arg(sandbox.path().join("graph.json"))
            .args(["--fdstore", "none"])
            .env("XCONNECT_SANDBOX", sandbox.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(second.status.code(), Some(1));
        let text = String::from_utf8(second.stderr).unwrap();
        let why = format!("another pv-xconnect (pid {}) already runs in this run directory", pair.mesh.pid());
        assert!(text.contains(&why), "{text}");
        // The first one has noticed nothing.
        pair.consumer.connect(pair.link.target()).echo(b"x");
        assert!(pair.mesh.get("/status").is_ok());
        assert_eq!(pair.mesh.log().matches("link up").count(), 1);
    });
}

#[test]
fn a_stale_lock_does_not_keep_a_mesh_from_starting() {
    run(|sandbox| {
        let Pair { mut mesh, link, provider: _provider, consumer: _consumer, listener: _listener } =
            Pair::start(sandbox);
        mesh.kill();
        let lock = std::fs::read_to_string(sandbox.run_dir().join("pv-xconnect.lock")).unwrap();
        assert!(lock.starts_with(|c: char| c.is_ascii_digit()), "{lock}");
        mesh.start_again();
        mesh.wait(&link, "up");
    });
}

#[test]
fn consumers_that_send_and_close_at_once_do_no_harm() {
    run(|sandbox| {
        // Started as a shell starts it: SIGPIPE has its default disposition, which is death.
        let pair = Pair::start(sandbox);
        let before = fd_count(pair.mesh.pid());
        let (listener, agent, target) = (&pair.listener, &pair.consumer, pair.link.target());
        thread::scope(|scope| {
            let consumer = scope.spawn(move || {
                for round in 0..1000 {
                    let client = agent.connect(target);
                    // The provider may have closed before that.
                    let _ = client.try_send(b"request", &[]);
                    if round % 3 == 0 {
                        client.shutdown_write();
                    }
                }
            });
            // The provider's replies find nobody.
            let reply = bytes(1, 100_000);
            while !consumer.is_finished() || !listener.is_idle() {
                if !listener.is_idle() {
                    let server = listener.accept();
                    server.set_timeout(Duration::from_millis(100));
                    let _ = server.try_send(&reply, &[]);
                    let _ = server.try_send(&reply, &[]);
                }
            }
        });
        assert!(pair.mesh.is_alive());
        // Some may have come to the provider only after the consumer's last one.
        pair.mesh.wait_counter(&pair.link, "/connections/total", 1000);
        pair.mesh.wait_counter(&pair.link, "/connections/open", 0);
        while !listener.is_idle() {
            drop(listener.accept());
        }
        xconnect_tests::process::wait_fds_at_most(pair.mesh.pid(), before);
        let (client, server) = pair.connect();
        client.send(b"x");
        assert_eq!(server.recv(1).bytes, b"x");
    });
}

#[test]
fn providers_that_close_at_once_do_no_harm() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let sent = bytes(1, 100_000);
        for _ in 0..500 {
            let client = pair.consumer.connect(pair.link.target());
            drop(pair.listener.accept());
            while client.try_send(&sent, &[]).is_ok() {}
        }
        assert!(pair.mesh.is_alive());
        pair.mesh.wait_counter(&pair.link, "/connections/open", 0);
    });
}

#[test]
fn a_broken_pipe_signal_does_not_end_the_mesh() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let signal = rustix::process::Signal::PIPE;
        let process = xconnect_tests::process::Process::open(pair.mesh.pid()).unwrap();
        for _ in 0..10 {
            process.signal(signal);
        }
        // An answer comes after the signals were looked at.
        assert!(pair.mesh.get("/status").is_ok());
        assert!(pair.mesh.is_alive());
    });
}

#[test]
fn a_status_client_that_hangs_up_does_no_harm() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        for round in 0..200 {
            let client = xconnect_tests::Socket::connect(Kind::Stream, &pair.mesh.socket()).unwrap();
            if round % 2 == 0 {
                client.send(b"GET /links HTTP/1.1\r\nHost: localhost\r\n\r\n");
            } else {
                client.send(b"GET /li");
            }
        }
        for (what, request) in xconnect_tests::hostile::requests() {
            let client = xconnect_tests::Socket::connect(Kind::Stream, &pair.mesh.socket()).unwrap();
            // Some of these are unfinished, and never answered.
            client.set_timeout(Duration::from_millis(200));
            let _ = xconnect_tests::http::raw(&client, &request);
            assert!(pair.mesh.is_alive(), "{what}");
        }
        assert!(pair.mesh.get("/status").is_ok());
    });
}
