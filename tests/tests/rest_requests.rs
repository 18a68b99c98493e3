//! Requests and answers of rest links as they should be: all ways of framing them, one after another on connections
//! that stay open, with the identity on each.

use xconnect_tests::rest::{Client, Plan, Provider, Rest, Step, answer, chunked, fixed, identity_of};
use xconnect_tests::{payload, run};

#[test]
fn every_request_of_a_connection_carries_the_identity() {
    run(|sandbox| {
        let rest = Rest::start(sandbox);
        let mut client = rest.connect();
        for number in 0..50 {
            let answer = client.get(&format!("/n/{number}?x=y"));
            rest.assert_reported(&answer.json());
            assert_eq!(answer.json()["line"], format!("GET /n/{number}?x=y HTTP/1.1"));
        }
        let seen = rest.provider.records();
        assert_eq!(seen.0.len(), 1, "one connection is enough");
        let ids: std::collections::BTreeSet<_> = seen.requests().map(|seen| rest.assert_identity(seen)).collect();
        assert_eq!(ids.len(), 1, "the id of a link stays: {ids:?}");
    });
}

#[test]
fn links_have_ids_and_names_of_their_own() {
    run(|sandbox| {
        let rest = Rest::start(sandbox);
        let other = xconnect_tests::Container::start(sandbox);
        let link = Rest::link("api", "other", &other, &rest.house).with("role", "guest").with("socket", "/srv/2.sock");
        let provider = Provider::start(&rest.house.listen(link.socket()), Plan::new());
        rest.mesh.apply(&[rest.link.clone(), link.clone()]);
        rest.mesh.wait(&link, "up");
        rest.connect().get("/");
        Client::from(other.connect(link.target())).get("/");
        let id = rest.assert_identity(rest.provider.records().only("/"));
        let id_of_other = identity_of(provider.records().only("/"), "other", "guest").unwrap();
        assert_ne!(id, id_of_other);
    });
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    run(|sandbox| {
        const COUNT: usize = 40;
        let rest = Rest::start(sandbox);
        rest.provider.on("/slow", [vec![Step::Body, Step::Wait(100)], vec![Step::Report]].concat());
        let mut client = rest.connect();
        let mut all = String::new();
        for number in 0..COUNT {
            let path = if number % 10 == 0 { "/slow" } else { "/fast" };
            let length = number * 7;
            all += &format!(
                "POST {path}?{number} HTTP/1.1\r\nHost: a\r\nX-Nonce: {number}\r\nContent-Length: {length}\r\n\r\n{}",
                "x".repeat(length)
            );
        }
        client.send(all);
        for number in 0..COUNT {
            let report = client.answer().json();
            assert_eq!((&report["nonce"], &report["length"]), (&number.to_string().into(), &(number * 7).into()));
            rest.assert_reported(&report);
        }
        client.shutdown();
        client.ends();
    });
}

#[test]
fn a_consumer_that_ends_its_side_gets_all_its_answers() {
    run(|sandbox| {
        let rest = Rest::start(sandbox);
        rest.provider.on("/slow", vec![Step::Body, Step::Gate("go".into()), Step::Report]);
        let mut client = rest.connect();
        client.ask("GET", "/slow", "");
        client.ask("GET", "/then", "");
        client.shutdown();
        rest.provider.wait_for("/slow");
        rest.provider.open("go");
        assert_eq!(client.answer().json()["line"], "GET /slow HTTP/1.1");
        assert_eq!(client.answer().json()["line"], "GET /then HTTP/1.1");
        client.ends();
    });
}

#[test]
fn http_1_0_closes_after_the_answer_unless_asked_to_stay() {
    run(|sandbox| {
        let rest = Rest::start(sandbox);
        let mut client = rest.connect();
        client.send("GET /a HTTP/1.0\r\n\r\n");
        client.shutdown();
        rest.assert_reported(&client.answer().json());
        client.ends();

        let mut client = rest.connect();
        for number in 0..3 {
            client.send(format!("GET /{number} HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
            let answer = client.answer();
            assert!(answer.head.all("connection").any(|value| value.eq_ignore_ascii_case("keep-alive")), "{answer:?}");
            rest.assert_reported(&answer.json());
        }
        client.send("GET /last HTTP/1.0\r\n\r\n");
        rest.assert_reported(&client.answer().json());
        client.ends();
    });
}

#[test]
fn chunks_are_unwrapped_for_http_1_0() {
    run(|sandbox| {
        let rest = Rest::start(sandbox);
        rest.provider.on("/chunks", chunked(&["one ", "two ", "three"], "X-Sum: 3\r\n"));
        for keep in ["", "Connection: keep-alive\r\n"] {
            let mut client = rest.connect();
            client.send(format!("GET /chunks HTTP/1.0\r\n{keep}\r\n"));
            let answer = client.answer();
            assert_eq!((answer.body.as_str(), answer.chunked), ("one two three", false), "{answer:?}");
            assert!(answer.head.all("transfer-encoding").next().is_none(), "{answer:?}");
            client.ends();
        }
    });
}

#[test]
fn head_204_and_304_have_no_body_and_the_connection_goes_on() {
    run(|sandbox| {
        let rest = Rest::start(sandbox);
        rest.provider.on("/head", answer("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"));
        rest.provider.on("/head-chunked", answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"));
        rest.provider.on("/204", answer("HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n"));
        rest.provider.on("/304", answer("HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\nETag: \"x\"\r\n\r\n"));
        let mut client = rest.connect();
        for _ in 0..2 {
            let head = client.call("HEAD", "/head", "");
            assert_eq!((head.status, head.head.get("content-length")), (200, Some("1000")));
            assert_eq!(client.call("HEAD", "/head-chunked", "").status, 200);
            let none = client.call("GET", "/204", "");
            assert_eq!((none.status, none.head.get("x-a")), (204, Some("b")));
            assert!(none.head.get("content-length").is_none() && none.head.get("transfer-encoding").is_none());
            let same = client.call("GET", "/304", "");
            assert_eq!((same.status, same.head.get("etag")), (304, Some("\"x\"")));
            client.get("/");
        }
        assert_eq!(rest.provider.connections(), 1);
    });
}

#[test]
fn chunks_and_trailers_pass_both_ways() {
    run(|sandbox| {
        let rest = Rest::start(sandbox);
        rest.provider.on("/trailers", chunked(&["a", "bc"], "X-Sum: 3\r\nX-Other: y\r\n"));
        let mut client = rest.connect();
        client.ask("POST", "/trailers", "Transfer-Encoding: chunked\r\nTE: trailers\r\nConnection: TE\r\n");
        client.send("5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nX-Up: 11\r\n\r\n");
        let answer = client.answer();
        assert!(answer.chunked);
        assert_eq!(answer.body, "abc");
        let trailers = [("X-Sum", "3"), ("X-Other", "y")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(answer.trailers, trailers);
        let records = rest.provider.records();
        let seen = records.only("/trailers");
        assert_eq!((seen.body.as_str(), seen.complete), ("hello world", true));
        assert_eq!(seen.trailers, [("X-Up".to_owned(), "11".to_owned())]);
        assert!(!records.0[0].raw.contains("ext=1"), "extensions of chunks are dropped");
    });
}

#[test]
fn bodies_of_many_sizes_come_back_as_they_were() {
    run(|sandbox| {
        let rest = Rest::start(sandbox);
        rest.provider.on("/echo", vec![Step::Echo]);
        for (seed, size) in (1..).zip([0, 1, 2, 1000, 4096, 65_535, 65_536, 65_537, 300_001]) {
            // An answer that begins before all of its request was sent is the connection's last.
            let mut client = rest.connect();
            let body = payload::bytes(seed, size);
            client.ask("POST", "/echo", &format!("Content-Length: {size}\r\n"));
            let answer = both_ways(&mut client, &body);
            payload::assert_same("by length", &xconnect_tests::rest::to_bytes(&answer.body), &body);
            if client.ends_as_said(&answer) {
                client = rest.connect();
            }
            client.ask("PUT", "/echo", "Transfer-Encoding: chunked\r\n");
            let mut framed = Vec::new();
            for chunk in body.chunks(1 + size / 7) {
                framed.extend(format!("{:X}\r\n", chunk.len()).bytes());
                framed.extend(chunk);
                framed.extend(b"\r\n");
            }
            framed.extend(b"0\r\n\r\n");
            let answer = both_ways(&mut client, &framed);
            assert!(answer.chunked);
            payload::assert_same("by chunks", &xconnect_tests::rest::to_bytes(&answer.body), &body);
            client.ends_as_said(&answer);
        }
    });
}

/// Sends and reads at once, as the echo begins before all was sent.
fn both_ways(client: &mut Client, body: &[u8]) -> xconnect_tests::rest::Answer {
    let writer = client.socket().dup();
    std::thread::scope(|scope| {
        scope.spawn(move || writer.send(body));
        client.answer()
    })
}

#[test]
fn an_answer_without_framing_ends_with_the_connection() {
    run(|sandbox| {
        let rest = Rest::start(sandbox);
        for version in ["1.0", "1.1"] {
            let head = format!("HTTP/{version} 200 OK\r\nX-A: b\r\n\r\nto the end");
            rest.provider.on("/old", [answer(head), vec![Step::Close]].concat());
            let mut client = rest.connect();
            let answer = client.get("/old");
            assert_eq!((answer.body.as_str(), answer.head.get("x-a")), ("to the end", Some("b")));
            client.ends();
        }
    });
}

#[test]
fn expect_100_continue_is_the_providers_to_answer() {
    run(|sandbox| {
        let rest = Rest::start(sandbox);
        rest.provider.on("/no", fixed("403 Forbidden", "", "no"));
        let mut client = rest.connect();
        client.ask("POST", "/yes", "Expect: 100-continue\r\nContent-Length: 5\r\n");
        assert_eq!(client.head().unwrap().0, 100);
        client.send("hello");
        let answer = client.answer();
        assert_eq!((answer.status, &answer.json()["length"]), (200, &5.into()));
        assert!(rest.provider.records().only("/yes").head.get("expect").is_some());

        // A provider that does not want the body says so at once.
        rest.provider.on("/no", vec![Step::Send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".into())]);
        client.ask("POST", "/no", "Expect: 100-continue\r\nContent-Length: 5\r\n");
        let answer = client.answer();
        assert_eq!((answer.status, answer.body.as_str(), answer.interim.len()), (403, "no", 0));
    });
}

#[test]
fn interim_answers_pass_to_http_1_1_alone() {
    run(|sandbox| {
        let rest = Rest::start(sandbox);
        let early = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
        rest.provider.on("/hints", [answer(early), fixed("200 OK", "", "done")].concat());
        let mut client = rest.connect();
        let answer = client.get("/hints");
        assert_eq!(answer.interim.len(), 2);
        assert_eq!(answer.interim[0].get("link"), Some("</a.css>"));
        assert_eq!(answer.body, "done");
        client.send("GET /hints HTTP/1.0\r\n\r\n");
        let answer = client.answer();
        assert_eq!((answer.interim.len(), answer.body.as_str()), (0, "done"));
    });
}

#[test]
fn an_answer_that_comes_before_the_body_passes_at_once() {
    run(|sandbox| {
        let rest = Rest::start(sandbox);
        rest.provider.on("/early", vec![Step::Send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly".into())]);
        let mut client = rest.connect();
        client.ask("POST", "/early", "Content-Length: 10\r\n");
        client.send("12345");
        let answer = client.answer();
        assert_eq!(answer.body, "early");
        // What comes of the body later is the body still, or the connection's end; it is never the next request.
        let _ = client.socket().try_send(b"67890GET /no HTTP/1.1\r\nHost: a\r\n\r\n", &[]);
        if !client.ends_as_said(&answer) {
            rest.assert_reported(&client.answer().json());
        }
        rest.connect().get("/next");
        let records = rest.provider.wait("what comes", xconnect_tests::rest::Records::is_settled);
        assert!("1234567890".starts_with(&records.only("/early").body), "{records:?}");
    });
}

#[test]
fn hop_by_hop_fields_of_answers_do_not_pass() {
    run(|sandbox| {
        let rest = Rest::start(sandbox);
        let fields = "Connection: X-Private, keep-alive\r\nX-Private: y\r\nKeep-Alive: timeout=5\r\n\
                      Proxy-Authenticate: Basic\r\nX-Public: z\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n";
        rest.provider.on("/", fixed("200 OK", fields, "x"));
        let answer = rest.connect().get("/");
        for name in ["x-private", "keep-alive"] {
            assert!(answer.head.all(name).next().is_none(), "{name}: {answer:?}");
        }
        assert!(!answer.head.all("connection").any(|value| value.to_lowercase().contains("private")), "{answer:?}");
        assert_eq!(answer.head.get("x-public"), Some("z"));
        assert_eq!(answer.head.all("set-cookie").collect::<Vec<_>>(), ["a=b", "c=d"]);
    });
}

#[test]
fn a_provider_that_closes_after_each_answer_is_connected_to_anew() {
    run(|sandbox| {
        let rest = Rest::start(sandbox);
        rest.provider.on("/", [fixed("200 OK", "Connection: close\r\n", "x"), vec![Step::Close]].concat());
        let mut client = rest.connect();
        for _ in 0..5 {
            assert_eq!(client.get("/").body, "x");
        }
        assert_eq!(rest.provider.connections(), 5);
        assert_eq!(rest.provider.records().requests().count(), 5);
    });
}
