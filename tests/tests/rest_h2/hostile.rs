//! Heads of HTTP/2 that would be something else in HTTP/1, or that are nothing at all: the provider sees none of them.

use xconnect_tests::run;

use crate::frames::{Fate, OPEN, fate, frame, request};
use crate::provider::start;

const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")];

/// Fields that must not be in a request, behind those of a good one.
const FIELDS: [(&str, &str); 26] = [
    ("X-Upper", "case"),
    ("x-a b", "a space in the name"),
    ("x-a:", "a colon in the name"),
    ("x-a\r\nx-pv-client", "evil"),
    ("x-a\0", "a NUL in the name"),
    ("", "an empty name"),
    ("x-a", "b\r\nx-pv-client: evil"),
    ("x-a", "b\nx-pv-client: evil"),
    ("x-a", "b\rc"),
    ("x-a", "b\0c"),
    ("x-a", "b\r\n\r\nGET /admin HTTP/1.1\r\nhost: a"),
    ("connection", "x-a"),
    ("connection", "upgrade"),
    ("keep-alive", "timeout=5"),
    ("proxy-connection", "keep-alive"),
    ("transfer-encoding", "chunked"),
    ("transfer-encoding", "identity"),
    ("upgrade", "websocket"),
    ("te", "gzip"),
    ("te", "trailers, gzip"),
    (":path", "/behind-the-others"),
    (":method", "GET"),
    (":unknown", "x"),
    (":protocol", "websocket"),
    ("content-length", "+1"),
    ("host", "evil"),
];

#[test]
fn fields_that_must_not_be_there_do_not_reach_the_provider() {
    run(|sandbox| {
        let (rest, heads) = start(sandbox, |link| link);
        let mut wrong = Vec::new();
        for field in FIELDS {
            let socket = rest.consumer.connect(rest.link.target());
            socket.send(&[OPEN, &request(1, &[&GET[..], &[field]].concat(), None)].concat());
            let before = heads.all().len();
            let fate = fate(&socket, 1);
            let seen = heads.all().split_off(before);
            // What passes must have been made harmless.
            let harmless = |head: &crate::provider::Head| {
                let clean = |(name, value): &(String, String)| {
                    name != field.0 && !(value.contains("evil") || value.contains("admin"))
                };
                head.method == "GET" && !head.uri.contains("behind") && head.fields.iter().all(clean)
            };
            if !seen.iter().all(harmless) {
                wrong.push(format!("{field:?}: {fate:?}, the provider saw {seen:?}"));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    });
}

#[test]
fn heads_that_are_none_do_not_reach_the_provider() {
    run(|sandbox| {
        let (rest, heads) = start(sandbox, |link| link);
        let pseudo = |method, authority, path| {
            vec![(":method", method), (":scheme", "http"), (":authority", authority), (":path", path)]
        };
        let cases: [(&str, Vec<(&str, &str)>); 19] = [
            ("no path", vec![(":method", "GET"), (":scheme", "http"), (":authority", "a")]),
            ("no method", vec![(":scheme", "http"), (":authority", "a"), (":path", "/")]),
            ("no scheme", vec![(":method", "GET"), (":authority", "a"), (":path", "/")]),
            ("an empty path", pseudo("GET", "a", "")),
            ("a path without slash", pseudo("GET", "a", "admin")),
            ("the asterisk with GET", pseudo("GET", "a", "*")),
            ("a space in the path", pseudo("GET", "a", "/a HTTP/1.1\r\nx-pv-client: evil\r\nx: ")),
            ("a line end in the path", pseudo("GET", "a", "/\r\nx")),
            ("an absolute path", pseudo("GET", "a", "http://evil/")),
            ("an empty method", pseudo("", "a", "/")),
            ("a space in the method", pseudo("GET / HTTP/1.1\r\nx: y\r\n\r\nGET", "a", "/")),
            ("a user in the authority", pseudo("GET", "user@a", "/")),
            ("a path in the authority", pseudo("GET", "a/evil", "/")),
            ("a list in the authority", pseudo("GET", "a,b", "/")),
            ("a space in the authority", pseudo("GET", "a b", "/")),
            (
                "two methods",
                vec![
                    (":method", "GET"),
                    (":method", "POST"),
                    (":scheme", "http"),
                    (":authority", "a"),
                    (":path", "/"),
                ],
            ),
            (
                "two paths",
                vec![
                    (":method", "GET"),
                    (":scheme", "http"),
                    (":authority", "a"),
                    (":path", "/"),
                    (":path", "/admin"),
                ],
            ),
            (
                "fields before the method",
                vec![
                    ("x-a", "b"),
                    (":method", "GET"),
                    (":scheme", "http"),
                    (":authority", "a"),
                    (":path", "/"),
                ],
            ),
            (
                "a status",
                vec![
                    (":status", "200"),
                    (":method", "GET"),
                    (":scheme", "http"),
                    (":authority", "a"),
                    (":path", "/"),
                ],
            ),
        ];
        let mut wrong = Vec::new();
        for (name, fields) in cases {
            let socket = rest.consumer.connect(rest.link.target());
            socket.send(&[OPEN, &request(1, &fields, None)].concat());
            let before = heads.all().len();
            let fate = fate(&socket, 1);
            let seen = heads.all().split_off(before);
            if !seen.is_empty() {
                wrong.push(format!("{name}: {fate:?}, the provider saw {seen:?}"));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    });
}

#[test]
fn a_body_of_another_length_than_it_says_is_no_request() {
    run(|sandbox| {
        let (rest, heads) = start(sandbox, |link| link);
        type Fields<'a> = &'a [(&'a str, &'a str)];
        let cases: [(Fields<'_>, &[u8]); 6] = [
            (&[("content-length", "3")], b"hello"),
            (&[("content-length", "7")], b"hello"),
            (&[("content-length", "0")], b"GET /admin HTTP/1.1\r\nhost: a\r\n\r\n"),
            (&[("content-length", "5"), ("content-length", "6")], b"hello"),
            (&[("content-length", "5, 5")], b"hello"),
            (&[("content-length", "five")], b"hello"),
        ];
        for (fields, body) in cases {
            let socket = rest.consumer.connect(rest.link.target());
            socket.send(&[OPEN, &request(1, &[&POST[..], fields].concat(), Some(body))].concat());
            let fate = fate(&socket, 1);
            // An answer by the mesh says that the request was wrong; the provider never had the whole of it, and so
            // has not answered.
            let seen = heads.all();
            assert!(seen.iter().all(|head| head.uri.ends_with("a/")), "{fields:?}: {fate:?} {seen:?}");
        }
    });
}

#[test]
fn a_connection_that_breaks_the_protocol_ends() {
    run(|sandbox| {
        let (rest, heads) = start(sandbox, |link| link);
        let broken = [
            ("a request of HTTP/1 behind the preface", b"GET /admin HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
            ("data of a stream that is not there", frame(0, 1, 1, b"hello")),
            ("a head of stream 0", frame(1, 5, 0, b"")),
            ("a head of an even stream", request(2, &GET, None)),
            (
                "a frame that is too long",
                [b"\xff\xff\xff\x01\x05\0\0\0\x01".as_slice(), &[0; 20_000]].concat(),
            ),
            ("a push", frame(5, 4, 1, b"\0\0\0\x02")),
            ("a block that is none", frame(1, 5, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff")),
            ("a continuation of nothing", frame(9, 4, 1, b"")),
        ];
        for (name, bytes) in broken {
            let socket = rest.consumer.connect(rest.link.target());
            socket.send(&[OPEN, &bytes].concat());
            assert_eq!(fate(&socket, 1), Fate::Closed, "{name}");
        }
        assert!(heads.all().is_empty(), "{:?}", heads.all());
        // Others are served still.
        let socket = rest.consumer.connect(rest.link.target());
        socket.send(&[OPEN, &request(1, &GET, None)].concat());
        assert_eq!(fate(&socket, 1), Fate::Answered);
        heads.all()[0].assert_identity(&rest);
    });
}
