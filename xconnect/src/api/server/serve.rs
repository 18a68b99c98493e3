//! The accept loop and what happens on one connection.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::HeaderMap;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, EXPECT, HeaderValue};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::guests::{Guests, Place};
use super::{Body, Bound, Handler, Limits, Peer, Request, Response, StopSignal, Trust};
use crate::api::error::ApiError;

/// A body that is too large is read and thrown away up to so many times its limit: a caller that is still
/// writing would otherwise see its connection reset and not the answer.
const DISCARD: usize = 64;

/// Serves until `stop`, then gives requests under way the limits' grace. The socket's path is removed at
/// the end.
///
/// # Errors
/// The listener cannot be registered with the runtime.
pub async fn serve<H: Handler>(
    bound: Bound,
    handler: Arc<H>,
    limits: Limits,
    mut stop: StopSignal,
) -> io::Result<()> {
    let listener = std::os::unix::net::UnixListener::from(bound.listener().try_clone()?);
    let listener = UnixListener::from_std(listener)?;
    let all = Arc::new(Semaphore::new(limits.max_connections));
    let guests = Guests::new(limits.max_connections / 2, limits.guest.max_connections);
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let permit = tokio::select! {
            biased;
            () = stop.stopped() => break,
            permit = Arc::clone(&all).acquire_owned() => permit.map_err(io::Error::other)?,
        };
        let stream = tokio::select! {
            biased;
            () = stop.stopped() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(path = %bound.path().display(), %error, "cannot accept a connection");
                    // EMFILE and ENFILE do not go away by themselves: do not spin.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let peer = match Peer::of(&stream) {
            Ok(peer) => peer,
            Err(error) => {
                tracing::debug!(%error, "a caller went before it was looked at");
                continue;
            }
        };
        let guest = match handler.trust(&peer) {
            Trust::Operator => None,
            Trust::Guest(name) => match guests.enter(name) {
                Some(place) => Some(place),
                None => continue,
            },
        };
        let standing = Standing { _permit: permit, guest };
        let served = Served {
            handler: Arc::clone(&handler),
            guests: guests.clone(),
            limits: if standing.guest.is_some() { limits.of_guest() } else { limits },
            stop: stop.clone(),
        };
        connections.spawn(connection(stream, peer, served, standing));
    }
    drop(bound);
    let all_done = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.stop_grace, all_done).await.is_err() {
        connections.shutdown().await;
    }
    Ok(())
}

/// A caller's place among the connections, given back when it is dropped.
struct Standing {
    _permit: OwnedSemaphorePermit,
    guest: Option<Place>,
}

/// What a connection is served with.
struct Served<H> {
    handler: Arc<H>,
    guests: Guests,
    /// Those of the connection; a request may have narrower ones.
    limits: Limits,
    stop: StopSignal,
}

async fn connection<H: Handler>(stream: UnixStream, peer: Peer, served: Served<H>, standing: Standing) {
    let peer = Arc::new(peer);
    let limits = served.limits;
    let lifetime = standing.guest.as_ref().map(|_| limits.guest.lifetime);
    let served = Arc::new(served);
    let service = service_fn(|request| {
        let (peer, served) = (Arc::clone(&peer), Arc::clone(&served));
        async move { Ok::<_, Infallible>(answer(request, peer, &served).await) }
    });
    let mut serving = std::pin::pin!(
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout)
            .serve_connection(TokioIo::new(stream), service)
    );
    let mut signal = served.stop.clone();
    let result = tokio::select! {
        biased;
        () = signal.stopped() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
        () = over(lifetime) => Ok(()),
        result = serving.as_mut() => result,
    };
    if let Err(error) = result {
        tracing::debug!(%error, pid = peer.pid(), "connection ended early");
    }
    drop(standing);
}

/// Waits for the end of a connection's time, if it has one.
async fn over(lifetime: Option<Duration>) {
    match lifetime {
        Some(lifetime) => tokio::time::sleep(lifetime).await,
        None => std::future::pending().await,
    }
}

async fn answer<H: Handler>(
    request: hyper::Request<Incoming>,
    peer: Arc<Peer>,
    served: &Served<H>,
) -> hyper::Response<Body> {
    let stop = served.stop.clone();
    let (head, body) = request.into_parts();
    let place = match served.admit(&peer, &head.headers) {
        Ok(place) => place,
        Err(error) => return write(Response::error(&error), stop, Then::Close),
    };
    let limits = if place.is_some() { served.limits.of_guest() } else { served.limits };
    let waits_for_continue = head.headers.contains_key(EXPECT);
    let body =
        match tokio::time::timeout(limits.body_timeout, collect(body, limits.max_body, waits_for_continue))
            .await
        {
            Ok(Ok(body)) => body,
            Ok(Err(error)) => return write(Response::error(&error), stop, Then::Close),
            Err(_elapsed) => return write(Response::error(&ApiError::BodyTimeout), stop, Then::Close),
        };
    let request = Request {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        fields: head.headers,
        body,
    };
    let then = if place.is_some() { Then::Close } else { Then::KeepAlive };
    write(served.handler.handle(peer, request).await, stop, then)
}

impl<H: Handler> Served<H> {
    /// A place for a guest's request.
    fn admit(&self, peer: &Peer, fields: &HeaderMap) -> Result<Option<Place>, ApiError> {
        match self.handler.trust_request(peer, fields)? {
            Trust::Operator => Ok(None),
            Trust::Guest(name) => {
                let full =
                    || ApiError::Unavailable(format!("Too many requests of {name} are under way: ask again"));
                self.guests.enter(name.clone()).map(Some).ok_or_else(full)
            }
        }
    }
}

impl Limits {
    /// The same, narrowed to what a guest may have.
    fn of_guest(self) -> Self {
        Self { max_body: self.guest.max_body, ..self }
    }
}

#[derive(Clone, Copy)]
enum Then {
    KeepAlive,
    Close,
}

async fn collect(mut body: Incoming, max: usize, waits_for_continue: bool) -> Result<Bytes, ApiError> {
    let too_large = ApiError::BodyTooLarge(max);
    if waits_for_continue && body.size_hint().lower() > max as u64 {
        return Err(too_large);
    }
    let mut bytes = Vec::new();
    let mut seen = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ApiError::InvalidJson(format!("body: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        seen = seen.saturating_add(data.len());
        if seen <= max {
            bytes.extend_from_slice(&data);
        } else if seen > max.saturating_mul(DISCARD) {
            return Err(too_large);
        } else {
            bytes = Vec::new();
        }
    }
    if seen > max { Err(too_large) } else { Ok(bytes.into()) }
}

fn write(response: Response, stop: StopSignal, then: Then) -> hyper::Response<Body> {
    let mut answer = hyper::Response::new(response.body.until(stop));
    *answer.status_mut() = response.status;
    if let Some(kind) = response.content_type {
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    if matches!(then, Then::Close) {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}
