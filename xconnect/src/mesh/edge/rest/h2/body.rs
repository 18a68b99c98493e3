//! Bodies of HTTP/2 on their way, watched.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::heads::clean_trailers;
use crate::graph::Forwarded;
use crate::mesh::edge::rest::record::Record;
use crate::mesh::edge::rest::reply::Reply;
use crate::mesh::edge::rest::shared::{LinkShared, Underway};

type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// What is known of a request's body by who waits for its answer.
pub(super) struct Watch {
    moved: Cell<Instant>,
    over: Cell<bool>,
    too_long: Cell<bool>,
    ended: Notify,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            moved: Cell::new(Instant::now()),
            over: Cell::new(false),
            too_long: Cell::new(false),
            ended: Notify::new(),
        }
    }

    /// When something of it last moved.
    pub(super) fn moved(&self) -> Instant {
        self.moved.get()
    }

    /// Waits until all of it has gone: from then on it is the provider who is waited for.
    pub(super) async fn ended(&self) {
        self.ended.notified().await;
    }

    /// Whether all of it has gone.
    pub(super) fn is_over(&self) -> bool {
        self.over.get()
    }

    /// Whether it was longer than it may be.
    pub(super) fn is_too_long(&self) -> bool {
        self.too_long.get()
    }

    fn moves(&self, over: bool) {
        self.moved.set(Instant::now());
        self.over.set(over);
        if over {
            self.ended.notify_one();
        }
    }
}

/// A request's body.
pub(super) struct Asking {
    incoming: Option<Incoming>,
    watch: Rc<Watch>,
    left: u64,
    keep_forwarded: bool,
}

impl Asking {
    pub(super) fn new(incoming: Incoming, watch: Rc<Watch>, link: &LinkShared) -> Self {
        if incoming.is_end_stream() {
            return Self::none(watch, link);
        }
        Self { incoming: Some(incoming), ..Self::none(watch, link) }
    }

    /// None at all.
    pub(super) fn none(watch: Rc<Watch>, link: &LinkShared) -> Self {
        watch.moves(true);
        let keep_forwarded = link.options.forwarded == Forwarded::Keep;
        Self { incoming: None, watch, left: link.body_limit(), keep_forwarded }
    }
}

impl Body for Asking {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let Some(incoming) = &mut this.incoming else { return Poll::Ready(None) };
        let frame = match ready!(Pin::new(incoming).poll_frame(cx)) {
            None => {
                this.watch.moves(true);
                return Poll::Ready(None);
            }
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            Some(Ok(frame)) => frame,
        };
        let frame = match frame.into_data() {
            Ok(data) => {
                let Some(left) = this.left.checked_sub(data.len() as u64) else {
                    this.watch.too_long.set(true);
                    return Poll::Ready(Some(Err("the body is too long".into())));
                };
                this.left = left;
                this.watch.moves(this.is_end_stream());
                Frame::data(data)
            }
            Err(frame) => {
                this.watch.moves(true);
                let Ok(mut trailers) = frame.into_trailers() else { return Poll::Ready(None) };
                clean_trailers(&mut trailers, this.keep_forwarded);
                Frame::trailers(trailers)
            }
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// An answer's body.
pub(super) enum Answered {
    /// The provider's.
    Passing(Box<Passing>),
    /// The mesh's own.
    Own(Option<Bytes>),
}

/// The provider's answer on its way, and what is to be recorded at its end.
pub(super) struct Passing {
    body: Incoming,
    record: Record,
    status: u16,
    whole: bool,
    _underway: Underway,
}

impl Answered {
    pub(super) fn passing(body: Incoming, underway: Underway, record: Record, status: u16) -> Self {
        let whole = body.is_end_stream();
        Self::Passing(Box::new(Passing { body, record, status, whole, _underway: underway }))
    }

    /// An answer of the mesh's own.
    pub(super) fn reply(reply: &Reply, link: &Arc<LinkShared>) -> Response<Self> {
        let mut response = Response::new(Self::Own(Some(reply.body(link).into())));
        *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(after) = reply.retry_after {
            headers.insert(RETRY_AFTER, after.into());
        }
        response
    }
}

impl Body for Answered {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Passing(passing) => {
                let frame = ready!(Pin::new(&mut passing.body).poll_frame(cx));
                passing.whole = match &frame {
                    None => true,
                    Some(Ok(frame)) => frame.is_trailers() || passing.body.is_end_stream(),
                    Some(Err(_)) => false,
                };
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.is_none(),
            Self::Passing(passing) => passing.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Passing(passing) => passing.body.size_hint(),
        }
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        if self.whole {
            self.record.done(self.status);
        } else {
            self.record.cut(self.status, "an answer ended in the middle", false);
        }
    }
}
