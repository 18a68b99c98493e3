//! A provider that speaks HTTP/2: gRPC below `/words.Words/`, and elsewhere it tells what it sees. It records all heads.

use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::service_fn as tower_fn;
use xconnect_tests::mesh::Setup;
use xconnect_tests::rest::{ROLE, Rest};
use xconnect_tests::{OrFail, Sandbox, Socket};

/// The only message.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Word {
    /// What is said.
    #[prost(string, tag = "1")]
    pub(crate) text: String,
    /// Who said it, as the provider sees it.
    #[prost(string, tag = "2")]
    pub(crate) client: String,
    /// Its number.
    #[prost(uint32, tag = "3")]
    pub(crate) number: u32,
}

/// A request that came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    /// The connection, counted from 1 on.
    pub(crate) connection: u64,
    /// The method.
    pub(crate) method: String,
    /// The target, with the authority where there is one.
    pub(crate) uri: String,
    /// The fields.
    pub(crate) fields: Vec<(String, String)>,
}

impl Head {
    /// Asserts that it carries exactly the identity of this link.
    #[track_caller]
    pub(crate) fn assert_identity(&self, rest: &Rest) {
        let mut of_us: Vec<_> = self
            .fields
            .iter()
            .map(|(name, value)| (name.replace(|c: char| !c.is_ascii_alphanumeric(), "-"), value.as_str()))
            .filter(|(name, _)| name.starts_with("x-pv-"))
            .collect();
        of_us.sort();
        let names: Vec<_> = of_us.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["x-pv-client", "x-pv-link-id", "x-pv-role"], "{self:?}");
        let (client, role) = (rest.link.text("consumer"), rest.link.text("role"));
        assert_eq!((of_us[0].1, of_us[2].1), (client, role), "{self:?}");
    }
}

/// What came so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heads(Arc<Mutex<(u64, Vec<Head>)>>);

impl Heads {
    /// All of it.
    pub(crate) fn all(&self) -> Vec<Head> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    fn connection(&self) -> u64 {
        let mut heads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heads.0 += 1;
        heads.0
    }

    fn add(&self, connection: u64, request: &Request<Incoming>) {
        let text =
            |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let fields = request.headers().iter().map(|(name, value)| (name.to_string(), text(value)));
        let head = Head {
            connection,
            method: request.method().to_string(),
            uri: request.uri().to_string(),
            fields: fields.collect(),
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.push(head);
    }
}

/// A link whose provider speaks HTTP/2, with the heads that it has seen. The provider runs until the test ends.
pub(crate) fn start(
    sandbox: &Sandbox,
    change: impl FnOnce(xconnect_tests::Link) -> xconnect_tests::Link,
) -> (Rest, Heads) {
    start_as(sandbox, Setup::default(), change)
}

/// The same with a mesh that is started like this.
pub(crate) fn start_as(
    sandbox: &Sandbox,
    setup: Setup,
    change: impl FnOnce(xconnect_tests::Link) -> xconnect_tests::Link,
) -> (Rest, Heads) {
    let consumer = xconnect_tests::guests::container(sandbox);
    let house = xconnect_tests::Container::start(sandbox);
    let mut rest = Rest::start_as(sandbox, setup, consumer, house, change);
    rest.stop_provider();
    let heads = Heads::default();
    let listener = rest.house.listen(rest.link.socket());
    serve(&listener, heads.clone());
    rest.mesh.wait(&rest.link, "up");
    (rest, heads)
}

/// Serves a socket with HTTP/2 until the test ends.
pub(crate) fn serve(listener: &xconnect_tests::Listener, heads: Heads) {
    use std::os::fd::AsFd;
    let listener = listener.as_fd().try_clone_to_owned().or_fail("dup");
    let timeout = rustix::net::sockopt::Timeout::Recv;
    rustix::net::sockopt::set_socket_timeout(&listener, timeout, None).or_fail("no accept timeout");
    std::thread::spawn(move || {
        while let Ok(connection) = rustix::net::accept(&listener) {
            let heads = heads.clone();
            std::thread::spawn(move || connection_of(connection, &heads));
        }
    });
}

fn connection_of(connection: OwnedFd, heads: &Heads) {
    let peer = Socket::from(connection.try_clone().or_fail("dup")).peer();
    assert_eq!((peer.uid.as_raw(), peer.gid.as_raw()), ROLE);
    let id = heads.connection();
    runtime().block_on(async {
        let stream = stream(connection);
        let service = service_fn(move |request: Request<Incoming>| {
            heads.add(id, &request);
            answer(request)
        });
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        // Its end is what the test wants, whichever it is.
        let _ = server.serve_connection(TokioIo::new(stream), service).await;
    });
}

/// A socket for tokio.
pub(crate) fn stream(socket: OwnedFd) -> tokio::net::UnixStream {
    let stream = std::os::unix::net::UnixStream::from(socket);
    stream.set_nonblocking(true).or_fail("nonblocking");
    tokio::net::UnixStream::from_std(stream).or_fail("stream")
}

/// A runtime of this thread.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().or_fail("runtime")
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let mut grpc = tonic::server::Grpc::new(ProstCodec::<Word, Word>::default());
    Ok(match request.uri().path() {
        "/words.Words/Say" => grpc.unary(tower_fn(say), request).await,
        "/words.Words/Count" => grpc.server_streaming(tower_fn(count), request).await,
        "/words.Words/Talk" => grpc.streaming(tower_fn(talk), request).await,
        "/slow" => {
            tokio::time::sleep(Duration::from_millis(2500)).await;
            report(request).await
        }
        // The body stays where it is.
        "/unread" => std::future::pending().await,
        _ => report(request).await,
    })
}

async fn report(request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let (length, trailers) = match body.collect().await {
        Ok(whole) => {
            let trailers = whole.trailers().cloned().unwrap_or_default();
            (whole.to_bytes().len(), trailers)
        }
        Err(error) => {
            return Response::new(Body::new(Full::new(Bytes::from(error.to_string())).map_err(never)));
        }
    };
    let names: Vec<_> = trailers.keys().map(ToString::to_string).collect();
    let field = |name: &str| {
        parts.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let text = serde_json::json!({
        "method": parts.method.to_string(),
        "uri": parts.uri.to_string(),
        "client": field("x-pv-client"),
        "nonce": field("x-nonce"),
        "length": length,
        "trailers": names,
    });
    Response::new(Body::new(Full::new(Bytes::from(text.to_string())).map_err(never)))
}

fn never(never: Infallible) -> Status {
    match never {}
}

fn client(metadata: &MetadataMap) -> String {
    let all: Vec<_> =
        metadata.get_all("x-pv-client").iter().filter_map(|value| value.to_str().ok()).collect();
    all.join(" and ")
}

async fn say(request: tonic::Request<Word>) -> Result<tonic::Response<Word>, Status> {
    let client = client(request.metadata());
    let word = request.into_inner();
    if word.text == "fail" {
        return Err(Status::new(Code::FailedPrecondition, "as you wished"));
    }
    let mut answer = tonic::Response::new(Word { client, ..word });
    answer.metadata_mut().insert("x-extra", "one".parse().map_err(|_| Status::internal("metadata"))?);
    Ok(answer)
}

type Words = Pin<Box<dyn Stream<Item = Result<Word, Status>> + Send>>;

async fn count(request: tonic::Request<Word>) -> Result<tonic::Response<Words>, Status> {
    let client = client(request.metadata());
    let word = request.into_inner();
    let words = (0..word.number)
        .map(move |number| Ok(Word { text: word.text.clone(), client: client.clone(), number }));
    let words: Vec<_> = words.collect();
    Ok(tonic::Response::new(Box::pin(tokio_stream::iter(words))))
}

async fn talk(request: tonic::Request<Streaming<Word>>) -> Result<tonic::Response<Words>, Status> {
    let client = client(request.metadata());
    let words =
        request.into_inner().map(move |word| word.map(|word| Word { client: client.clone(), ..word }));
    Ok(tonic::Response::new(Box::pin(words)))
}
