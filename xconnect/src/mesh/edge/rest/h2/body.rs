//! Bodies of HTTP/2 on their way, watched.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::heads::clean_trailers;
use super::streams::Stream;
use crate::graph::Forwarded;
use crate::mesh::edge::rest::record::Record;
use crate::mesh::edge::rest::shared::{LinkShared, Underway};

type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// One side of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Party {
    Consumer,
    Provider,
}

/// What is known of a request's body by who waits for its answer.
pub(super) struct Watch {
    moved: Cell<Instant>,
    party: Cell<Party>,
    too_long: Cell<bool>,
    changed: Notify,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            moved: Cell::new(Instant::now()),
            party: Cell::new(Party::Provider),
            too_long: Cell::new(false),
            changed: Notify::new(),
        }
    }

    /// The request goes to the provider: waiting begins.
    pub(super) fn begin(&self) {
        self.moved.set(Instant::now());
    }

    /// When something of it last moved.
    pub(super) fn moved(&self) -> Instant {
        self.moved.get()
    }

    /// Waits until somebody else is waited for than at the last call.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Who is waited for: the consumer while more of the body is to come and there is room for it.
    pub(super) fn waits_for(&self) -> Party {
        self.party.get()
    }

    /// Whether it was longer than it may be.
    pub(super) fn is_too_long(&self) -> bool {
        self.too_long.get()
    }

    fn moves(&self) {
        self.moved.set(Instant::now());
        self.wait_for(Party::Provider);
    }

    fn wait_for(&self, party: Party) {
        if self.party.replace(party) != party {
            self.changed.notify_one();
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
        watch.moves();
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
        let Poll::Ready(frame) = Pin::new(incoming).poll_frame(cx) else {
            this.watch.wait_for(Party::Consumer);
            return Poll::Pending;
        };
        let frame = match frame {
            None => {
                this.watch.moves();
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
                this.watch.moves();
                Frame::data(data)
            }
            Err(frame) => {
                this.watch.moves();
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
    end: AnswerEnd,
    _underway: Underway,
    _stream: Stream,
}

/// How far an answer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AnswerEnd {
    /// There is more.
    Open,
    /// That was all.
    Whole,
    /// The provider has broken it off.
    Broken,
}

impl Answered {
    pub(super) fn passing(
        body: Incoming,
        underway: Underway,
        record: Record,
        status: u16,
        stream: Stream,
    ) -> Self {
        let end = if body.is_end_stream() { AnswerEnd::Whole } else { AnswerEnd::Open };
        Self::Passing(Box::new(Passing { body, record, status, end, _underway: underway, _stream: stream }))
    }

    /// The mesh's own.
    pub(super) fn own(body: Vec<u8>) -> Self {
        Self::Own((!body.is_empty()).then(|| body.into()))
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
                passing.end = match &frame {
                    None => AnswerEnd::Whole,
                    Some(Ok(frame)) if frame.is_trailers() || passing.body.is_end_stream() => {
                        AnswerEnd::Whole
                    }
                    Some(Ok(_)) => AnswerEnd::Open,
                    Some(Err(_)) => AnswerEnd::Broken,
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
        match self.end {
            AnswerEnd::Whole => self.record.done(self.status),
            AnswerEnd::Open => self.record.gone(),
            AnswerEnd::Broken => {
                self.record.cut(self.status, "the provider ended its answer in the middle", false);
            }
        }
    }
}
