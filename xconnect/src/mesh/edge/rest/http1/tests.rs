//! Heads as a whole: what is refused, and what the provider sees of what goes on.

use proptest::prelude::*;

use super::*;
use crate::graph::{Forwarded, Tracing};

const LIMIT: HeadLimit = HeadLimit(65_536);
const REWRITE: Rewrite<'static> = Rewrite {
    identity: b"X-PV-Client: web\r\nX-PV-Role: reader\r\n",
    forwarded: Forwarded::Drop,
    tracing: Tracing::Pass,
    ruled: true,
};

/// The head that the provider gets.
fn pass_with(rewrite: &Rewrite<'_>, head: &[u8]) -> Result<String, Refusal> {
    let end = HeadScan::default().find(head)?.ok_or(Refusal::bad("not whole"))?;
    let mut fields = Fields::default();
    let request = Request::read(&head[..end], &mut fields, LIMIT)?;
    let mut out = Vec::new();
    request.write(rewrite, &mut Seed::new(1), &mut out);
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn pass(head: &[u8]) -> Result<String, Refusal> {
    pass_with(&REWRITE, head)
}

fn with_fields(fields: &str) -> Vec<u8> {
    format!("POST /a HTTP/1.1\r\nHost: h\r\n{fields}\r\n").into_bytes()
}

/// The fields that go on of those given, without Host and the identity.
fn remaining(fields: &str) -> String {
    let out = pass(&with_fields(fields)).unwrap_or_else(|refusal| panic!("{fields:?}: {refusal:?}"));
    let rest = out.strip_prefix("POST /a HTTP/1.1\r\nHost: h\r\n").unwrap();
    rest.strip_suffix("X-PV-Client: web\r\nX-PV-Role: reader\r\n\r\n").unwrap().to_owned()
}

#[test]
fn what_is_plain_goes_on_with_the_identity_behind_it() {
    let head = b"GET /a?b=c HTTP/1.1\r\nHost: h\r\nAccept: */*\r\nX-Odd:\t a b \r\n\r\n";
    let expected = "GET /a?b=c HTTP/1.1\r\nHost: h\r\nAccept: */*\r\nX-Odd: a b\r\n\
        X-PV-Client: web\r\nX-PV-Role: reader\r\n\r\n";
    assert_eq!(pass(head).unwrap(), expected);
    let old = pass(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    assert!(old.starts_with("GET / HTTP/1.1\r\nHost: localhost\r\nX-PV-Client"), "{old}");
}

#[test]
fn nobody_else_says_who_the_consumer_is() {
    for field in [
        "X-PV-Role: admin",
        "x-pv-client: a",
        "X_PV_Role: a",
        "x.pv.role: a",
        "X-Pv_Link-Id: 0",
        "x-pv-anything: a",
        "X-PV: a",
        "X-PV-Role: a\r\nX-PV-Role: b",
        "Connection: X-PV-Role\r\nX-PV-Role: b",
        "Proxy: http://a",
        "X-HTTP-Method-Override: DELETE",
        "X_Original_URL: /admin",
        "Forwarded: for=a",
        "X-Forwarded-For: a",
        "X_Forwarded_For: a",
    ] {
        assert_eq!(remaining(&format!("{field}\r\n")), "", "{field}");
    }
}

#[test]
fn fields_of_one_hop_do_not_go_on() {
    let dropped = "Connection: close, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\nProxy-Connection: close\r\n\
        Proxy-Authorization: x\r\nHTTP2-Settings: x\r\nUpgrade: h2c\r\nTransfer_Encoding: chunked\r\n\
        Content_Length: 5\r\nHost_: x\r\n";
    assert_eq!(remaining(&format!("{dropped}X-Stays: 1\r\n")), "X-Stays: 1\r\n");
    assert_eq!(remaining("TE: trailers\r\nConnection: te\r\n"), "TE: trailers\r\nConnection: TE\r\n");
    assert_eq!(remaining("Content-Length: 0\r\n"), "Content-Length: 0\r\n");
    assert_eq!(remaining("Transfer-Encoding: Chunked\r\n"), "Transfer-Encoding: chunked\r\n");
}

#[test]
fn other_protocols_are_asked_for_only_where_they_are_others() {
    let ask = |upgrade: &str| remaining(&format!("Connection: Upgrade\r\nUpgrade: {upgrade}\r\n"));
    assert_eq!(ask("websocket"), "Upgrade: websocket\r\nConnection: upgrade\r\n");
    for http in ["h2c", "websocket, h2c", "HTTP/2.0", "TLS/1.2", ",", "we b"] {
        assert_eq!(ask(http), "", "{http}");
    }
    assert_eq!(remaining("Upgrade: websocket\r\n"), "");
    let body = remaining("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n");
    assert_eq!(body, "Content-Length: 3\r\n");
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let refused = |status: u16, heads: &[&str]| {
        for head in heads {
            let result = pass(head.as_bytes()).map_err(|refusal| refusal.status);
            assert_eq!(result, Err(status), "{head:?}");
        }
    };
    let fields = |status: u16, lines: &[&str]| {
        for line in lines {
            let result = pass(&with_fields(&format!("{line}\r\n"))).map_err(|refusal| refusal.status);
            assert_eq!(result, Err(status), "{line:?}");
        }
    };
    refused(
        400,
        &[
            "GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.1 \r\nHost: h\r\n\r\n",
            "GET /\r\n\r\n",
            "GET / http/1.1\r\nHost: h\r\n\r\n",
            "GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n",
            "G(T / HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET h:80 HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET * HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /\u{e9} HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
            "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n",
        ],
    );
    refused(505, &["GET / HTTP/2.0\r\nHost: h\r\n\r\n", "GET / HTTP/1.2\r\nHost: h\r\n\r\n"]);
    refused(501, &["CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n"]);
    fields(
        400,
        &[
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: 5, 5",
            "Content-Length: +5",
            "Content-Length: 05",
            "Content-Length:",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding:",
            "Transfer-Encoding : chunked",
            "Transfer-Encoding: \u{b}chunked",
            "A: b\r\n c",
            "A: b\0c",
            ": b",
            "A b",
            "Connection: content-length",
            "Connection: a b",
        ],
    );
    fields(
        501,
        &[
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: xchunked",
            "TE: gzip",
        ],
    );
    fields(417, &["Expect: 200-ok"]);
    for host in ["a/b", "a@b", "a,b", "a b", "a:b", "[::1", "[x]", "a:123456"] {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(pass(head.as_bytes()).map_err(|refusal| refusal.status), Err(400), "{host}");
    }
    for host in ["", "a.b", "a:80", "[::1]:80", "127.0.0.1", "a_b", "xn--a"] {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert!(pass(head.as_bytes()).is_ok(), "{host}");
    }
    let many = with_fields(&"A: b\r\n".repeat(256));
    assert_eq!(pass(&many).map_err(|refusal| refusal.status), Err(431));
}

#[test]
fn traces_go_on_or_begin_here() {
    let make = Rewrite { tracing: Tracing::Make, ..REWRITE };
    let good = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
    let kept = pass_with(&make, &with_fields(&format!("{good}tracestate: a=b\r\n"))).unwrap();
    assert!(kept.contains(good) && kept.contains("tracestate: a=b"), "{kept}");
    for bad in ["traceparent: x\r\ntracestate: a=b\r\n", &good.repeat(2), ""] {
        let made = pass_with(&make, &with_fields(bad)).unwrap();
        assert_eq!(made.matches("traceparent: 00-").count(), 1, "{made}");
        assert!(!made.contains("tracestate") && !made.contains("4bf92f"), "{made}");
    }
    assert_eq!(remaining("traceparent: x\r\n"), "traceparent: x\r\n");
}

fn answer(head: &str, to_head: bool) -> Result<(u16, AnswerFraming, bool, String), Refusal> {
    let mut fields = Fields::default();
    let answer = Answer::read(head.as_bytes(), &mut fields, LIMIT, to_head)?;
    let mut out = Vec::new();
    answer.write(Delivery { version: Version::Http11, keep_alive: true, upgrade: false }, &mut out);
    Ok((answer.status, answer.framing, answer.reusable, String::from_utf8_lossy(&out).into_owned()))
}

#[test]
fn answers_end_where_they_say() {
    let framing =
        |head: &str, to_head| answer(head, to_head).map(|(_, framing, reusable, _)| (framing, reusable));
    let ok = "HTTP/1.1 200 OK\r\n";
    assert_eq!(
        framing(&format!("{ok}Content-Length: 5\r\n\r\n"), false),
        Ok((AnswerFraming::Length(5), true))
    );
    assert_eq!(framing(&format!("{ok}Content-Length: 5\r\n\r\n"), true), Ok((AnswerFraming::None, true)));
    assert_eq!(
        framing(&format!("{ok}Transfer-Encoding: chunked\r\n\r\n"), false),
        Ok((AnswerFraming::Chunked, true))
    );
    assert_eq!(framing(&format!("{ok}\r\n"), false), Ok((AnswerFraming::Close, false)));
    assert_eq!(
        framing("HTTP/1.1 204 \r\nConnection: close\r\n\r\n", false),
        Ok((AnswerFraming::None, false))
    );
    assert_eq!(framing("HTTP/1.1 304\r\nContent-Length: 5\r\n\r\n", false), Ok((AnswerFraming::None, true)));
    assert_eq!(
        framing("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false),
        Ok((AnswerFraming::None, false))
    );
    for bad in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA b\r\n\r\n",
    ] {
        assert!(answer(bad, false).is_err(), "{bad:?}");
    }
}

#[test]
fn an_answer_goes_on_without_what_is_for_one_hop() {
    let head = "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: a\r\nA: b\r\n\
        Upgrade: h2c\r\nContent-Length: 5\r\n\r\n";
    let (.., out) = answer(head, false).unwrap();
    assert_eq!(out, "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 5\r\n\r\n");
}

proptest! {
    /// Whatever goes on is read by another parser as it is by this one: one line, one framing, one identity.
    #[test]
    fn another_parser_reads_what_goes_on_alike(
        lines in proptest::collection::vec(line(), 0..6),
        method in "(GET|POST|PUT|x)",
    ) {
        let head = format!("{method} /a HTTP/1.1\r\nHost: h\r\n{}\r\n", lines.concat());
        let Ok(out) = pass(head.as_bytes()) else { return Ok(()) };
        let named = |name: &str| {
            let lines = out.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
            lines.filter(|(other, _)| {
                let other = other.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
                other.trim_end_matches('-').eq_ignore_ascii_case(name)
            }).map(|(_, value)| value.trim().to_owned()).collect::<Vec<_>>()
        };
        prop_assert_eq!(named("x-pv-client"), ["web"]);
        prop_assert_eq!(named("x-pv-role"), ["reader"]);
        prop_assert_eq!(named("host"), ["h"]);
        let (lengths, codings) = (named("content-length"), named("transfer-encoding"));
        prop_assert!(lengths.len() + codings.len() <= 1, "{}", out);
        prop_assert!(out.bytes().filter(|b| *b == b'\n').count() == out.matches("\r\n").count());
    }

    /// No input makes the parsers fail in another way than by saying so, and a chunked body never grows.
    #[test]
    fn anything_may_come(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0_usize..200) {
        let _ = pass(&bytes);
        let mut fields = Fields::default();
        let _ = Answer::read(&bytes, &mut fields, LIMIT, false);
        let mut chunked = Chunked::new(Unwrap::Keep, Trailers::new(64, Forwarded::Drop));
        let mut body = [b"5\r\n", &bytes[..cut.min(bytes.len())]].concat();
        let length = body.len();
        if let Ok(filtered) = chunked.filter(&mut body) {
            prop_assert!(filtered.produced <= filtered.consumed && filtered.consumed <= length);
        }
    }
}

/// A field line, near those that matter.
fn line() -> impl Strategy<Value = String> {
    let name = "(Content[-_]Length|Transfer[-_.]Encoding|TE|X[-_]PV[-_](Role|Client)|Host_?|Connection|Expect|A[a-z_]{0,3}) ?";
    let value = "(chunked|gzip|[0-9 ,+]{0,3}|trailers|close|X-PV-Role|100-continue|[ -~]{0,5})";
    let end = "(\r\n|\r\n|\r\n|\n|\r\n )";
    (name, value, end).prop_map(|(name, value, end)| format!("{name}: {value}{end}"))
}
