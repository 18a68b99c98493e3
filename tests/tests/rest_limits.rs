//! What a consumer may send and how much of it at once: refusals that say why, bounded memory, and others that go on.

use std::time::Duration;

use xconnect_tests::process::{fd_count, peak_kib, wait_fds_at_most};
use xconnect_tests::rest::{Answer, Plan, Rest, Step, fixed, generated};
use xconnect_tests::wait::ensure;
use xconnect_tests::{Socket, eventually, payload, run, run_alone};

/// Asserts that an answer is a refusal by the mesh, whose error contains this text.
#[track_caller]
fn refused(answer: &Answer, status: u16, error: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    let text = answer.json()["error"].as_str().unwrap_or_default().to_lowercase();
    assert!(text.contains(error), "{answer:?}");
    assert_eq!(answer.head.get("content-type"), Some("application/json"));
    assert_eq!(answer.head.get("connection").map(str::to_lowercase).as_deref(), Some("close"));
}

#[test]
fn a_body_that_says_that_it_is_too_large_is_refused_before_it_is_sent() {
    run(|sandbox| {
        let rest = Rest::start_with(sandbox, |link| link.rest("max_body_bytes", 1000));
        let mut client = rest.connect();
        client.ask("POST", "/big", "Content-Length: 1001\r\n");
        refused(&client.answer(), 413, "");
        client.ends();
        assert_eq!(rest.provider.records().requests().count(), 0);
        let mut client = rest.connect();
        client.ask("POST", "/fine", &format!("Content-Length: 1000\r\n\r\n{}", "x".repeat(998)));
        client.get("/next");
    });
}

#[test]
fn a_chunked_body_is_refused_once_it_is_too_large() {
    run(|sandbox| {
        let rest = Rest::start_with(sandbox, |link| link.rest("max_body_bytes", 1000));
        let mut client = rest.connect();
        client.ask("POST", "/big", "Transfer-Encoding: chunked\r\n");
        for _ in 0..2 {
            client.send(format!("200\r\n{}\r\n", "x".repeat(512)));
        }
        refused(&client.answer(), 413, "");
        client.ends();
        rest.provider.wait("the cut", |records| records.0.iter().all(|record| record.ended));
        assert!(rest.provider.records().requests().all(|seen| !seen.complete && seen.length <= 1000));
    });
}

#[test]
fn a_consumer_that_sends_on_gets_its_refusal_all_the_same() {
    run(|sandbox| {
        let rest = Rest::start_with(sandbox, |link| link.rest("max_body_bytes", 1000));
        let mut client = rest.connect();
        client.ask("POST", "/big", "Content-Length: 3000000\r\n");
        let writer = client.socket().dup();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let body = vec![b'x'; 3_000_000];
                let mut rest = body.as_slice();
                while let Ok(sent @ 1..) = writer.try_send(rest, &[]) {
                    rest = &rest[sent..];
                }
            });
            refused(&client.answer(), 413, "");
            client.ends();
            let _ = rustix::net::shutdown(client.socket(), rustix::net::Shutdown::Both);
        });
    });
}

#[test]
fn a_head_without_end_is_refused_and_costs_little() {
    run(|sandbox| {
        let rest = Rest::start_with(sandbox, |link| link.rest("max_header_bytes", 2048));
        let mut client = rest.connect();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n");
        client.send(format!("X: {}", "y".repeat(3000)));
        refused(&client.answer(), 431, "");
        client.ends();
    });
}

#[test]
fn more_requests_than_the_link_may_have_are_turned_away_and_then_served() {
    run(|sandbox| {
        let rest = Rest::start_with(sandbox, |link| link.rest("max_requests", 3));
        rest.provider.on("/held", vec![Step::Body, Step::Gate("go".into()), Step::Report]);
        let mut held: Vec<_> = (0..3).map(|_| rest.connect()).collect();
        for client in &held {
            client.ask("GET", "/held", "");
        }
        rest.provider.wait("three requests", |records| records.requests().count() == 3);
        let turned_away = rest.connect().call("GET", "/more", "");
        assert_eq!((turned_away.status, turned_away.head.get("retry-after")), (503, Some("1")));
        assert!(turned_away.json()["error"].is_string());
        rest.provider.open("go");
        for client in &mut held {
            rest.assert_reported(&client.answer().json());
        }
        // Connections that wait for a request do not count.
        assert_eq!(rest.connect().get("/more").status, 200);
        assert_eq!(rest.provider.records().requests().filter(|seen| seen.path() == "/more").count(), 1);
    });
}

#[test]
fn more_connections_than_the_link_may_have_are_closed() {
    run(|sandbox| {
        let rest = Rest::start_with(sandbox, |link| link.option("max_connections", 3));
        let mut held: Vec<_> = (0..3).map(|_| rest.connect()).collect();
        for client in &mut held {
            client.get("/");
        }
        let more: Socket = rest.consumer.connect(rest.link.target());
        assert!(more.ends());
        rest.mesh.wait_counter(&rest.link, "/connections/refused", 1);
        drop(held.pop());
        rest.mesh.wait_counter(&rest.link, "/connections/open", 2);
        rest.connect().get("/");
    });
}

#[test]
fn a_consumer_that_does_not_read_holds_the_provider_back() {
    run_alone(|sandbox| {
        const SIZE: u64 = 256 << 20;
        let rest = Rest::start(sandbox);
        rest.provider.on("/big", generated(1, SIZE));
        rest.connect().get("/");
        let before = peak_kib(rest.mesh.pid());
        let mut slow = rest.connect();
        slow.ask("GET", "/big", "");
        let (status, head) = slow.head().unwrap();
        assert_eq!((status, head.get("content-length")), (200, Some(SIZE.to_string().as_str())));
        // Others are served meanwhile.
        for _ in 0..20 {
            rest.connect().get("/");
        }
        slow.skip_body(SIZE).unwrap();
        let grown = peak_kib(rest.mesh.pid()).saturating_sub(before);
        assert!(grown < 16 * 1024, "an answer of {SIZE} bytes took {grown} KiB");
        slow.get("/next");
    });
}

#[test]
fn a_provider_that_does_not_read_holds_the_consumer_back() {
    run_alone(|sandbox| {
        const SIZE: usize = 128 << 20;
        let rest = Rest::start(sandbox);
        rest.provider.on("/upload", [vec![Step::Gate("go".into())], fixed("200 OK", "", "got it")].concat());
        rest.connect().get("/");
        let before = peak_kib(rest.mesh.pid());
        let mut client = rest.connect();
        client.ask("POST", "/upload", &format!("Content-Length: {SIZE}\r\n"));
        let writer = client.socket().dup();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let block = payload::bytes(3, 1 << 20);
                for _ in 0..SIZE >> 20 {
                    writer.send(&block);
                }
            });
            rest.provider.wait_for("/upload");
            // Nothing moves any more: both sockets are full.
            let mut moved = rest.counter("/bytes/to_provider");
            eventually("the upload stands still", || {
                std::thread::sleep(Duration::from_millis(50));
                let now = rest.counter("/bytes/to_provider");
                ensure(std::mem::replace(&mut moved, now) == now, format_args!("{now}"))
            });
            let grown = peak_kib(rest.mesh.pid()).saturating_sub(before);
            assert!(grown < 16 * 1024, "an upload that stands still took {grown} KiB");
            rest.provider.open("go");
            assert_eq!(client.answer().body, "got it");
        });
        let records = rest.provider.records();
        assert_eq!(records.only("/upload").length, SIZE as u64);
    });
}

#[test]
fn many_slow_consumers_cost_bounded_memory() {
    run_alone(|sandbox| {
        let rest = Rest::start(sandbox);
        rest.provider.on("/big", generated(1, 64 << 20));
        let before = peak_kib(rest.mesh.pid());
        let clients: Vec<_> = (0..100).map(|_| rest.connect()).collect();
        for client in &clients {
            client.ask("GET", "/big", "");
        }
        rest.provider.wait("all requests", |records| records.requests().count() == 100);
        rest.connect().get("/");
        let grown = peak_kib(rest.mesh.pid()).saturating_sub(before);
        assert!(grown < 64 * 1024, "100 slow consumers took {grown} KiB");
        drop(clients);
        // One waits for other requests.
        eventually("their connections end", || {
            let open = rest.provider.open_connections();
            ensure(open <= 1, format_args!("{open} are open"))
        });
    });
}

#[test]
fn nothing_is_left_of_many_requests() {
    run(|sandbox| {
        let mut rest = Rest::start(sandbox);
        rest.connect().get("/");
        let before = fd_count(rest.mesh.pid());
        for round in 0..30 {
            let mut clients: Vec<_> = (0..20).map(|_| rest.connect()).collect();
            for (number, client) in clients.iter_mut().enumerate() {
                match number % 4 {
                    0 => drop(client.get("/")),
                    1 => client.send("GET / HTTP/9.9\r\n\r\n"),
                    2 => client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf"),
                    _ => {}
                }
            }
            if round == 15 {
                rest.stop_provider();
                rest.start_provider(Plan::new());
            }
        }
        eventually("all connections end", || {
            let open = rest.counter("/connections/open");
            ensure(open == 0, format_args!("{open} are open"))
        });
        wait_fds_at_most(rest.mesh.pid(), before);
    });
}
