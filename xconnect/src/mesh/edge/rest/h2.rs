//! HTTP/2 with prior knowledge (RFC 9113 section 3.3), by hyper on both sides: one connection to the provider for
//! each of the consumer's.

mod body;
mod heads;
mod io;
mod upstream;

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioTimer;
use tokio::time::Instant;

use self::body::{Answered, Asking, Watch};
use self::io::Io;
use self::upstream::{Failure, Provider};
use super::asked::{Method, allowed, too_long};
use super::connection::Connection;
use super::local::Local;
use super::record::{Reached, Record};
use super::reply::Reply;
use super::shared::{LinkShared, Underway};

/// Requests at once on one connection.
const STREAMS_MAX: u32 = 256;
/// Bytes under way to one side on one connection, and on one stream of it.
const WINDOWS: (u32, u32) = (1 << 20, 256 << 10);
/// Bytes that hyper keeps of a stream that its peer does not take.
const SEND_BUFFER: usize = 64 << 10;
/// Requests that a consumer may reset before they were looked at.
const RESETS_MAX: usize = 20;

/// Runs hyper's tasks on the link's thread, to end with the link.
#[derive(Clone)]
struct OnLink(Rc<Local>);

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for OnLink {
    fn execute(&self, task: F) {
        self.0.spawn(Rc::default(), task);
    }
}

/// Serves a connection that has begun with HTTP/2's preface.
pub(super) async fn serve(connection: Connection) {
    let Connection { local, consumer, input, keeps, .. } = connection;
    let link = local.shared.clone();
    let provider = Rc::new(Provider::new(local.clone()));
    let io = Io::new(consumer, input, link.clone());
    let moved = io.moved();
    let service = service_fn({
        let (local, provider) = (local.clone(), provider.clone());
        move |request| {
            let (local, provider) = (local.clone(), provider.clone());
            async move { Ok::<_, Infallible>(answer(&local, &provider, request).await) }
        }
    });
    let serving = http2::Builder::new(OnLink(local.clone()))
        .timer(TokioTimer::new())
        .max_concurrent_streams(link.options.max_requests.min(STREAMS_MAX))
        .max_header_list_size(link.options.max_header_bytes)
        .initial_connection_window_size(WINDOWS.0)
        .initial_stream_window_size(WINDOWS.1)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .serve_connection(io, service);
    tokio::pin!(serving);
    if link.is_draining() {
        serving.as_mut().graceful_shutdown();
    }
    let ended = tokio::select! {
        biased;
        ended = &mut serving => ended,
        () = idle(link.limits.idle_timeout, &moved) => Ok(()),
        () = local.drained.notified() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(parent: &link.span(), %error, "an HTTP/2 connection ended");
    }
    drop(keeps);
}

/// Waits until nothing has moved on the connection for `timeout`.
async fn idle(timeout: Option<Duration>, moved: &Cell<Instant>) {
    let Some(timeout) = timeout else { return std::future::pending().await };
    loop {
        let over = moved.get() + timeout;
        tokio::time::sleep_until(over).await;
        if moved.get() + timeout <= Instant::now() {
            return;
        }
    }
}

/// One request.
async fn answer(
    local: &Rc<Local>,
    provider: &Rc<Provider>,
    request: Request<Incoming>,
) -> Response<Answered> {
    let link = &local.shared;
    let method = Method::of(request.method().as_str());
    let target = request.uri().path_and_query().map_or("", |target| target.as_str()).to_owned();
    let turned = |reply: Reply| {
        Record::turned(link, Some(method), &reply);
        Answered::reply(&reply, link)
    };
    let (head, incoming) = request.into_parts();
    let length = match heads::judge(&head, &target) {
        Ok(length) => length,
        Err(refusal) => {
            let what = format!("this request does not go on: {}", refusal.what);
            return turned(Reply::new(refusal.status, what));
        }
    };
    if length.is_some_and(|length| length > link.body_limit()) {
        return turned(too_long(link));
    }
    if let Err((reply, _)) = allowed(link, head.method.as_str(), &target) {
        return turned(reply);
    }
    let record = Record::begin(link, method, &target);
    let given = |record: &Record, reply: Reply, reached: Reached| {
        record.given(&reply, reached);
        Answered::reply(&reply, link)
    };
    let Some(underway) = Underway::begin(link) else {
        let limit = link.options.max_requests;
        let reply = Reply::new(503, format!("the link has {limit} requests under way (max_requests)"));
        return given(&record, reply.retry_after(1), Reached::No);
    };
    let head = match heads::rewrite(head, link, &mut local.scratch.borrow_mut().seed) {
        Ok(head) => head,
        Err(refusal) => return given(&record, Reply::new(refusal.status, refusal.what), Reached::No),
    };
    let repeatable = hyper::body::Body::is_end_stream(&incoming) && heads::is_idempotent(&head.method);
    let watch = Rc::new(Watch::new());
    let mut asking = Asking::new(incoming, watch.clone(), link);
    let mut again = repeatable;
    loop {
        let retry = again.then(|| head.clone());
        let sending = Request::from_parts(head.clone(), asking);
        match provider.send(sending, &watch, &record).await {
            Ok(response) => {
                let (mut answer, body) = response.into_parts();
                heads::clean_answer(&mut answer.headers);
                let status = answer.status.as_u16();
                let body = Answered::passing(body, underway, record, status);
                return Response::from_parts(answer, body);
            }
            Err(Failure::Stale) if retry.is_some() => {
                again = false;
                record.retried();
                asking = Asking::none(watch.clone(), link);
            }
            Err(failure) => return given(&record, failure.reply(link, &watch), failure.reached()),
        }
    }
}

/// How long to wait for the head of an answer from when something last moved; `None`: for ever.
fn patience(link: &LinkShared, watch: &Watch) -> Option<Duration> {
    let options = &link.options;
    let patience = if watch.is_over() { options.response_timeout } else { options.body_timeout };
    (!patience.is_zero()).then_some(patience)
}
