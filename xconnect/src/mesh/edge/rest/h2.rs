//! HTTP/2 with prior knowledge (RFC 9113 section 3.3), by hyper on both sides: one connection to the provider for
//! each of the consumer's.

mod answer;
mod body;
mod heads;
mod io;
mod opening;
mod own;
mod streams;
mod upstream;

use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;

use self::io::Io;
use self::streams::Streams;
use self::upstream::Provider;
use super::connection::Connection;
use super::local::{Local, Rests};

/// Requests at once on one connection.
const STREAMS_MAX: u32 = 256;
/// Bytes under way to one side on one connection, and on one stream of it.
const WINDOWS: (u32, u32) = (1 << 20, 256 << 10);
/// Bytes that hyper keeps of a stream that its peer does not take.
const SEND_BUFFER: usize = 64 << 10;
/// Requests that a consumer may reset before they were looked at.
const RESETS_MAX: usize = 20;
/// How long a consumer may take to close a connection that has been told to end.
const FAREWELL: Duration = Duration::from_secs(1);

/// Runs hyper's tasks on the link's thread, to end with the link.
#[derive(Clone)]
struct OnLink(Rc<Local>);

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for OnLink {
    fn execute(&self, task: F) {
        self.0.spawn(Rests::default(), task);
    }
}

/// Serves a connection that has begun with HTTP/2's preface.
pub(super) async fn serve(connection: Connection) {
    let Connection { local, consumer, input, keeps, .. } = connection;
    let link = local.shared.clone();
    let provider = Rc::new(Provider::new(local.clone()));
    let streams = Rc::new(Streams::new());
    let service = service_fn({
        let (local, streams) = (local.clone(), streams.clone());
        move |request| {
            let (local, provider, stream) = (local.clone(), provider.clone(), streams.open());
            async move { Ok::<_, Infallible>(answer::answer(&local, &provider, request, stream).await) }
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
        .serve_connection(Io::new(consumer, input, link.clone()), service);
    tokio::pin!(serving);
    let drained = async {
        // Made before the look: what is told between the two is not missed.
        let told = local.drained.notified();
        if !link.is_draining() {
            told.await;
        }
    };
    let ended = tokio::select! {
        biased;
        ended = &mut serving => ended,
        () = streams.idle(link.options.header_timeout, link.limits.idle_timeout) => {
            serving.as_mut().graceful_shutdown();
            tokio::time::timeout(FAREWELL, serving).await.unwrap_or(Ok(()))
        }
        () = drained => {
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                ended = &mut serving => ended,
                // A consumer that does not answer the farewell holds nothing up.
                () = streams.idle(FAREWELL, Some(FAREWELL)) => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(parent: &link.span(), %error, "an HTTP/2 connection ended");
    }
    drop(keeps);
}
