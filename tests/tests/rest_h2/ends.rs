//! Times and ends of HTTP/2: who is waited for, and how long; connections that rest; providers that are late or that
//! speak something else.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use hyper::{Method, Request, StatusCode};
use xconnect_tests::mesh::Setup;
use xconnect_tests::rest::Rest;
use xconnect_tests::wait::ensure;
use xconnect_tests::{Listener, OrFail, Socket, eventually, run};

use crate::frames::{DATA, Fate, Frames, GOAWAY, HEADERS, OPEN, PING, fate, frame, request as by_hand};
use crate::provider::{Heads, runtime, serve, start, start_as};
use crate::requests::{ask, client, request};

/// A time that no test waits for, in seconds.
const NEVER: u64 = 3600;
/// What must not be a request of a provider that speaks HTTP/1.
const SMUGGLED: &[u8] =
    b"\r\n\r\nGET /admin HTTP/1.1\r\nHost: a\r\nX-PV-Client: evil\r\nX-PV-Role: admin\r\n\r\n";

/// A body that begins and never goes on.
struct Stalls(Option<Bytes>);

impl Body for Stalls {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(bytes) => Poll::Ready(Some(Ok(hyper::body::Frame::data(bytes)))),
            None => Poll::Pending,
        }
    }
}

/// A provider that knows HTTP/1 only: says this to whatever comes, stays, and keeps each connection's bytes.
fn old_provider(listener: &Listener, says: &'static [u8]) -> Arc<Mutex<Vec<Vec<u8>>>> {
    use std::os::fd::AsFd;
    let listener = listener.as_fd().try_clone_to_owned().or_fail("dup");
    rustix::net::sockopt::set_socket_timeout(&listener, rustix::net::sockopt::Timeout::Recv, None)
        .or_fail("no accept timeout");
    let all = Arc::<Mutex<Vec<Vec<u8>>>>::default();
    let got = all.clone();
    std::thread::spawn(move || {
        while let Ok(connection) = rustix::net::accept(&listener) {
            let (socket, got) = (Socket::from(connection), got.clone());
            let number = {
                let mut got = got.lock().unwrap_or_else(PoisonError::into_inner);
                got.push(Vec::new());
                got.len() - 1
            };
            std::thread::spawn(move || {
                let mut first = true;
                while let Ok(message) = socket.try_recv(65536) {
                    if message.bytes.is_empty() {
                        return;
                    }
                    got.lock().unwrap_or_else(PoisonError::into_inner)[number].extend(message.bytes);
                    if std::mem::take(&mut first) && socket.try_send(says, &[]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    all
}

/// Asserts that nothing of a consumer's came: the preface, and frames of the connection alone.
#[track_caller]
fn assert_nothing_of_a_consumer(bytes: &[u8]) {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut rest = bytes.strip_prefix(PREFACE).unwrap_or(bytes);
    while let [a, b, c, kind, _flags, tail @ ..] = rest {
        assert!(*kind != DATA && *kind != HEADERS && *kind != 9, "{}", String::from_utf8_lossy(bytes));
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        rest = tail.get(4 + length..).unwrap_or_default();
    }
    let text = String::from_utf8_lossy(bytes);
    assert!(!text.contains("/admin") && !text.contains("admin"), "{text}");
}

#[test]
fn a_provider_that_does_not_speak_http_2_gets_nothing_of_a_request() {
    run(|sandbox| {
        const BAD: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
        // A provider that says nothing is none of HTTP/2 either.
        for (says, connect_timeout) in [(BAD, NEVER), (b"".as_slice(), 2)] {
            let mut rest = Rest::start_with(sandbox, |link| link.option("connect_timeout", connect_timeout));
            rest.stop_provider();
            let got = old_provider(&rest.house.listen(rest.link.socket()), says);
            rest.mesh.wait(&rest.link, "up");
            runtime().block_on(async {
                let mut client = client(&rest).await;
                for method in [Method::POST, Method::GET, Method::PUT] {
                    let mut request = request(method, "http://api/admin", SMUGGLED);
                    request.headers_mut().insert("x-admin", "admin".parse().or_fail("value"));
                    let (status, report) = ask(&mut client, request).await;
                    assert_eq!(status, StatusCode::BAD_GATEWAY, "{report}");
                    assert!(
                        report["error"].as_str().is_some_and(|error| error.contains("HTTP/2")),
                        "{report}"
                    );
                }
            });
            // The same, with all bytes at once, so that a head or a body could overtake.
            let socket = rest.consumer.connect(rest.link.target());
            let post = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/admin")];
            socket.send(&[OPEN, &by_hand(1, &post, Some(SMUGGLED))].concat());
            assert_eq!(fate(&socket, 1), Fate::Answered);
            rest.mesh.wait_counter(&rest.link, "/http/requests/open", 0);
            let got = got.lock().unwrap_or_else(PoisonError::into_inner);
            assert!(got.iter().any(|bytes| bytes.starts_with(b"PRI ")), "{got:?}");
            got.iter().for_each(|bytes| assert_nothing_of_a_consumer(bytes));
        }
    });
}

#[test]
fn requests_wait_for_a_provider_that_is_not_up_all_at_once() {
    run(|sandbox| {
        const MANY: u32 = 12;
        const EACH: Duration = Duration::from_secs(2);
        let mut rest = Rest::start_with(sandbox, |link| link.option("connect_timeout", EACH.as_secs()));
        rest.stop_provider();
        runtime().block_on(async {
            let client = client::<Full<Bytes>>(&rest).await;
            let begin = Instant::now();
            let all: Vec<_> = (0..MANY)
                .map(|number| {
                    let mut client = client.clone();
                    tokio::spawn(async move {
                        ask(&mut client, request(Method::GET, &format!("http://api/{number}"), "")).await
                    })
                })
                .collect();
            for one in all {
                let (status, report) = one.await.or_fail("task");
                assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{report}");
            }
            // One after the other they would take all of this.
            assert!(begin.elapsed() < EACH * MANY / 2, "{:?}", begin.elapsed());
        });
        rest.mesh.wait_counter(&rest.link, "/http/requests/open", 0);
    });
}

#[test]
fn a_provider_that_comes_up_late_is_not_yet_silent() {
    run(|sandbox| {
        let (mut rest, mut asked) = (
            Rest::start_with(sandbox, |link| {
                link.rest("response_timeout", 1).rest("body_timeout", 1).option("connect_timeout", NEVER)
            }),
            Vec::new(),
        );
        rest.stop_provider();
        runtime().block_on(async {
            let client = client::<Full<Bytes>>(&rest).await;
            for body in ["", "hello"] {
                let mut client = client.clone();
                asked.push(tokio::spawn(async move {
                    ask(&mut client, request(Method::POST, "http://api/late", body)).await
                }));
            }
            // Longer than an answer may take.
            tokio::time::sleep(Duration::from_millis(2500)).await;
            serve(&rest.house.listen(rest.link.socket()), Heads::default());
            for asked in asked {
                let (status, report) = asked.await.or_fail("task");
                assert_eq!((status, &report["client"]), (StatusCode::OK, &"consumer".into()), "{report}");
            }
        });
    });
}

#[test]
fn a_connection_rests_only_when_its_last_answer_is_over() {
    run(|sandbox| {
        let (rest, heads) = start(sandbox, |link| link.option("idle_timeout", 1));
        let socket = rest.consumer.connect(rest.link.target());
        let get = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/slow")];
        socket.send(&[OPEN, &by_hand(1, &get, None)].concat());
        let (mut frames, mut all) = (Frames::default(), Vec::new());
        while let Some(frame) = frames.next(&socket) {
            all.push(frame);
        }
        let place = |wanted: u8| all.iter().position(|frame| frame.kind == wanted).or_fail(wanted);
        assert!(place(HEADERS) < place(DATA) && place(DATA) < place(GOAWAY), "{all:?}");
        // No error.
        assert_eq!(all[place(GOAWAY)].payload.get(4..8), Some(&[0; 4][..]), "{all:?}");
        assert_eq!(heads.all().len(), 1);
        rest.mesh.wait_counter(&rest.link, "/connections/open", 0);
    });
}

#[test]
fn a_mesh_that_stops_says_so_and_delivers_what_is_under_way() {
    run(|sandbox| {
        let arguments = vec!["--drain".into(), NEVER.to_string().into()];
        let (mut rest, heads) = start_as(sandbox, Setup { arguments, ..Setup::default() }, |link| link);
        let get = |path| [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", path)];
        let connect = |path| {
            let socket = rest.consumer.connect(rest.link.target());
            socket.send(&[OPEN, &by_hand(1, &get(path), None)].concat());
            socket
        };
        let (resting, busy, deaf) = (connect("/"), connect("/slow"), connect("/"));
        let mut frames = Frames::default();
        while frames.next(&resting).or_fail("an answer").kind != DATA {}
        eventually("both requests came", || ensure(heads.all().len() == 3, "not yet"));
        rest.mesh.wait_counter(&rest.link, "/http/requests/open", 1);
        rest.mesh.begin_stop();
        let kinds = |socket: &Socket, mut frames: Frames| {
            std::iter::from_fn(|| frames.next(socket)).map(|frame| frame.kind).collect::<Vec<_>>()
        };
        assert!(kinds(&resting, frames).contains(&GOAWAY));
        let of_busy = kinds(&busy, Frames::default());
        assert!([HEADERS, DATA, GOAWAY].iter().all(|kind| of_busy.contains(kind)), "{of_busy:?}");
        // They have not been ended by their consumers, one of which has not even read.
        eventually("the mesh ends", || ensure(!rest.mesh.is_alive(), "it is there"));
        assert_eq!(rest.mesh.stop(), Some(0));
        drop(deaf);
    });
}

#[test]
fn a_connection_without_a_request_ends_as_a_head_that_does_not_come() {
    run(|sandbox| {
        let (rest, heads) = start(sandbox, |link| link.rest("header_timeout", 1));
        for (number, opening) in
            [&OPEN[..24], OPEN, &[OPEN, &frame(PING, 0, 0, &[0; 8])].concat()].iter().enumerate()
        {
            let socket = rest.consumer.connect(rest.link.target());
            socket.send(opening);
            assert_eq!(fate(&socket, 1), Fate::Closed, "{number}");
            assert!(socket.ends(), "{number}");
        }
        assert!(heads.all().is_empty());
        rest.mesh.wait_counter(&rest.link, "/connections/open", 0);
    });
}

#[test]
fn a_body_that_the_provider_does_not_read_is_the_providers_silence() {
    run(|sandbox| {
        let (rest, heads) = start(sandbox, |link| link.rest("response_timeout", 1).rest("body_timeout", 1));
        runtime().block_on(async {
            let mut client = client(&rest).await;
            for body in ["", "hello", &"x".repeat(8 << 20)] {
                let body = body.to_owned();
                let (status, report) =
                    ask(&mut client, request(Method::POST, "http://api/unread", body)).await;
                assert_eq!(status, StatusCode::GATEWAY_TIMEOUT, "{report}");
            }
        });
        assert_eq!(heads.all().len(), 3);
        rest.mesh.wait_counter(&rest.link, "/http/requests/open", 0);
    });
}

#[test]
fn a_body_that_stands_still_is_the_consumers_silence() {
    run(|sandbox| {
        let (rest, _heads) = start(sandbox, |link| link.rest("response_timeout", 1).rest("body_timeout", 1));
        runtime().block_on(async {
            let mut client = client::<Stalls>(&rest).await;
            for (path, begins) in [("/", Some("hello")), ("/", None), ("/unread", Some(""))] {
                let request = Request::builder().method(Method::POST).uri(format!("http://api{path}"));
                let request = request.body(Stalls(begins.map(Bytes::from))).or_fail("request");
                let (status, report) = ask(&mut client, request).await;
                assert_eq!(status, StatusCode::REQUEST_TIMEOUT, "{path} {begins:?}: {report}");
            }
        });
        eventually("no request is open", || {
            let open = rest.counter("/http/requests/open");
            ensure(open == 0, format_args!("{open} are open"))
        });
    });
}

#[test]
fn refusals_of_grpc_calls_are_heads_alone() {
    run(|sandbox| {
        let allow = serde_json::json!([{"path": "/words.Words/Count"}]);
        let mut rest =
            Rest::start_with(sandbox, |link| link.rest("allow", allow).option("connect_timeout", 1));
        rest.stop_provider();
        runtime().block_on(async {
            let mut client = client::<Full<Bytes>>(&rest).await;
            for (path, kind, status, grpc) in [
                ("Say", "application/grpc", 200, Some("7")),
                ("Say", "application/grpc+proto", 200, Some("7")),
                ("Count", "application/grpc", 200, Some("14")),
                ("Say", "application/json", 403, None),
                ("Count", "application/json", 503, None),
            ] {
                let mut request =
                    request(Method::POST, &format!("http://api/words.Words/{path}"), "\0\0\0\0\0");
                request.headers_mut().insert("content-type", kind.parse().or_fail("value"));
                client.ready().await.or_fail("ready");
                let answer = client.send_request(request).await.or_fail("answer");
                let field = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
                assert_eq!((answer.status().as_u16(), field("grpc-status")), (status, grpc), "{answer:?}");
                let wanted = if grpc.is_some() { "application/grpc" } else { "application/json" };
                assert_eq!(field("content-type"), Some(wanted), "{answer:?}");
                assert_eq!(
                    field("grpc-message").is_some_and(|text| !text.is_empty()),
                    grpc.is_some(),
                    "{answer:?}"
                );
                let body = answer.into_body().collect().await.or_fail("body").to_bytes();
                assert_eq!(body.is_empty(), grpc.is_some(), "{body:?}");
            }
        });
        rest.mesh.wait_counter(&rest.link, "/denied", 3);
    });
}
