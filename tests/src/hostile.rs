//! Input that no one means well with: bodies, manifests, and bytes that are no HTTP.

use serde_json::{Value, json};

/// 10 MiB.
const BIG: usize = 10 << 20;

/// Texts that are no acceptable document of any kind, with what is wrong with them.
#[must_use]
pub fn documents() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("empty", Vec::new()),
        ("no JSON", b"{]".to_vec()),
        ("cut off", br#"{"action":"#.to_vec()),
        ("more after the end", br#"{"action":"start"} {"#.to_vec()),
        ("a number", b"17".to_vec()),
        ("a text", br#""start""#.to_vec()),
        ("null", b"null".to_vec()),
        ("a NUL byte", b"{\"action\":\"start\0\"}".to_vec()),
        ("invalid UTF-8", b"{\"action\":\"\xff\xfe\"}".to_vec()),
        ("half a surrogate", br#"{"action":"\ud800"}"#.to_vec()),
        ("an endless number", br#"{"action":1e999999}"#.to_vec()),
        ("100,000 nested lists", vec![b'['; 100_000]),
        ("100,000 nested objects", br#"{"a":"#.repeat(100_000)),
        ("10 MiB of space", vec![b' '; BIG]),
        ("10 MiB of text", [b"\"".as_slice(), &vec![b'x'; BIG], b"\""].concat()),
    ]
}

/// Values of each JSON type.
#[must_use]
pub fn values() -> Vec<Value> {
    vec![json!(null), json!(true), json!(-1), json!(1.5), json!("x"), json!([]), json!([[]]), json!({})]
}

/// Bytes that are no proper request, each on a connection of its own.
#[must_use]
pub fn requests() -> Vec<(&'static str, Vec<u8>)> {
    let get = "GET /containers HTTP/1.1\r\nHost: localhost\r\n";
    let put = "PUT /containers/x HTTP/1.1\r\nHost: localhost\r\n";
    let text = |text: String| text.into_bytes();
    vec![
        ("noise", (0..4096u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()),
        ("line ends only", b"\r\n".repeat(1000)),
        ("no version", b"GET /containers\r\n\r\n".to_vec()),
        ("a version that is not", b"GET /containers HTTP/9.9\r\n\r\n".to_vec()),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("a method that is not", b"F\x01O / HTTP/1.1\r\n\r\n".to_vec()),
        ("a NUL in the path", b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("a path of 1 MiB", text(format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 20)))),
        ("a header of 1 MiB", text(format!("{get}X: {}\r\n\r\n", "x".repeat(1 << 20)))),
        ("10,000 headers", text(format!("{get}{}\r\n", "X: y\r\n".repeat(10_000)))),
        ("a header without colon", text(format!("{get}nonsense\r\n\r\n"))),
        ("a negative length", text(format!("{put}Content-Length: -1\r\n\r\n"))),
        ("a length beyond numbers", text(format!("{put}Content-Length: 99999999999999999999\r\n\r\n"))),
        ("two lengths", text(format!("{put}Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx"))),
        ("a chunk without size", text(format!("{put}Transfer-Encoding: chunked\r\n\r\nzz\r\n"))),
        (
            "a chunk beyond numbers",
            text(format!("{put}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n")),
        ),
    ]
}

/// Paths that name nothing.
pub const PATHS: [&str; 8] = [
    "/",
    "/nothing",
    "/containers/..%2f..%2fetc",
    "/containers/%00",
    "/containers/%ff%fe",
    "/containers/%zz",
    "/daemons/../containers",
    "/xconnect-graph/x?watch=1&watch=2&",
];
