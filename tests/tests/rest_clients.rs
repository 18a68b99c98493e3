//! Clients and servers as others wrote them, inside of containers, over a rest link: they notice nothing of it, and
//! the provider sees each time who asks.

use serde_json::Value;
use xconnect_tests::guests::{container, find, json, printed, script};
use xconnect_tests::rest::Rest;
use xconnect_tests::wait::ensure;
use xconnect_tests::{Sandbox, eventually, run};

/// A link whose consumer and provider see the host's programs; the provider of the harness is there.
fn start(sandbox: &Sandbox) -> Rest {
    Rest::between(sandbox, container(sandbox), container(sandbox), |link| link)
}

/// Replaces the harness's provider by a script.
fn serve(rest: &mut Rest, python: &str, name: &str, text: &str) {
    rest.stop_provider();
    let script = script(&rest.house, name, text);
    rest.house.start_program(&[python, &script, rest.link.socket()], "/tmp/server.log");
    eventually("the script listens", || {
        ensure(rest.house.exists(rest.link.socket()), format_args!("{:?}", rest.house.read("/tmp/server.log")))
    });
}

/// Runs curl with these arguments; gives what it printed.
#[track_caller]
fn curl(rest: &Rest, arguments: &[&str], input: &str) -> Value {
    let usual = ["/usr/bin/curl", "--silent", "--show-error", "--fail", "--unix-socket", rest.link.target()];
    json(&rest.consumer, &[&usual[..], arguments].concat(), input)
}

#[test]
fn curl_gets_posts_and_uploads() {
    run(|sandbox| {
        let Some(_) = find("curl") else { return };
        let rest = start(sandbox);
        let report = curl(&rest, &["-H", "X-PV-Client: evil", "-H", "X_PV_Role: admin", "http://api/get?x=y"], "");
        rest.assert_reported(&report);
        assert_eq!(report["line"], "GET /get?x=y HTTP/1.1");

        let report = curl(&rest, &["--data", "a=b&c=d", "http://api/post"], "");
        rest.assert_reported(&report);
        assert_eq!((&report["line"], &report["length"]), (&"POST /post HTTP/1.1".into(), &7.into()));

        let body = "0123456789".repeat(10_000);
        let chunked = ["-H", "Transfer-Encoding: chunked", "--data-binary", "@-", "http://api/chunked"];
        let report = curl(&rest, &chunked, &body);
        rest.assert_reported(&report);
        assert_eq!(report["length"], body.len());
        assert!(report["chunks"].as_u64() > Some(0), "{report}");

        let report = curl(&rest, &["-T", "-", "http://api/put"], &body);
        rest.assert_reported(&report);
        assert_eq!((&report["line"], &report["length"]), (&"PUT /put HTTP/1.1".into(), &body.len().into()));

        rest.consumer.write("/tmp/file", &body);
        let expect = ["-H", "Expect: 100-continue", "-T", "/tmp/file", "http://api/expect"];
        let report = curl(&rest, &expect, "");
        rest.assert_reported(&report);
        assert_eq!(report["length"], body.len());
        assert!(rest.provider.records().only("/expect").head.get("expect").is_some());
    });
}

#[test]
fn curl_uses_one_connection_for_several_requests_and_http_1_0_for_one() {
    run(|sandbox| {
        let Some(curl) = find("curl") else { return };
        let rest = start(sandbox);
        let several = [&curl, "-s", "--unix-socket", rest.link.target(), "http://api/1", "http://api/2", "http://api/3"];
        let out = printed(&rest.consumer, &several, "");
        assert_eq!(out.matches("\"x-pv-client\":\"consumer\"").count(), 3, "{out}");
        assert_eq!(rest.counter("/connections/total"), 1);
        let old = [&curl, "-s", "--http1.0", "--unix-socket", rest.link.target(), "http://api/old"];
        assert!(printed(&rest.consumer, &old, "").contains("GET /old HTTP/1.1"));
        let head = [&curl, "-s", "-I", "--unix-socket", rest.link.target(), "http://api/head"];
        assert!(printed(&rest.consumer, &head, "").starts_with("HTTP/1.1 200"));
        for seen in rest.provider.records().requests() {
            rest.assert_identity(seen);
        }
    });
}

#[test]
fn curl_sees_a_denial_and_a_missing_provider() {
    run(|sandbox| {
        let Some(curl) = find("curl") else { return };
        let mut rest = Rest::between(sandbox, container(sandbox), container(sandbox), |link| {
            link.option("connect_timeout", 1).rest("allow", serde_json::json!([{"path": "/api"}]))
        });
        let ask = |rest: &Rest, path: &str| {
            let url = format!("http://api{path}");
            let arguments = ["-s", "--path-as-is", "-w", "\n%{http_code}", "--unix-socket", rest.link.target(), &url];
            let program = [&[curl.as_str()], &arguments[..]].concat();
            let out = printed(&rest.consumer, &program, "");
            let (body, status) = out.rsplit_once('\n').unwrap();
            (status.to_owned(), serde_json::from_str::<Value>(body).unwrap())
        };
        let (status, body) = ask(&rest, "/api/../secret");
        assert_eq!((status.as_str(), &body["role"]), ("403", &"operator".into()));
        assert_eq!(ask(&rest, "/api").0, "200");
        rest.stop_provider();
        let (status, body) = ask(&rest, "/api");
        assert_eq!(status, "503", "{body}");
    });
}

#[test]
fn pythons_client_reaches_pythons_server() {
    run(|sandbox| {
        let Some(python) = find("python3") else { return };
        let mut rest = start(sandbox);
        serve(&mut rest, &python, "server.py", include_str!("../data/guests/server.py"));
        let script = script(&rest.consumer, "client.py", include_str!("../data/guests/client.py"));
        let answers = json(&rest.consumer, &[&python, &script, rest.link.target()], "");
        let lines = ["GET /py/get", "POST /py/post", "PUT /py/chunks", "HEAD /py/head", "DELETE /py/last"];
        assert_eq!(answers.as_array().map(Vec::len), Some(lines.len()), "{answers}");
        for (answer, line) in answers.as_array().unwrap().iter().zip(lines) {
            assert_eq!(answer["status"], 200, "{answer}");
            if line.starts_with("HEAD") {
                continue;
            }
            assert_eq!(answer["body"]["line"], format!("{line} HTTP/1.1"));
            let fields = answer["body"]["fields"].as_array().unwrap();
            let of_us: Vec<_> = fields
                .iter()
                .map(|field| (field[0].as_str().unwrap().to_lowercase().replace('_', "-"), &field[1]))
                .filter(|(name, _)| name.starts_with("x-pv-") && name != "x-pv-link-id")
                .collect();
            let wanted = [("x-pv-client", "consumer"), ("x-pv-role", "operator")];
            assert_eq!(of_us.len(), 2, "{answer}");
            assert!(wanted.iter().all(|(n, v)| of_us.iter().any(|(name, value)| name == n && *value == v)), "{answer}");
        }
        assert_eq!(answers[1]["body"]["length"], 100_000);
        // The numbers from 0 to 49, one after the other.
        assert_eq!(answers[2]["body"]["length"], 90);
    });
}

#[test]
fn pythons_client_reads_what_the_harness_answers_and_curl_what_python_does() {
    run(|sandbox| {
        let (Some(python), Some(_)) = (find("python3"), find("curl")) else { return };
        let mut rest = start(sandbox);
        let script = script(&rest.consumer, "client.py", include_str!("../data/guests/client.py"));
        let answers = json(&rest.consumer, &[&python, &script, rest.link.target()], "");
        for answer in answers.as_array().unwrap().iter().filter(|answer| !answer["body"].is_null()) {
            rest.assert_reported(&answer["body"]);
        }
        serve(&mut rest, &python, "server.py", include_str!("../data/guests/server.py"));
        assert_eq!(curl(&rest, &["http://api/chunks"], "")["line"], "GET /chunks HTTP/1.1");
        let upload = curl(&rest, &["-H", "Transfer-Encoding: chunked", "-T", "-", "http://api/chunks"], "hello");
        assert_eq!(upload["length"], 5);
    });
}

#[test]
fn nodes_websocket_reaches_pythons() {
    run(|sandbox| {
        let (Some(python), Some(node)) = (find("python3"), find("node")) else { return };
        let mut rest = start(sandbox);
        serve(&mut rest, &python, "websocket.py", include_str!("../data/guests/websocket.py"));
        let script = script(&rest.consumer, "websocket.js", include_str!("../data/guests/websocket.js"));
        let got = json(&rest.consumer, &[&node, &script, rest.link.target()], "");
        assert_eq!(got["accepted"], true, "{got}");
        let wanted = serde_json::json!([[1, 8, "consumer"], [1, 5, "hello"], [2, 60000, "x".repeat(20)], [1, 3, "bye"]]);
        assert_eq!(got["messages"], wanted);
        rest.mesh.wait_counter(&rest.link, "/http/upgrades", 1);
    });
}
