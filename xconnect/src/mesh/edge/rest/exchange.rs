//! One request and its answer, both ways at once.

use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::asked::{Asked, too_long};
use super::body::{Framing, Pump, Stop, Waits};
use super::buffer::Buffer;
use super::deadline::Deadline;
use super::http1::{
    Answer, AnswerFraming, Body, Chunked, Delivery, HeadScan, Refusal, Trailers, Unwrap, Version,
};
use super::local::Scratch;
use super::reply::Reply;
use super::shared::LinkShared;
use super::stream::Stream;
use super::upstream::Upstream;
use crate::graph::Forwarded;

/// Up to so many bytes of a body are written together with their head.
const JOINED: usize = 16 * 1024;
/// Interim answers (1xx) to one request.
const INTERIM_MAX: u32 = 64;
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
    Reply(Reply),
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
            return Poll::Ready(end);
        }
        if progress {
            self.parts.deadline.set(Instant::now(), Some(self.patience()));
        }
        ready!(self.parts.deadline.poll(cx));
        Poll::Ready(self.timed_out())
    }

    fn advance(&mut self, cx: &mut Context<'_>, progress: &mut bool) -> Poll<End> {
        if let Some(end) = self.send(cx, progress) {
            return Poll::Ready(end);
        }
        if let Some(end) = self.answer(cx, progress) {
            return Poll::Ready(end);
        }
        if matches!(self.state.sending, Sending::Over) && !self.parts.asked.upgrade && self.watch(cx) {
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
            None => End::Reply(reply),
            Some(_) => cut("the request's body was not right"),
        })
    }

    /// The answer, to the consumer.
    fn answer(&mut self, cx: &mut Context<'_>, progress: &mut bool) -> Option<End> {
        loop {
            while self.state.written < self.parts.out.len() {
                match self.parts.consumer.poll_write(cx, &self.parts.out[self.state.written..]) {
                    Poll::Pending => return None,
                    Poll::Ready(Ok(written)) => {
                        self.state.written += written;
                        self.state.delivered += written as u64;
                        *progress = true;
                    }
                    Poll::Ready(Err(_gone)) => return Some(End::Gone),
                }
            }
            self.parts.out.clear();
            self.state.written = 0;
            match &mut self.state.phase {
                Phase::Head(scan) => {
                    let found = scan.find(self.parts.upstream.buffer.unread());
                    match found {
                        Ok(Some(length)) => {
                            if let Err(refusal) = self.head_came(length) {
                                return Some(self.bad_answer(refusal));
                            }
                        }
                        Ok(None) => match self.read_head(cx)? {
                            Ok(()) => *progress = true,
                            Err(end) => return Some(end),
                        },
                        Err(refusal) => return Some(self.bad_answer(refusal)),
                    }
                }
                Phase::Body(body) => {
                    let upstream = &mut *self.parts.upstream;
                    match body.poll(cx, &upstream.stream, &mut upstream.buffer, self.parts.consumer, progress)
                    {
                        Poll::Pending => return None,
                        Poll::Ready(Ok(())) => {
                            self.state.delivered += body.moved;
                            self.state.phase = Phase::Done;
                        }
                        Poll::Ready(Err(Stop::Sink(_))) => return Some(End::Gone),
                        Poll::Ready(Err(stop)) => return Some(cut(why_cut(&stop))),
                    }
                }
                Phase::Upgraded => {
                    self.parts.consumer.relax();
                    return Some(End::Upgraded);
                }
                Phase::Done => {
                    self.parts.consumer.relax();
                    let over = matches!(self.state.sending, Sending::Over);
                    return Some(End::Done {
                        keep_alive: self.state.keep_alive && over,
                        reusable: self.state.reusable && over,
                    });
                }
            }
        }
    }

    /// Reads more of the answer's head; `None`: it has to wait.
    fn read_head(&mut self, cx: &mut Context<'_>) -> Option<Result<(), End>> {
        let Upstream { stream, buffer, .. } = &mut *self.parts.upstream;
        let limit = self.parts.link.options.max_header_bytes as usize;
        if stream.poll_readable(cx).is_pending() {
            buffer.relax();
            return None;
        }
        if buffer.len() > limit || (buffer.room().is_none() && !buffer.grow(limit + 1)) {
            return Some(Err(self.bad_answer(Refusal::too_large("its head is too long"))));
        }
        let room = buffer.room()?;
        match stream.poll_read(cx, room) {
            Poll::Pending => None,
            Poll::Ready(Ok(count)) if count > 0 => {
                buffer.filled(count);
                self.state.heard = true;
                Some(Ok(()))
            }
            Poll::Ready(_end) if self.state.heard => {
                Some(Err(self.bad_answer(Refusal::bad("it ends in the middle of its head"))))
            }
            Poll::Ready(_end) => {
                let untouched = self.state.sent == 0;
                Some(Err(End::NoAnswer { untouched }))
            }
        }
    }

    /// A whole head has come.
    fn head_came(&mut self, length: usize) -> Result<(), Refusal> {
        let over = matches!(self.state.sending, Sending::Over);
        let head = &self.parts.upstream.buffer.unread()[..length];
        let fields = &mut self.parts.scratch.borrow_mut().fields;
        let is_head = self.parts.asked.method.is_head();
        let answer = Answer::read(head, fields, self.parts.link.head_limit(), is_head)?;
        let version = self.parts.asked.version;
        let status = answer.status;
        let upgrade = status == 101;
        let interim = status < 200 && !upgrade;
        if upgrade && !self.parts.asked.upgrade {
            return Err(Refusal::bad("it changes to a protocol that nobody asked for"));
        }
        let unwraps = answer.unwraps(version);
        let keep_alive = self.parts.asked.keep_alive
            && over
            && !unwraps
            && answer.framing != AnswerFraming::Close
            && !self.parts.link.is_draining();
        if !interim || version == Version::Http11 {
            answer.write(Delivery { version, keep_alive, upgrade }, self.parts.out);
        }
        let (framing, reusable) = (answer.framing, answer.reusable);
        self.parts.upstream.buffer.consume(length);
        if interim {
            self.state.interim += 1;
            if self.state.interim > INTERIM_MAX {
                return Err(Refusal::bad("there are too many interim ones before it"));
            }
            self.state.phase = Phase::Head(HeadScan::default());
            return Ok(());
        }
        *self.parts.status = Some(status);
        self.state.keep_alive = keep_alive;
        self.state.reusable = reusable;
        self.state.phase = if upgrade { Phase::Upgraded } else { self.body_of(framing, unwraps)? };
        Ok(())
    }

    fn body_of(&mut self, framing: AnswerFraming, unwraps: bool) -> Result<Phase, Refusal> {
        let framing = match framing {
            AnswerFraming::None => return Ok(Phase::Done),
            AnswerFraming::Length(length) => Framing::Length(length),
            AnswerFraming::Close => Framing::Stream,
            AnswerFraming::Chunked => {
                let unwrap = if unwraps { Unwrap::Strip } else { Unwrap::Keep };
                let trailers =
                    Trailers::new(self.parts.link.options.max_header_bytes as usize, Forwarded::Keep);
                Framing::Chunked(Box::new(Chunked::new(unwrap, trailers)))
            }
        };
        let mut body = Pump::new(framing, u64::MAX);
        if let Err(Stop::Refused(refusal)) =
            body.join(&mut self.parts.upstream.buffer, self.parts.out, JOINED)
        {
            return Err(refusal);
        }
        Ok(Phase::Body(body))
    }

    fn bad_answer(&self, refusal: Refusal) -> End {
        match self.parts.status {
            None => {
                End::Reply(Reply::new(502, format!("the provider's answer does not go on: {}", refusal.what)))
            }
            Some(_) => cut("the provider's answer was not right"),
        }
    }

    /// Looks whether the consumer is gone, and reads a little of what it sends next.
    fn watch(&mut self, cx: &mut Context<'_>) -> bool {
        while self.state.half_closed || self.parts.input.len() < AHEAD {
            if self.parts.consumer.poll_readable(cx).is_pending() {
                self.parts.input.relax();
                return false;
            }
            if self.state.half_closed {
                if self.parts.consumer.is_gone() {
                    return true;
                }
                self.parts.consumer.forget_readable(cx);
                continue;
            }
            let Some(room) = self.parts.input.room() else { return false };
            match self.parts.consumer.poll_read(cx, room) {
                Poll::Pending => return false,
                Poll::Ready(Ok(0)) => self.state.half_closed = true,
                Poll::Ready(Ok(count)) => self.parts.input.filled(count),
                Poll::Ready(Err(_reset)) => return true,
            }
        }
        false
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

    /// Who is waited for.
    fn waits_for(&self) -> Party {
        let answer_waits = match &self.state.phase {
            Phase::Body(body) => body.waits == Waits::Sink,
            _ => false,
        };
        let pending = self.state.written < self.parts.out.len();
        match self.state.sending {
            _ if pending || answer_waits => Party::Reader,
            Sending::Body if self.state.body.waits == Waits::Source => {
                let hesitates =
                    self.parts.asked.expects && self.state.interim == 0 && self.state.body.moved == 0;
                if hesitates { Party::Provider } else { Party::Sender }
            }
            _ => Party::Provider,
        }
    }

    fn patience(&self) -> Duration {
        match self.waits_for() {
            Party::Reader | Party::Sender => self.parts.link.options.body_timeout,
            Party::Provider => self.parts.link.options.response_timeout,
        }
    }

    fn timed_out(&self) -> End {
        let after = self.patience().as_secs_f64();
        match (self.waits_for(), *self.parts.status) {
            (Party::Sender, None) => End::Reply(Reply::new(
                408,
                format!("the request's body stopped coming for {after} s (body_timeout)"),
            )),
            (Party::Provider, None) => End::Reply(Reply::new(
                504,
                format!("the provider said nothing for {after} s (response_timeout)"),
            )),
            (Party::Reader, _) => {
                End::Cut { why: "the consumer did not read for body_timeout", timed_out: true }
            }
            (Party::Sender, Some(_)) => {
                End::Cut { why: "the request's body stopped coming for body_timeout", timed_out: true }
            }
            (Party::Provider, Some(_)) => {
                End::Cut { why: "the provider said nothing for response_timeout", timed_out: true }
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Party {
    /// The consumer, to send more of its request.
    Sender,
    /// The consumer, to read more of its answer.
    Reader,
    Provider,
}

fn cut(why: &'static str) -> End {
    End::Cut { why, timed_out: false }
}

fn why_cut(stop: &Stop) -> &'static str {
    match stop {
        Stop::Short | Stop::Source => "the provider ended its answer in the middle",
        Stop::Refused(_) | Stop::TooLong | Stop::Sink(_) => "the provider's answer was not right",
    }
}
