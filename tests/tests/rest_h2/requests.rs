//! Requests of HTTP/2 that are no gRPC: curl, bodies, limits, rules.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use hyper::client::conn::http2::SendRequest;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use xconnect_tests::guests::{find, json};
use xconnect_tests::rest::Rest;
use xconnect_tests::{OrFail, run};

use crate::provider::{runtime, start, stream};

/// A client over one connection of the consumer.
pub(crate) async fn client<B>(rest: &Rest) -> SendRequest<B>
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    let socket = rest.consumer.connect(rest.link.target());
    let io = TokioIo::new(stream(socket.into()));
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.or_fail("handshake");
    tokio::spawn(connection);
    sender
}

/// The answer to a request, as JSON where it is that.
pub(crate) async fn ask<B>(client: &mut SendRequest<B>, request: Request<B>) -> (StatusCode, Value)
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    client.ready().await.or_fail("ready");
    let answer: Response<_> = client.send_request(request).await.or_fail("answer");
    let status = answer.status();
    let body = answer.into_body().collect().await.or_fail("body").to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

pub(crate) fn request(method: Method, uri: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::builder().method(method).uri(uri).body(Full::new(body.into())).or_fail("request")
}

#[test]
fn curl_speaks_http_2() {
    run(|sandbox| {
        let Some(curl) = find("curl") else { return };
        let (rest, heads) = start(sandbox, |link| link);
        let usual = [&curl, "-sS", "--http2-prior-knowledge", "--unix-socket", rest.link.target()];
        let spoof = ["-H", "X-PV-Client: evil", "-H", "X_PV_Role: admin", "-H", "Forwarded: for=1.2.3.4"];
        let report = json(&rest.consumer, &[&usual[..], &spoof, &["http://api/get?x=y"]].concat(), "");
        assert_eq!((&report["client"], &report["method"]), (&"consumer".into(), &"GET".into()));
        let body = "0123456789".repeat(5_000);
        let report = json(&rest.consumer, &[&usual[..], &["-T", "-", "http://api/put"]].concat(), &body);
        assert_eq!((&report["length"], &report["method"]), (&body.len().into(), &"PUT".into()));
        for head in heads.all() {
            head.assert_identity(&rest);
            assert!(!head.fields.iter().any(|(name, _)| name == "forwarded"), "{head:?}");
        }
    });
}

#[test]
fn no_spelling_of_the_identity_gets_by() {
    run(|sandbox| {
        let (rest, heads) = start(sandbox, |link| link);
        runtime().block_on(async {
            let mut client = client(&rest).await;
            for sign in "!#$%&'*+-.^_`|~".chars() {
                let mut request = request(Method::GET, "http://api/x", "");
                for name in
                    ["x-pv-client", "x-pv-role", "x-pv-link-id", "x-forwarded-for", "proxy-authorization"]
                {
                    let name = name.replace('-', &sign.to_string());
                    let name = hyper::header::HeaderName::from_bytes(name.as_bytes()).or_fail("name");
                    request.headers_mut().append(&name, "evil".parse().or_fail("value"));
                    request.headers_mut().append(name, "eviler".parse().or_fail("value"));
                }
                let (status, report) = ask(&mut client, request).await;
                assert_eq!((status, &report["client"]), (StatusCode::OK, &"consumer".into()));
            }
        });
        assert_eq!(heads.all().len(), 15);
        for head in heads.all() {
            head.assert_identity(&rest);
            assert!(!head.fields.iter().any(|(_, value)| value.contains("evil")), "{head:?}");
        }
    });
}

#[test]
fn no_other_method_or_path_goes_on_where_the_role_has_rules() {
    const OVERRIDES: [&str; 6] = [
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x-original-url",
        "x_original_url",
        "x-rewrite-url",
    ];
    for ruled in [true, false] {
        run(|sandbox| {
            let allow = serde_json::json!([{"path": "/"}]);
            let (rest, heads) = start(sandbox, |link| if ruled { link.rest("allow", allow) } else { link });
            runtime().block_on(async {
                let mut client = client(&rest).await;
                let mut request = request(Method::GET, "http://api/x", "");
                for name in OVERRIDES.into_iter().chain(["proxy", "x-other"]) {
                    request.headers_mut().append(name, "/admin".parse().or_fail("value"));
                }
                assert_eq!(ask(&mut client, request).await.0, StatusCode::OK);
            });
            let all = heads.all();
            let came = |name: &str| all[0].fields.iter().any(|(other, _)| other == name);
            for name in OVERRIDES {
                assert_eq!(came(name), !ruled, "{name}, rules: {ruled}");
            }
            assert!(came("x-other") && !came("proxy"), "{all:?}");
        });
    }
}

#[test]
fn limits_and_rules_hold_for_each_stream() {
    run(|sandbox| {
        let allow = serde_json::json!([{"path": "/api"}]);
        let (rest, heads) = start(sandbox, |link| link.rest("max_body_bytes", 1000).rest("allow", allow));
        runtime().block_on(async {
            let mut client = client(&rest).await;
            let cases = [
                ("/api", "x".repeat(1000), StatusCode::OK),
                ("/api", "x".repeat(1001), StatusCode::PAYLOAD_TOO_LARGE),
                ("/secret", String::new(), StatusCode::FORBIDDEN),
                ("/api/../secret", String::new(), StatusCode::FORBIDDEN),
                ("/api/%2e%2e/secret", String::new(), StatusCode::FORBIDDEN),
                ("/api/..%2fsecret", String::new(), StatusCode::BAD_REQUEST),
                ("/api//x", String::new(), StatusCode::BAD_REQUEST),
                ("/api/%252e", String::new(), StatusCode::BAD_REQUEST),
                ("/api/again", String::new(), StatusCode::OK),
            ];
            for (path, body, wanted) in cases {
                let (status, report) =
                    ask(&mut client, request(Method::POST, &format!("http://api{path}"), body)).await;
                assert_eq!(status, wanted, "{path}: {report}");
                if wanted == StatusCode::FORBIDDEN {
                    assert!(report["error"].is_string() && report["rule"].is_string(), "{report}");
                }
            }
        });
        let seen: Vec<_> = heads.all().into_iter().map(|head| head.uri).collect();
        assert!(seen.iter().all(|uri| uri.ends_with("/api") || uri.ends_with("/api/again")), "{seen:?}");
    });
}

#[test]
fn connect_is_refused() {
    run(|sandbox| {
        let (rest, heads) = start(sandbox, |link| link);
        runtime().block_on(async {
            let mut client = client(&rest).await;
            client.ready().await.or_fail("ready");
            let connect = request(Method::CONNECT, "evil:443", "");
            match client.send_request(connect).await {
                Ok(answer) => assert_eq!(answer.status(), StatusCode::NOT_IMPLEMENTED),
                // A reset stream is a refusal, too.
                Err(error) => assert!(!error.is_closed(), "{error:?}"),
            }
            let (status, _) = ask(&mut client, request(Method::GET, "http://api/next", "")).await;
            assert_eq!(status, StatusCode::OK);
        });
        assert!(heads.all().iter().all(|head| head.method == "GET"));
    });
}

#[test]
fn no_two_connections_share_one_to_the_provider() {
    run(|sandbox| {
        let (rest, heads) = start(sandbox, |link| link);
        runtime().block_on(async {
            let mut clients = Vec::new();
            for _ in 0..3 {
                clients.push(client(&rest).await);
            }
            for round in 0..5 {
                for (number, client) in clients.iter_mut().enumerate() {
                    let (status, _) =
                        ask(client, request(Method::GET, &format!("http://api/{number}/{round}"), "")).await;
                    assert_eq!(status, StatusCode::OK);
                }
            }
        });
        let mut of_client = std::collections::BTreeMap::<String, std::collections::BTreeSet<u64>>::new();
        for head in heads.all() {
            let number =
                head.uri.trim_start_matches("http://api/").split('/').next().unwrap_or_default().to_owned();
            of_client.entry(number).or_default().insert(head.connection);
        }
        let all: std::collections::BTreeSet<_> = of_client.values().flatten().collect();
        assert_eq!((of_client.len(), all.len()), (3, 3), "{of_client:?}");
    });
}
