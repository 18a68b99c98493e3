//! What a consumer of a rest link sends: whatever is let through is read again by a reader that shares nothing with ours. It
//! must find the same requests, framed the same way, with no identity but ours; and it must not matter how the bytes
//! came in pieces. What a provider answers must not make the reader of answers panic, or differ from httparse.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xconnect::graph::{Forwarded, Tracing};
use xconnect::mesh::edge::rest::http1::{
    Answer, Body, Chunked, Fields, HeadLimit, HeadScan, Request, Rewrite, Seed, Trailers, Unwrap,
};

const LIMIT: usize = 65_536;
const REWRITE: Rewrite<'static> = Rewrite {
    identity: b"X-PV-Client: web\r\nX-PV-Role: reader\r\nX-PV-Link-Id: 17\r\n",
    forwarded: Forwarded::Drop,
    tracing: Tracing::Pass,
    ruled: true,
};

/// A request as it goes to the provider.
#[derive(Debug, Default, PartialEq)]
struct Passed {
    head: Vec<u8>,
    body: Vec<u8>,
    framing: Option<Body>,
}

enum State {
    Head(HeadScan),
    Length(u64),
    Chunks(Box<Chunked>),
}

/// All whole requests, and whether something was refused.
fn pass(bytes: &[u8], step: usize) -> (Vec<Passed>, bool) {
    let (mut whole, mut present, mut state) =
        (Vec::new(), Passed::default(), State::Head(HeadScan::default()));
    let mut buffer: Vec<u8> = Vec::new();
    for piece in bytes.chunks(step) {
        buffer.extend_from_slice(piece);
        loop {
            let done = match &mut state {
                State::Head(scan) => {
                    let length = match scan.find(&buffer) {
                        Ok(Some(length)) => length,
                        Ok(None) => break,
                        Err(_) => return (whole, true),
                    };
                    let mut fields = Fields::default();
                    let Ok(request) = Request::read(&buffer[..length], &mut fields, HeadLimit(LIMIT)) else {
                        return (whole, true);
                    };
                    request.write(&REWRITE, &mut Seed::new(1), &mut present.head);
                    present.framing = Some(request.body);
                    state = match request.body {
                        Body::None => State::Length(0),
                        Body::Length(length) => State::Length(length),
                        Body::Chunked => {
                            let trailers = Trailers::new(LIMIT, Forwarded::Drop);
                            State::Chunks(Box::new(Chunked::new(Unwrap::Keep, trailers)))
                        }
                    };
                    buffer.drain(..length);
                    matches!(state, State::Length(0))
                }
                State::Length(left) => {
                    let here = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    present.body.extend(buffer.drain(..here));
                    *left -= here as u64;
                    if *left > 0 {
                        break;
                    }
                    true
                }
                State::Chunks(chunks) => {
                    let Ok(filtered) = chunks.filter(&mut buffer) else { return (whole, true) };
                    assert!(filtered.produced <= filtered.consumed && filtered.consumed <= buffer.len());
                    present.body.extend_from_slice(&buffer[..filtered.produced]);
                    buffer.drain(..filtered.consumed);
                    if !chunks.is_done() {
                        break;
                    }
                    true
                }
            };
            if done {
                whole.push(std::mem::take(&mut present));
                state = State::Head(HeadScan::default());
            }
        }
    }
    (whole, false)
}

fn normal(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}

/// Where a request in `bytes` ends, to a reader that knows nothing of ours.
fn read_again(bytes: &[u8], wanted: &Passed) -> usize {
    let mut fields = [httparse::EMPTY_HEADER; 300];
    let mut request = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(head) = request.parse(bytes).expect("what goes on is a request") else {
        panic!("a head that does not end: {:?}", bytes.escape_ascii().to_string());
    };
    assert_eq!(head, wanted.head.len(), "the head ends elsewhere");
    assert_eq!(request.version, Some(1));
    let values = |name: &str| -> Vec<&[u8]> {
        let same = |field: &&httparse::Header<'_>| normal(field.name) == name;
        request.headers.iter().filter(same).map(|field| field.value).collect()
    };
    let of_us: Vec<_> =
        request.headers.iter().filter(|field| normal(field.name).starts_with("x-pv-")).collect();
    assert_eq!(of_us.len(), 3, "fields of identity");
    assert_eq!(values("x-pv-client"), [b"web"]);
    assert_eq!(values("x-pv-role"), [b"reader"]);
    assert_eq!(values("x-pv-link-id"), [b"17"]);
    assert_eq!(values("host").len(), 1);
    assert!(values("forwarded").is_empty() && values("x-forwarded-for").is_empty());
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    let body = match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => 0,
        ([], [coding]) => {
            assert_eq!(*coding, b"chunked");
            assert_eq!(wanted.framing, Some(Body::Chunked));
            chunks(&bytes[head..])
        }
        ([length], []) => {
            let text = std::str::from_utf8(length).expect("digits");
            assert!(text.bytes().all(|byte| byte.is_ascii_digit()));
            text.parse().expect("a length")
        }
        both => panic!("two framings: {both:?}"),
    };
    if let Some(Body::Length(length)) = wanted.framing {
        assert_eq!(length, body as u64);
    }
    head + body
}

/// The length of a chunked body, trailers included.
fn chunks(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let status = httparse::parse_chunk_size(&bytes[at..]).expect("what goes on is chunks");
        let httparse::Status::Complete((line, size)) = status else { panic!("a size that does not end") };
        at += line;
        if size == 0 {
            break;
        }
        at += usize::try_from(size).expect("it was whole");
        assert_eq!(&bytes[at..at + 2], b"\r\n");
        at += 2;
    }
    let mut fields = [httparse::EMPTY_HEADER; 300];
    match httparse::parse_headers(&bytes[at..], &mut fields) {
        Ok(httparse::Status::Complete((length, trailers))) => {
            for trailer in trailers {
                let name = normal(trailer.name);
                let banned =
                    ["content-length", "transfer-encoding", "host", "connection", "te", "authorization"];
                assert!(!name.starts_with("x-pv-") && !banned.contains(&name.as_str()), "trailer {name}");
            }
            at + length
        }
        // More of them than this reader takes.
        Err(httparse::Error::TooManyHeaders) => bytes.len(),
        other => panic!("trailers that are none: {other:?}"),
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((control, bytes)) = data.split_first() else { return };
    let step = 1 + usize::from(*control) % 61;
    let (whole, refused) = pass(bytes, step);
    let (again, refused_again) = pass(bytes, bytes.len().max(1));
    assert_eq!(whole, again, "it matters how the bytes came");
    assert_eq!(refused, refused_again, "it matters how the bytes came");

    // As the provider gets them, one behind the other.
    let wire: Vec<u8> =
        whole.iter().flat_map(|passed| [&passed.head[..], &passed.body[..]].concat()).collect();
    let mut at = 0;
    for passed in &whole {
        let end = read_again(&wire[at..], passed);
        let ours = passed.head.len() + passed.body.len();
        assert!(
            end == ours || end == wire.len() - at,
            "a request ends after {end} bytes and not after {ours}"
        );
        at += ours;
    }

    let mut scan = HeadScan::default();
    if let Ok(Some(length)) = scan.find(bytes) {
        let mut fields = Fields::default();
        if let Ok(answer) = Answer::read(&bytes[..length], &mut fields, HeadLimit(LIMIT), false) {
            let mut fields = [httparse::EMPTY_HEADER; 300];
            let mut other = httparse::Response::new(&mut fields);
            if let Ok(httparse::Status::Complete(head)) = other.parse(&bytes[..length]) {
                assert_eq!((head, other.code), (length, Some(answer.status)));
            }
        }
    }
});
