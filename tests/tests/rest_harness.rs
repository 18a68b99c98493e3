//! The harness of the rest tests itself: the provider records and answers as it is told, the reader is strict, and the
//! judge of the corpus notices what a mesh could get wrong.

use xconnect_tests::rest::corpus::all;
use xconnect_tests::rest::{
    Answer, Client, Pace, Plan, Provider, Step, Trouble, answer, chunked, fixed, from_lines, generated,
    judge, replay, to_lines,
};
use xconnect_tests::{Container, payload, run};

const SOCKET: &str = "/srv/x.sock";

/// A provider, and a connection to it without a mesh between.
fn direct(house: &Container, plan: Plan) -> (Provider, Client) {
    let provider = Provider::start(&house.listen(SOCKET), plan);
    let client = Client::from(house.connect(SOCKET));
    (provider, client)
}

#[test]
fn a_provider_answers_as_it_is_told_and_records_every_byte() {
    run(|sandbox| {
        let house = Container::start(sandbox);
        let (provider, mut client) = direct(&house, Plan::new());
        provider.on("/fixed", fixed("404 No", "X-A: b\r\n", "hello"));
        provider.on("/chunked", chunked(&["a", "bc"], "X-T: u\r\n"));
        provider.on("/generated", generated(7, 100_000));
        provider.on("/echo", vec![Step::Echo]);
        let got = client.call("GET", "/fixed", "");
        assert_eq!((got.status, got.head.get("x-a"), got.body.as_str()), (404, Some("b"), "hello"));
        let got = client.call("GET", "/chunked", "");
        assert_eq!((got.body.as_str(), got.trailers.len(), got.chunked), ("abc", 1, true));
        let block = payload::bytes(7, 65536);
        let wanted = [&block[..], &block[..100_000 - 65536]].concat();
        let got = client.call("GET", "/generated", "");
        payload::assert_same("generated", &xconnect_tests::rest::to_bytes(&got.body), &wanted);
        client.ask("POST", "/echo", "Transfer-Encoding: chunked\r\n");
        client.send("2\r\nab\r\n0\r\nX: y\r\n\r\n");
        assert_eq!(client.answer().body, "ab");
        let records = provider.records();
        assert_eq!((records.0.len(), records.requests().count(), records.wrong().len()), (1, 4, 0));
        assert_eq!(records.only("/echo").chunks, [2]);
        assert!(records.0[0].raw.ends_with("\r\n\r\n2\r\nab\r\n0\r\nX: y\r\n\r\n"), "{records:?}");
        assert_eq!(from_lines(&to_lines(&records)).0, records.0);
    });
}

#[test]
fn a_provider_within_a_container_tells_what_it_has_seen() {
    run(|sandbox| {
        let house = Container::start(sandbox);
        house.rest_provider(SOCKET, Plan::from([("/x".to_owned(), fixed("200 OK", "", "told"))]));
        let mut client = Client::from(house.connect(SOCKET));
        assert_eq!(client.get("/x").body, "told");
        let records = house.rest_records(SOCKET);
        assert_eq!(records.only("/x").head.line, "GET /x HTTP/1.1");
        // It runs as root and so do the tests; the process of another namespace has no number there.
        assert_eq!((records.0[0].uid, records.0[0].gid), (0, 0));
    });
}

#[test]
fn the_reader_takes_nothing_but_what_is_proper() {
    run(|sandbox| {
        let house = Container::start(sandbox);
        for bytes in [
            "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
            "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\na\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
            "ICY 200 OK\r\n\r\n",
        ] {
            let (provider, mut client) = direct(&house, Plan::new());
            provider.on("/", answer(bytes));
            client.ask("GET", "/", "");
            let ended = client.try_answer("GET", &mut Answer::default());
            assert!(matches!(ended, Err(Trouble::Wrong(_))), "{bytes:?}: {ended:?}");
            drop(provider);
            house.remove(SOCKET);
        }
        let (provider, client) = direct(&house, Plan::new());
        client.send("GET / HTTP/1.1\nHost: a\n\n");
        provider.wait("that it is wrong", |records| !records.wrong().is_empty());
    });
}

#[test]
fn without_a_mesh_no_case_passes() {
    run(|sandbox| {
        let house = Container::start(sandbox);
        let (provider, _client) = direct(&house, Plan::new());
        let mut passed = Vec::new();
        // Those where nothing is said of the answer may pass anywhere; some would wait for ever.
        for case in all().into_iter().filter(|case| !case.any && !case.requests.is_empty() && !case.closes) {
            if case.statuses.iter().flatten().any(|status| *status != 200) {
                continue;
            }
            let before = provider.records();
            let mut client = Client::from(house.connect(SOCKET));
            client.socket().set_timeout(std::time::Duration::from_millis(100));
            let outcome = replay(&mut client, &case, Pace::Parts);
            let seen = provider.records().since(&before);
            if judge(&case, &outcome, &seen, "consumer", "operator").is_empty() {
                passed.push(case.name);
            }
        }
        // There is no identity on any request.
        assert_eq!(passed.len(), 0, "{passed:#?}");
    });
}
