//! What the mesh tells about the requests of a link.

use serde_json::Value;
use xconnect_tests::rest::{Rest, Step, answer, fixed};
use xconnect_tests::wait::ensure;
use xconnect_tests::{OrFail, eventually, run};

/// Waits until counters of the link have these values.
#[track_caller]
fn wait(rest: &Rest, wanted: &[(&str, u64)]) {
    eventually("the counters", || {
        let counters = rest.mesh.entry(&rest.link)?["counters"].clone();
        let wrong: Vec<_> = wanted
            .iter()
            .filter(|(pointer, value)| counters.pointer(pointer).and_then(Value::as_u64) != Some(*value))
            .collect();
        ensure(wrong.is_empty(), format_args!("{wrong:?} in {counters}"))
    });
}

#[test]
fn requests_are_counted_by_method_and_by_end() {
    run(|sandbox| {
        let rest =
            Rest::start_with(sandbox, |link| link.rest("allow", serde_json::json!([{"path": "/api"}])));
        rest.provider.on("/api/404", fixed("404 Not Found", "", "x"));
        rest.provider.on("/api/302", fixed("302 Found", "Location: /\r\n", "x"));
        rest.provider.on("/api/500", fixed("500 Oh", "", "x"));
        rest.provider.on(
            "/api/cut",
            [answer("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"), vec![Step::Close]].concat(),
        );
        let mut client = rest.connect();
        for (method, path) in [
            ("GET", "/api"),
            ("GET", "/api/404"),
            ("HEAD", "/api"),
            ("POST", "/api/302"),
            ("PUT", "/api"),
            ("DELETE", "/api"),
            ("PATCH", "/api/500"),
            ("OPTIONS", "/api"),
            ("FROB", "/api"),
        ] {
            client.call(method, path, "");
        }
        rest.connect().call("GET", "/no", "");
        let mut bad = rest.connect();
        bad.send("GET / HTTP/9.9\r\n\r\n");
        bad.answer();
        let mut cut = rest.connect();
        cut.ask("GET", "/api/cut", "");
        let _ = cut.try_answer("GET", &mut xconnect_tests::rest::Answer::default());
        wait(
            &rest,
            &[
                ("/http/requests/open", 0),
                ("/http/requests/total", 12),
                ("/http/requests/GET", 4),
                ("/http/requests/HEAD", 1),
                ("/http/requests/POST", 1),
                ("/http/requests/PUT", 1),
                ("/http/requests/DELETE", 1),
                ("/http/requests/PATCH", 1),
                ("/http/requests/OPTIONS", 1),
                ("/http/requests/other", 2),
                ("/http/answers/2xx", 6),
                ("/http/answers/3xx", 1),
                ("/http/answers/4xx", 1),
                ("/http/answers/5xx", 1),
                ("/http/answers/cut", 1),
                ("/http/answers/denied", 1),
                ("/http/answers/refused", 1),
                ("/denied", 1),
            ],
        );
        let entry = rest.mesh.entry(&rest.link).or_fail("entry");
        assert!(entry["counters"]["http"]["latency_us"]["count"].as_u64() >= Some(9), "{entry}");
        assert!(entry["counters"]["bytes"]["to_provider"].as_u64() > Some(0), "{entry}");
        assert!(entry["counters"]["bytes"]["to_consumer"].as_u64() > Some(0), "{entry}");
    });
}

#[test]
fn requests_under_way_connections_and_upgrades_are_counted() {
    run(|sandbox| {
        let rest = Rest::start(sandbox);
        rest.provider.on("/held", vec![Step::Body, Step::Gate("go".into()), Step::Report]);
        let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
        rest.provider.on("/up", vec![Step::Send(switch.into()), Step::Relay, Step::Close]);
        let mut held = rest.connect();
        held.ask("GET", "/held", "");
        wait(&rest, &[("/http/requests/open", 1), ("/connections/open", 1), ("/http/upstream/opened", 1)]);
        rest.provider.open("go");
        held.answer();
        wait(&rest, &[("/http/requests/open", 0), ("/http/upstream/idle", 1), ("/http/upstream/reused", 0)]);
        held.get("/");
        wait(&rest, &[("/http/upstream/opened", 1), ("/http/upstream/reused", 1)]);
        assert_eq!(held.call("GET", "/up", "Connection: upgrade\r\nUpgrade: x\r\n").status, 101);
        held.send("hello");
        assert_eq!(held.exact(5), b"hello");
        held.shutdown();
        held.ends();
        wait(&rest, &[("/http/upgrades", 1), ("/connections/open", 0), ("/http/requests/open", 0)]);
    });
}

#[test]
fn retries_and_timeouts_are_counted() {
    run(|sandbox| {
        let rest = Rest::start_with(sandbox, |link| link.rest("response_timeout", 1));
        rest.provider.on("/silent", vec![Step::Body, Step::Hang]);
        rest.provider.on("/die", vec![Step::Body, Step::Close]);
        let mut client = rest.connect();
        client.get("/");
        assert_eq!(client.call("GET", "/die", "").status, 503);
        wait(&rest, &[("/http/retried", 1), ("/http/timeouts", 0)]);
        assert_eq!(rest.connect().call("GET", "/silent", "").status, 504);
        wait(&rest, &[("/http/retried", 1), ("/http/timeouts", 1)]);
    });
}

#[test]
fn a_tunnel_is_no_open_request_and_its_bytes_are_counted_to_the_last() {
    run(|sandbox| {
        const LENGTH: usize = 5000;
        let rest = Rest::start(sandbox);
        let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
        rest.provider.on("/up", vec![Step::Send(switch.into()), Step::Relay, Step::Close]);
        for round in 1..=10 {
            let mut client = rest.connect();
            assert_eq!(client.call("GET", "/up", "Connection: upgrade\r\nUpgrade: x\r\n").status, 101);
            wait(&rest, &[("/http/requests/open", 0), ("/connections/open", 1), ("/http/upgrades", round)]);
            let before = (rest.counter("/bytes/to_provider"), rest.counter("/bytes/to_consumer"));
            // The last bytes and the end come at once, on both ways.
            client.send("x".repeat(LENGTH));
            client.shutdown();
            assert_eq!(client.exact(LENGTH), "x".repeat(LENGTH).as_bytes());
            client.ends();
            wait(
                &rest,
                &[
                    ("/connections/open", 0),
                    ("/bytes/to_provider", before.0 + LENGTH as u64),
                    ("/bytes/to_consumer", before.1 + LENGTH as u64),
                ],
            );
        }
    });
}
