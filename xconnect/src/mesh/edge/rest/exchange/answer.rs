//! The answer of an exchange, from the provider to the consumer.

use std::task::{Context, Poll};

use super::{End, Exchange, JOINED, Phase, Sending, cut};
use crate::graph::Forwarded;
use crate::mesh::edge::rest::body::{Framing, Pump, Stop};
use crate::mesh::edge::rest::http1::{
    Answer, AnswerFraming, Chunked, Delivery, HeadScan, Refusal, Trailers, Unwrap, Version,
};
use crate::mesh::edge::rest::reply::Reply;
use crate::mesh::edge::rest::upstream::Upstream;

/// Interim answers (1xx) to one request.
const INTERIM_MAX: u32 = 64;

impl Exchange<'_> {
    /// The answer, to the consumer.
    pub(super) fn answer(&mut self, cx: &mut Context<'_>, progress: &mut bool) -> Option<End> {
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
        if upgrade && !(self.parts.asked.upgrade && over) {
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
        self.state.phase = if upgrade { Phase::Upgraded } else { self.body_of(framing, unwraps)? };
        self.state.keep_alive = keep_alive;
        self.state.reusable = reusable;
        // From here on it has begun, and can only be cut.
        *self.parts.status = Some(status);
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
                let error = format!("the provider's answer does not go on: {}", refusal.what);
                End::Reply(Reply::new(502, error), self.reached())
            }
            Some(_) => cut("the provider's answer was not right"),
        }
    }
}

fn why_cut(stop: &Stop) -> &'static str {
    match stop {
        Stop::Short | Stop::Source => "the provider ended its answer in the middle",
        Stop::Refused(_) | Stop::TooLong | Stop::Sink(_) => "the provider's answer was not right",
    }
}
