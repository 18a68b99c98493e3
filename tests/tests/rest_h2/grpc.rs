//! gRPC: every kind of call, by a client and a server that know nothing of the mesh.

use hyper_util::rt::TokioIo;
use tokio_stream::StreamExt;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use xconnect_tests::rest::Rest;
use xconnect_tests::{OrFail, run};

use crate::provider::{Word, runtime, start, stream};

/// A channel over one connection of the consumer.
async fn channel(rest: &Rest) -> Channel {
    let mut socket = Some(rest.consumer.connect(rest.link.target()));
    let connector = tower::service_fn(move |_| {
        let socket = socket.take().ok_or_else(|| std::io::Error::other("one connection is all there is"));
        async move { Ok::<_, std::io::Error>(TokioIo::new(stream(socket?.into()))) }
    });
    let endpoint = Endpoint::from_static("http://words.example");
    endpoint.connect_with_connector(connector).await.or_fail("channel")
}

fn path(method: &str) -> hyper::http::uri::PathAndQuery {
    format!("/words.Words/{method}").parse().or_fail("path")
}

/// Calls are refused to nobody but who says who it is.
fn forged(word: Word) -> Request<Word> {
    let mut request = Request::new(word);
    for name in ["x-pv-client", "x_pv_client", "x.pv.client", "x-pv-role"] {
        request.metadata_mut().insert(name, "evil".parse().or_fail("value"));
    }
    request
}

async fn say(channel: &Channel, text: &str, number: u32) -> Result<tonic::Response<Word>, Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.or_fail("ready");
    let word = Word { text: text.to_owned(), client: "evil".to_owned(), number };
    grpc.unary(forged(word), path("Say"), ProstCodec::<Word, Word>::default()).await
}

#[test]
fn a_unary_call_is_answered_and_its_failure_told() {
    run(|sandbox| {
        let (rest, heads) = start(sandbox, |link| link);
        runtime().block_on(async {
            let channel = channel(&rest).await;
            for number in 0..20 {
                let answer = say(&channel, "hello", number).await.or_fail("answer");
                assert_eq!(answer.metadata().get("x-extra").map(|value| value.as_bytes()), Some(&b"one"[..]));
                let wanted = Word { text: "hello".into(), client: "consumer".into(), number };
                assert_eq!(answer.into_inner(), wanted);
            }
            let status = say(&channel, "fail", 0).await.expect_err("a failure");
            assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "as you wished"));
            assert_eq!(
                say(&channel, &"x".repeat(1_000_000), 1).await.or_fail("large").into_inner().text.len(),
                1_000_000
            );
        });
        let heads = heads.all();
        assert_eq!(heads.len(), 22);
        for head in &heads {
            head.assert_identity(&rest);
            assert_eq!((head.connection, head.method.as_str()), (heads[0].connection, "POST"));
            assert!(head.fields.contains(&("te".into(), "trailers".into())), "{head:?}");
        }
    });
}

#[test]
fn a_server_streams() {
    run(|sandbox| {
        let (rest, _heads) = start(sandbox, |link| link);
        runtime().block_on(async {
            let mut grpc = Grpc::new(channel(&rest).await);
            grpc.ready().await.or_fail("ready");
            let word = Word { text: "count ".repeat(100), number: 2000, ..Word::default() };
            let codec = ProstCodec::<Word, Word>::default();
            let answer = grpc.server_streaming(forged(word), path("Count"), codec).await.or_fail("stream");
            let mut words = answer.into_inner();
            let mut next = 0;
            while let Some(word) = words.next().await {
                let word = word.or_fail("a word");
                assert_eq!((word.number, word.client.as_str()), (next, "consumer"));
                next += 1;
            }
            assert_eq!(next, 2000);
        });
    });
}

#[test]
fn both_sides_stream_in_turn() {
    run(|sandbox| {
        let (rest, _heads) = start(sandbox, |link| link);
        runtime().block_on(async {
            let mut grpc = Grpc::new(channel(&rest).await);
            grpc.ready().await.or_fail("ready");
            let (say, said) = tokio::sync::mpsc::channel::<Word>(1);
            // A stream of what is said, made by hand as nothing else here needs the wrappers.
            let said = tokio_stream::iter(std::iter::repeat(())).then({
                let said = std::sync::Arc::new(tokio::sync::Mutex::new(said));
                move |()| {
                    let said = said.clone();
                    async move { said.lock().await.recv().await }
                }
            });
            let said = said.take_while(Option::is_some).filter_map(|word| word);
            let codec = ProstCodec::<Word, Word>::default();
            let answer = grpc.streaming(Request::new(said), path("Talk"), codec).await.or_fail("talk");
            let mut heard = answer.into_inner();
            // Each word is heard before the next one is said.
            for number in 0..100 {
                say.send(Word { text: "ping".into(), number, ..Word::default() }).await.or_fail("say");
                let word = heard.next().await.or_fail("an end").or_fail("a word");
                assert_eq!((word.number, word.client.as_str()), (number, "consumer"));
            }
            drop(say);
            assert!(heard.next().await.is_none());
        });
    });
}

#[test]
fn many_calls_at_once_do_not_mix() {
    run(|sandbox| {
        let (rest, heads) = start(sandbox, |link| link);
        runtime().block_on(async {
            let channel = channel(&rest).await;
            let calls: Vec<_> = (0..200)
                .map(|number| {
                    let channel = channel.clone();
                    tokio::spawn(
                        async move { (number, say(&channel, &format!("word {number}"), number).await) },
                    )
                })
                .collect();
            for call in calls {
                let (number, answer) = call.await.or_fail("task");
                let word = answer.or_fail("answer").into_inner();
                assert_eq!((word.text, word.number), (format!("word {number}"), number));
                assert_eq!(word.client, "consumer");
            }
        });
        assert_eq!(heads.all().len(), 200);
    });
}

#[test]
fn a_rule_denies_a_call() {
    run(|sandbox| {
        let allow = serde_json::json!([{"methods": ["POST"], "path": "/words.Words/Count"}]);
        let (rest, heads) = start(sandbox, |link| link.rest("allow", allow));
        runtime().block_on(async {
            let channel = channel(&rest).await;
            let status = say(&channel, "hello", 1).await.expect_err("a denial");
            assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
            let mut grpc = Grpc::new(channel.clone());
            grpc.ready().await.or_fail("ready");
            let word = Word { text: "x".into(), number: 1, ..Word::default() };
            let codec = ProstCodec::<Word, Word>::default();
            grpc.server_streaming(Request::new(word), path("Count"), codec).await.or_fail("allowed");
        });
        let paths: Vec<_> = heads.all().iter().map(|head| head.uri.clone()).collect();
        assert_eq!(paths.len(), 1, "{paths:?}");
        rest.mesh.wait_counter(&rest.link, "/denied", 1);
    });
}

#[test]
fn a_provider_that_is_not_up_is_unavailable() {
    run(|sandbox| {
        let mut rest = Rest::start_with(sandbox, |link| link.option("connect_timeout", 1));
        rest.stop_provider();
        runtime().block_on(async {
            let channel = channel(&rest).await;
            let status = say(&channel, "hello", 1).await.expect_err("nobody is there");
            assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        });
    });
}
