//! One request and its answer, both ways at once.

mod answer;
mod patience;

use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use tokio::time::Instant;

use super::asked::{Asked, too_long};
use super::body::{Framing, Pump, Stop};
use super::buffer::Buffer;
use super::deadline::Deadline;
use super::http1::{Body, Chunked, HeadScan, Refusal, Trailers, Unwrap};
use super::local::Scratch;
use super::record::Reached;
use super::reply::Reply;
use super::shared::LinkShared;
use super::stream::Stream;
use super::upstream::Upstream;

/// Up to so many bytes of a body are written together with their head.
const JOINED: usize = 16 * 1024;
/// Bytes of later requests that are read before this one's answer is over.
const AHEAD: usize = 4096;

/// How an exchange ends.
#[derive(Debug)]
pub(super) enum End {
    /// The answer has been delivered whole.
    Done {
        /// The consumer may send another request.
        keep_alive: bool,
        /// The provider will take another one.
        reusable: bool,
    },
    /// Both sides speak another protocol from here on.
    Upgraded,
    /// The provider's connection ended before there was any answer.
    NoAnswer {
        /// Nothing of the request went into its socket.
        untouched: bool,
    },
    /// Nothing has been answered yet, and this is to be.
    Reply(Reply, Reached),
    /// The answer had begun, and cannot be finished: why.
    Cut {
        /// What is wrong.
        why: &'static str,
        /// It is that somebody was silent for too long.
        timed_out: bool,
    },
    /// The consumer is gone.
    Gone,
}

enum Phase {
    Head(HeadScan),
    Body(Pump),
    Upgraded,
    Done,
}

/// A request on its way.
enum Sending {
    Head,
    Body,
    Over,
    /// The provider takes no more of it; an answer may be there nevertheless.
    Abandoned,
}

/// What an exchange is built of.
pub(super) struct Parts<'a> {
    pub(super) link: &'a LinkShared,
    pub(super) scratch: &'a RefCell<Scratch>,
    pub(super) asked: &'a Asked,
    pub(super) consumer: &'a mut Stream,
    pub(super) input: &'a mut Buffer,
    pub(super) upstream: &'a mut Upstream,
    pub(super) head: &'a mut Vec<u8>,
    pub(super) out: &'a mut Vec<u8>,
    pub(super) deadline: &'a mut Deadline,
    pub(super) status: &'a mut Option<u16>,
}

/// One request and its answer.
pub(super) struct Exchange<'a> {
    parts: Parts<'a>,
    state: State,
}

struct State {
    sending: Sending,
    body: Pump,
    sent: usize,
    phase: Phase,
    written: usize,
    heard: bool,
    interim: u32,
    keep_alive: bool,
    reusable: bool,
    /// The consumer has ended its sending side.
    half_closed: bool,
    /// Bytes counted, to the provider and to the consumer.
    counted: (u64, u64),
    /// Bytes written to the consumer, those of a body that is on its way left out.
    delivered: u64,
    started: bool,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(parts: Parts<'a>) -> Self {
        let link = parts.link;
        let framing = match parts.asked.body {
            Body::None => Framing::Length(0),
            Body::Length(length) => Framing::Length(length),
            Body::Chunked => {
                let limit = link.options.max_header_bytes as usize;
                let trailers = Trailers::new(limit, link.options.forwarded);
                Framing::Chunked(Box::new(Chunked::new(Unwrap::Keep, trailers)))
            }
        };
        let state = State {
            sending: Sending::Head,
            body: Pump::new(framing, link.body_limit()),
            sent: 0,
            phase: Phase::Head(HeadScan::default()),
            written: 0,
            heard: false,
            interim: 0,
            keep_alive: false,
            reusable: false,
            half_closed: false,
            counted: (0, 0),
            delivered: 0,
            started: false,
        };
        Self { parts, state }
    }

    /// Moves everything on as far as it goes.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let mut progress = !std::mem::replace(&mut self.state.started, true);
        let end = self.advance(cx, &mut progress);
        if progress {
            self.count();
        }
        if let Poll::Ready(end) = end {
            return Poll::Ready(self.settle(end));
        }
        if progress {
            self.parts.deadline.set(Instant::now(), Some(self.patience()));
        }
        ready!(self.parts.deadline.poll(cx));
        let end = self.timed_out();
        Poll::Ready(self.settle(end))
    }

    /// What is on its way to the consumer goes nowhere where something else is to be said, and nothing can be said in
    /// the middle of it.
    fn settle(&mut self, end: End) -> End {
        match end {
            End::Done { .. } | End::Upgraded => end,
            End::Reply(..) | End::NoAnswer { .. } if self.state.written > 0 => {
                cut("an interim answer could not be finished")
            }
            end => {
                self.parts.out.clear();
                end
            }
        }
    }

    fn advance(&mut self, cx: &mut Context<'_>, progress: &mut bool) -> Poll<End> {
        if let Some(end) = self.send(cx, progress) {
            return Poll::Ready(end);
        }
        if let Some(end) = self.answer(cx, progress) {
            return Poll::Ready(end);
        }
        if matches!(self.state.sending, Sending::Over) && self.watch(cx) {
            return Poll::Ready(End::Gone);
        }
        Poll::Pending
    }

    /// The request, to the provider.
    fn send(&mut self, cx: &mut Context<'_>, progress: &mut bool) -> Option<End> {
        let state = &mut self.state;
        if let Sending::Head = state.sending {
            if state.sent == 0
                && let Err(stop) = state.body.join(self.parts.input, self.parts.head, JOINED)
            {
                return self.stopped(&stop);
            }
            while state.sent < self.parts.head.len() {
                match self.parts.upstream.stream.poll_write(cx, &self.parts.head[state.sent..]) {
                    Poll::Pending => return None,
                    Poll::Ready(Ok(written)) => {
                        state.sent += written;
                        *progress = true;
                    }
                    Poll::Ready(Err(_gone)) => {
                        state.sending = Sending::Abandoned;
                        return None;
                    }
                }
            }
            state.sending = if state.body.is_over() { Sending::Over } else { Sending::Body };
            self.parts.upstream.stream.relax();
        }
        if let Sending::Body = state.sending {
            match state.body.poll(
                cx,
                self.parts.consumer,
                self.parts.input,
                &mut self.parts.upstream.stream,
                progress,
            ) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => state.sending = Sending::Over,
                Poll::Ready(Err(Stop::Sink(_gone))) => state.sending = Sending::Abandoned,
                Poll::Ready(Err(stop)) => return self.stopped(&stop),
            }
        }
        None
    }

    /// Whether the provider may have seen anything of the request.
    fn reached(&self) -> Reached {
        if self.state.sent > 0 { Reached::Yes } else { Reached::No }
    }

    /// The request's body does not go on.
    fn stopped(&self, stop: &Stop) -> Option<End> {
        let reply = match stop {
            Stop::Short => Reply::new(400, "the request ends in the middle of its body"),
            Stop::Refused(Refusal { status, what }) => {
                Reply::new(*status, format!("this request does not go on: {what}"))
            }
            Stop::TooLong => too_long(self.parts.link),
            Stop::Source => return Some(End::Gone),
            Stop::Sink(_) => return None,
        };
        Some(match self.parts.status {
            None => End::Reply(reply, self.reached()),
            Some(_) => cut("the request's body was not right"),
        })
    }

    /// Looks whether the consumer is gone, and reads a little of what it sends next, unless that may be another
    /// protocol's.
    fn watch(&mut self, cx: &mut Context<'_>) -> bool {
        while !self.parts.asked.upgrade && !self.state.half_closed && self.parts.input.len() < AHEAD {
            if self.parts.consumer.poll_readable(cx).is_pending() {
                self.parts.input.relax();
                return false;
            }
            let Some(room) = self.parts.input.room() else { return false };
            match self.parts.consumer.poll_read(cx, room) {
                Poll::Pending => return false,
                Poll::Ready(Ok(0)) => self.state.half_closed = true,
                Poll::Ready(Ok(count)) => self.parts.input.filled(count),
                Poll::Ready(Err(_reset)) => return true,
            }
        }
        self.parts.consumer.poll_gone(cx).is_ready()
    }

    fn count(&mut self) {
        let to_provider = self.state.sent as u64 + self.state.body.moved;
        let body = match &self.state.phase {
            Phase::Body(body) => body.moved,
            _ => 0,
        };
        let counters = &self.parts.link.counters;
        let to_consumer = self.state.delivered + body;
        let (provider, consumer) = std::mem::replace(&mut self.state.counted, (to_provider, to_consumer));
        counters.bytes_to_provider.fetch_add(to_provider - provider, Ordering::Relaxed);
        counters.bytes_to_consumer.fetch_add(to_consumer - consumer, Ordering::Relaxed);
    }
}

fn cut(why: &'static str) -> End {
    End::Cut { why, timed_out: false }
}
