//! How long an exchange waits, and for whom.

use std::time::Duration;

use super::{End, Exchange, Phase, Sending};
use crate::mesh::edge::rest::body::Waits;
use crate::mesh::edge::rest::reply::Reply;

#[derive(Debug, Clone, Copy)]
enum Party {
    /// The consumer, to send more of its request.
    Sender,
    /// The consumer, to read more of its answer.
    Reader,
    Provider,
}

impl Exchange<'_> {
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
                let hesitates = self.parts.asked.expects && self.state.interim == 0 && !self.state.body.begun;
                if hesitates { Party::Provider } else { Party::Sender }
            }
            _ => Party::Provider,
        }
    }

    pub(super) fn patience(&self) -> Duration {
        match self.waits_for() {
            Party::Reader | Party::Sender => self.parts.link.options.body_timeout,
            Party::Provider => self.parts.link.options.response_timeout,
        }
    }

    pub(super) fn timed_out(&self) -> End {
        let after = self.patience().as_secs_f64();
        match (self.waits_for(), *self.parts.status) {
            (Party::Sender, None) => End::Reply(
                Reply::new(408, format!("the request's body stopped coming for {after} s (body_timeout)")),
                self.reached(),
            ),
            (Party::Provider, None) => End::Reply(
                Reply::new(504, format!("the provider said nothing for {after} s (response_timeout)")),
                self.reached(),
            ),
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
