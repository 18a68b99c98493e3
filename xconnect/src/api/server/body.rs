//! Bodies of answers: all at once, or lines as a value changes.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Bytes, Frame, SizeHint};
use tokio::sync::watch;

use super::stop::StopSignal;

type Lines = watch::Receiver<Bytes>;
type NextLine = Pin<Box<dyn Future<Output = Option<(Bytes, Lines, Option<StopSignal>)>> + Send>>;

/// The body of an answer.
pub struct Body(Kind);

enum Kind {
    Full(Option<Bytes>),
    Lines(Lines, Option<StopSignal>),
    Waiting(NextLine),
    Ended,
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Full(bytes) => f.debug_tuple("Full").field(bytes).finish(),
            Kind::Lines(..) | Kind::Waiting(_) => f.write_str("Lines"),
            Kind::Ended => f.write_str("Ended"),
        }
    }
}

impl Body {
    /// No bytes.
    #[must_use]
    pub fn empty() -> Self {
        Self(Kind::Full(None))
    }

    /// These bytes.
    #[must_use]
    pub fn full(bytes: Bytes) -> Self {
        Self(Kind::Full(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }

    /// The present value, then every new one; ends when the sender is gone. An empty value is none.
    #[must_use]
    pub fn lines(mut lines: Lines) -> Self {
        lines.mark_changed();
        Self(Kind::Lines(lines, None))
    }

    /// The bytes of a body that is no stream.
    #[must_use]
    pub fn as_full(&self) -> Option<&[u8]> {
        match &self.0 {
            Kind::Full(bytes) => Some(bytes.as_deref().unwrap_or_default()),
            _ => None,
        }
    }

    /// Ends a stream of lines when the server stops.
    pub(super) fn until(mut self, stop: StopSignal) -> Self {
        if let Kind::Lines(_, end) = &mut self.0 {
            *end = Some(stop);
        }
        self
    }
}

async fn next_line(
    mut lines: Lines,
    mut stop: Option<StopSignal>,
) -> Option<(Bytes, Lines, Option<StopSignal>)> {
    let stopped = async {
        match &mut stop {
            Some(stop) => stop.stopped().await,
            None => std::future::pending().await,
        }
    };
    let next = async {
        loop {
            lines.changed().await.ok()?;
            let line = lines.borrow_and_update().clone();
            if !line.is_empty() {
                return Some(line);
            }
        }
    };
    let line = tokio::select! {
        biased;
        () = stopped => return None,
        line = next => line?,
    };
    Some((line, lines, stop))
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            match std::mem::replace(&mut self.0, Kind::Ended) {
                Kind::Full(bytes) => return Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes)))),
                Kind::Lines(lines, stop) => self.0 = Kind::Waiting(Box::pin(next_line(lines, stop))),
                Kind::Waiting(mut next) => match next.as_mut().poll(cx) {
                    Poll::Pending => {
                        self.0 = Kind::Waiting(next);
                        return Poll::Pending;
                    }
                    Poll::Ready(None) => return Poll::Ready(None),
                    Poll::Ready(Some((line, lines, stop))) => {
                        self.0 = Kind::Lines(lines, stop);
                        return Poll::Ready(Some(Ok(Frame::data(line))));
                    }
                },
                Kind::Ended => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Kind::Ended | Kind::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Full(Some(bytes)) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Full(None) | Kind::Ended => SizeHint::with_exact(0),
            Kind::Lines(..) | Kind::Waiting(_) => SizeHint::default(),
        }
    }
}
