//! Which requests a role may make: rules about method and path, and the ways around them that are none.

use serde_json::{Value, json};
use xconnect_tests::rest::{Answer, Rest};
use xconnect_tests::{Sandbox, run};

fn with(sandbox: &Sandbox, allow: Value) -> Rest {
    Rest::start_with(sandbox, |link| link.rest("allow", allow))
}

/// What comes of a request, on a connection of its own; what did not get 200 has not reached the provider.
fn status(rest: &Rest, method: &str, target: &str) -> u16 {
    let before = rest.provider.records().requests().count();
    let answer = rest.connect().call(method, target, "");
    let seen = rest.provider.records().requests().count() - before;
    assert_eq!(seen, usize::from(answer.status == 200), "{method} {target}: {answer:?}");
    answer.status
}

fn assert_all(rest: &Rest, cases: &[(&str, &str, u16)]) {
    let wrong: Vec<_> = cases
        .iter()
        .map(|(method, target, wanted)| (method, target, wanted, status(rest, method, target)))
        .filter(|(_, _, wanted, got)| *wanted != got)
        .collect();
    assert!(wrong.is_empty(), "method, target, wanted, got: {wrong:#?}");
}

#[test]
fn a_rule_is_a_prefix_on_borders_of_segments() {
    run(|sandbox| {
        let rest = with(sandbox, json!([{"path": "/api"}, {"path": "/dir/"}, {"methods": ["POST"], "path": "/post"}]));
        assert_all(
            &rest,
            &[
                ("GET", "/api", 200),
                ("DELETE", "/api", 200),
                ("GET", "/api/", 200),
                ("GET", "/api/x/y", 200),
                ("GET", "/api?x=/y", 200),
                ("GET", "/%61pi", 200),
                ("GET", "/x/../api", 200),
                ("GET", "/./api", 200),
                ("GET", "/apix", 403),
                ("GET", "/API", 403),
                ("GET", "/", 403),
                ("GET", "/x?/api", 403),
                ("GET", "/dir/", 200),
                ("GET", "/dir/x", 200),
                ("GET", "/dir", 403),
                ("POST", "/post", 200),
                ("GET", "/post", 403),
                ("HEAD", "/post", 403),
                ("post", "/post", 403),
                ("OPTIONS", "*", 403),
            ],
        );
    });
}

#[test]
fn a_rule_may_be_a_pattern() {
    run(|sandbox| {
        let allow = json!([{"path": "/v?/*/info"}, {"path": "/files/**"}, {"methods": ["GET"], "path": "/get*"}]);
        let rest = with(sandbox, allow);
        assert_all(
            &rest,
            &[
                ("GET", "/v1/x/info", 200),
                ("GET", "/v1/x/y/info", 403),
                ("GET", "/v12/x/info", 403),
                ("GET", "/v1/x/info/more", 403),
                ("GET", "/files/a/b/c", 200),
                ("GET", "/filesystem", 403),
                ("GET", "/getter", 200),
                ("HEAD", "/getter", 200),
                ("POST", "/getter", 403),
                ("GET", "/get/x", 403),
            ],
        );
    });
}

#[test]
fn there_is_no_way_around_a_rule() {
    run(|sandbox| {
        let rest = with(sandbox, json!([{"path": "/public"}]));
        let targets = [
            "/public/../secret",
            "/public/./../secret",
            "/public/%2e%2e/secret",
            "/public/.%2E/secret",
            "/public/..%2fsecret",
            "/public%2f..%2fsecret",
            "/public/%2e%2e%2fsecret",
            "/public/%252e%252e/secret",
            "/public/..%252fsecret",
            "/public/..;/secret",
            "/public/..;a=b/secret",
            "/public/%2e%2e;/secret",
            "/public\\..\\secret",
            "/public/..\\secret",
            "/public/%5c..%5csecret",
            "/public/..%5csecret",
            "//public/../secret",
            "/public//../secret",
            "/public/..//secret",
            "/public/%00/../secret",
            "/public%00",
            "/public/%0d%0a",
            "/public/%zz/../secret",
            "/public/%",
            "/public/%2",
            "/public/..%c0%af..%c0%afsecret",
            "/public/%c0%ae%c0%ae/secret",
            "/public/%ff",
            "/../public",
            "/public/../../secret",
            "/public/%u002e%u002e/secret",
            "/public%20/../secret",
            "/publi%63/..%3b/secret",
            "/secret",
            "/secret?/public",
            "/secret;/public",
            "/secret/%2e%2e/secret",
            "/.public",
            "/public.",
            "/Public",
        ];
        let rest = &rest;
        let passed: Vec<_> =
            targets.iter().filter(|target| !matches!(status(rest, "GET", target), 400 | 403)).collect();
        assert!(passed.is_empty(), "{passed:#?}");
        assert_eq!(rest.provider.records().requests().count(), 0);
        assert_eq!(status(rest, "GET", "/public/fine"), 200);
    });
}

#[test]
fn what_can_be_read_in_two_ways_is_refused_where_there_are_rules() {
    run(|sandbox| {
        let rest = with(sandbox, json!([{"path": "/"}]));
        let ambiguous = [
            "/a%2fb", "/a%2Fb", "/a%5cb", "/a\\b", "/a%00", "/a%1f", "/a%7f", "/a%252e", "/a//b", "//", "/..", "/a/../..", "/a/..;x",
            "/%", "/%1", "/%gg", "/%ff",
        ];
        let wrong: Vec<_> = ambiguous.iter().filter(|target| status(&rest, "GET", target) != 400).collect();
        assert!(wrong.is_empty(), "not refused: {wrong:#?}");
        assert_all(
            &rest,
            &[("GET", "/", 200), ("GET", "/a/../b", 200), ("GET", "/%c3%a4?%2f//%00", 200), ("OPTIONS", "*", 200), ("GET", "/a;b=c", 200), ("GET", "/%25", 200)],
        );
    });
}

#[test]
fn without_rules_the_path_is_the_providers() {
    run(|sandbox| {
        let open = Rest::start(sandbox);
        for target in ["/a%2fb", "/a\\b", "//x", "/a/../../b", "/%00", "/%zz"] {
            assert_eq!(status(&open, "GET", target), 200, "{target}");
            let records = open.provider.records();
            let last = records.requests().last().unwrap();
            assert_eq!(last.head.line, format!("GET {target} HTTP/1.1"));
        }
    });
}

#[test]
fn a_denial_names_link_and_rule_and_the_raw_target_goes_on() {
    run(|sandbox| {
        let rest = with(sandbox, json!([{"methods": ["GET"], "path": "/api"}]));
        let mut client = rest.connect();
        let denied: Answer = client.call("POST", "/api", "");
        assert_eq!(denied.status, 403);
        client.ends_as_said(&denied);
        let json = denied.json();
        let consumer_and_service = format!("{}/{}", rest.link.text("consumer"), rest.link.text("name"));
        assert!(json["link"].as_str().is_some_and(|link| link.starts_with(&consumer_and_service)), "{json}");
        assert_eq!(json["role"], rest.link.text("role"));
        for field in ["error", "link_id", "rule"] {
            assert!(json[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {json}");
        }
        rest.connect().get("/x/../%61pi/./y");
        let records = rest.provider.records();
        let seen = records.only("/x/../%61pi/./y");
        assert_eq!(rest.assert_identity(seen), json["link_id"]);
        rest.mesh.wait_counter(&rest.link, "/denied", 1);
    });
}

#[test]
fn a_denied_request_on_a_connection_that_stays_open_reaches_nobody() {
    run(|sandbox| {
        let rest = with(sandbox, json!([{"path": "/api"}]));
        let mut client = rest.connect();
        client.send(
            "GET /api/1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 31\r\n\r\n\
             GET /api/2 HTTP/1.1\r\nHost: a\r\n\r\nGET /api/3 HTTP/1.1\r\nHost: a\r\n\r\n",
        );
        assert_eq!(client.answer().status, 200);
        assert_eq!(client.answer().status, 403);
        client.ends();
        let records = rest.provider.records();
        assert_eq!(records.requests().map(|seen| seen.path()).collect::<Vec<_>>(), ["/api/1"]);
    });
}

#[test]
fn no_rule_at_all_allows_nothing() {
    run(|sandbox| {
        let rest = with(sandbox, json!([]));
        assert_all(&rest, &[("GET", "/", 403), ("OPTIONS", "*", 403)]);
    });
}

#[test]
fn a_trace_that_is_made_is_a_proper_one() {
    run(|sandbox| {
        let rest = Rest::start_with(sandbox, |link| link.rest("tracing", true));
        let mut client = rest.connect();
        for number in 0..10 {
            client.get(&format!("/{number}"));
        }
        let records = rest.provider.records();
        let traces: std::collections::BTreeSet<_> =
            records.requests().map(|seen| seen.head.get("traceparent").unwrap().to_owned()).collect();
        assert_eq!(traces.len(), 10, "each of its own: {traces:?}");
        for trace in &traces {
            let parts: Vec<_> = trace.split('-').collect();
            assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [2, 32, 16, 2], "{trace}");
            assert!(trace.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'-')), "{trace}");
            assert!(parts[0] == "00" && parts[1..3].iter().all(|part| part.bytes().any(|b| b != b'0')), "{trace}");
        }
    });
}
