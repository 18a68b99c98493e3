//! A consumer's connection: one request after another.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::asked::{Asked, Method, Turned, ask};
use super::buffer::Buffer;
use super::deadline::Deadline;
use super::exchange::{End, Exchange, Parts};
use super::http1::{Body, HeadScan, Refusal, Version};
use super::local::{Local, Rests};
use super::record::{Reached, Record};
use super::reply::Reply;
use super::shared::{Admission, Underway};
use super::stream::Stream;
use super::threads::Load;
use super::upstream::Upstream;
use super::{h2, linger, tunnel};

/// What a connection begins with that speaks HTTP/2 (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is given back when a connection is over.
pub(super) struct Keeps {
    _admission: Admission,
    _load: Load,
}

/// Bytes of room that a connection keeps for the next request's heads.
const KEPT: usize = 2048;

/// A consumer's connection.
pub(super) struct Connection {
    pub(super) local: Rc<Local>,
    pub(super) keeps: Keeps,
    pub(super) consumer: Stream,
    pub(super) input: Buffer,
    pub(super) deadline: Deadline,
    out: Vec<u8>,
    head: Vec<u8>,
    rests: Rests,
    /// Whether a request has been answered.
    served: bool,
}

/// What comes next from a consumer.
enum Next {
    /// A head of so many bytes.
    Head(usize),
    /// HTTP/2.
    Preface,
    /// Nothing that a request could be made of.
    Refused(Refusal),
    Closed,
}

/// How far the next request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The last one is over, if there was one.
    Answered,
    /// Nothing has come.
    Idle,
    /// The beginning of its head has.
    Begun,
}

/// What becomes of a connection after a request.
enum After {
    Next,
    Close,
    /// The consumer may still be sending.
    Linger,
}

/// Serves a connection until it ends.
///
/// # Errors
/// The socket cannot be watched.
pub(super) fn start(local: &Rc<Local>, socket: OwnedFd, admission: Admission, load: Load) -> io::Result<()> {
    let rests = Rests::default();
    let connection = Connection {
        local: local.clone(),
        keeps: Keeps { _admission: admission, _load: load },
        consumer: Stream::new(socket, None)?,
        input: Buffer::default(),
        deadline: Deadline::default(),
        out: Vec::new(),
        head: Vec::new(),
        rests: rests.clone(),
        served: false,
    };
    local.spawn(rests, connection.serve());
    Ok(())
}

impl Connection {
    async fn serve(mut self) {
        loop {
            let mut scan = HeadScan::default();
            let mut stage = Stage::Answered;
            let after = match poll_fn(|cx| self.poll_next(cx, &mut scan, &mut stage)).await {
                Next::Head(length) => self.request(length).await,
                Next::Preface => return h2::serve(self).await,
                Next::Refused(refusal) => self.turn(Turned::from(refusal)).await,
                Next::Closed => return,
            };
            self.served = true;
            match after {
                After::Next => {}
                After::Close => return,
                After::Linger => return linger::linger(&self.consumer).await,
            }
        }
    }

    /// The head of the next request.
    fn poll_next(&mut self, cx: &mut Context<'_>, scan: &mut HeadScan, stage: &mut Stage) -> Poll<Next> {
        let options = &self.local.shared.options;
        let limit = options.max_header_bytes as usize;
        loop {
            if !self.input.is_empty() {
                let bytes = self.input.unread();
                let may_be_preface =
                    !self.served && PREFACE.starts_with(&bytes[..bytes.len().min(PREFACE.len())]);
                if may_be_preface && bytes.len() >= PREFACE.len() {
                    return Poll::Ready(Next::Preface);
                }
                if !may_be_preface {
                    match scan.find(bytes) {
                        Ok(None) if bytes.len() > limit => {
                            return Poll::Ready(Next::Refused(Refusal::too_large("its head is too long")));
                        }
                        Ok(None) => {}
                        Ok(Some(length)) => return Poll::Ready(Next::Head(length)),
                        Err(refusal) => return Poll::Ready(Next::Refused(refusal)),
                    }
                }
            }
            let reached = if self.input.is_empty() { Stage::Idle } else { Stage::Begun };
            if reached != *stage {
                *stage = reached;
                let idle = self.local.shared.limits.idle_timeout;
                let patience = if reached == Stage::Idle { idle } else { Some(options.header_timeout) };
                self.deadline.set(Instant::now(), patience);
            }
            if self.consumer.poll_readable(cx).is_pending() {
                self.input.relax();
                if self.input.is_empty() {
                    self.rests.wait(cx);
                    if self.local.shared.is_draining() && self.consumer.is_quiet_now() {
                        return Poll::Ready(Next::Closed);
                    }
                }
                if self.deadline.poll(cx).is_pending() {
                    return Poll::Pending;
                }
                return Poll::Ready(if *stage == Stage::Begun {
                    Next::Refused(Refusal {
                        status: 408,
                        what: "its head did not come in time (header_timeout)",
                    })
                } else {
                    Next::Closed
                });
            }
            if self.input.room().is_none() && !self.input.grow(limit + 1) {
                return Poll::Ready(Next::Refused(Refusal::too_large("its head is too long")));
            }
            let Some(room) = self.input.room() else { return Poll::Ready(Next::Closed) };
            match self.consumer.poll_read(cx, room) {
                Poll::Ready(Ok(0)) if *stage == Stage::Begun => {
                    return Poll::Ready(Next::Refused(Refusal::bad("it ends in the middle of its head")));
                }
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Next::Closed),
                Poll::Ready(Ok(count)) => self.input.filled(count),
                Poll::Pending => {}
            }
        }
    }

    /// A request whose head is there.
    async fn request(&mut self, length: usize) -> After {
        let local = self.local.clone();
        let link = &local.shared;
        self.head.clear();
        let asked = {
            let head = &self.input.unread()[..length];
            ask(head, link, &mut local.scratch.borrow_mut(), &mut self.head)
        };
        self.input.consume(length);
        let (asked, record) = match asked {
            Ok(asked) => asked,
            Err(turned) => return self.turn(*turned).await,
        };
        let after = match Underway::begin(link) {
            Some(underway) => self.carry(&asked, record, underway).await,
            None => {
                let limit = link.options.max_requests;
                let error = format!("the link has {limit} requests under way (max_requests)");
                let reply = Reply::new(503, error).retry_after(1);
                self.give(&asked, record, reply, Reached::No).await
            }
        };
        for large in [&mut self.head, &mut self.out] {
            large.clear();
            large.shrink_to(KEPT);
        }
        after
    }

    /// Brings a request to the provider, and its answer back.
    async fn carry(&mut self, asked: &Asked, record: Record, underway: Underway) -> After {
        let local = self.local.clone();
        let mut resting = local.take_resting(!asked.repeatable);
        loop {
            let fresh = resting.is_none();
            let mut upstream = match resting.take() {
                Some(upstream) => upstream,
                None => match self.reach().await {
                    Ok(upstream) => upstream,
                    Err(Some(reply)) => return self.give(asked, record, reply, Reached::No).await,
                    Err(None) => {
                        record.gone();
                        return After::Close;
                    }
                },
            };
            record.connected(fresh);
            let (end, status) = self.exchange(asked, &mut upstream).await;
            let status = status.unwrap_or(0);
            match end {
                End::Done { keep_alive, reusable } => {
                    record.done(status);
                    if reusable {
                        local.rest(upstream, Instant::now());
                    }
                    return self.after(asked, keep_alive);
                }
                End::NoAnswer { untouched } if asked.may_repeat(untouched) && !fresh => {
                    record.retried();
                    // Not another that rests: it may be as stale.
                    local.pool.clear();
                }
                End::NoAnswer { untouched } => {
                    let reply = Reply::new(503, "the provider ended the connection before it answered");
                    let reply = if asked.repeatable { reply.retry_after(1) } else { reply };
                    let reached = if untouched { Reached::No } else { Reached::Yes };
                    return self.give(asked, record, reply, reached).await;
                }
                End::Reply(reply, reached) => return self.give(asked, record, reply, reached).await,
                End::Upgraded => {
                    record.upgraded();
                    // It is no request any more.
                    drop((record, underway));
                    tunnel::relay(self, upstream).await;
                    return After::Close;
                }
                End::Cut { why, timed_out } => {
                    record.cut(status, why, timed_out);
                    return After::Close;
                }
                End::Gone => {
                    record.gone();
                    return After::Close;
                }
            }
        }
    }

    /// What becomes of the connection when an answer has been delivered.
    fn after(&self, asked: &Asked, keep_alive: bool) -> After {
        if keep_alive {
            After::Next
        } else if self.input.is_empty() && asked.body == Body::None {
            After::Close
        } else {
            After::Linger
        }
    }

    async fn exchange(&mut self, asked: &Asked, upstream: &mut Upstream) -> (End, Option<u16>) {
        let mut status = None;
        let local = self.local.clone();
        let mut exchange = Exchange::new(Parts {
            link: &local.shared,
            scratch: &local.scratch,
            asked,
            consumer: &mut self.consumer,
            input: &mut self.input,
            upstream,
            head: &mut self.head,
            out: &mut self.out,
            deadline: &mut self.deadline,
            status: &mut status,
        });
        let end = poll_fn(|cx| exchange.poll(cx)).await;
        (end, status)
    }

    /// Connects to the provider; `Err(None)`: the consumer did not wait for it.
    async fn reach(&mut self) -> Result<Upstream, Option<Reply>> {
        let local = self.local.clone();
        let patience = local.shared.limits.connect_timeout;
        let connecting = local.connect(Instant::now() + patience);
        tokio::pin!(connecting);
        let connected = poll_fn(|cx| {
            if let Poll::Ready(connected) = connecting.as_mut().poll(cx) {
                return Poll::Ready(Some(connected));
            }
            // What it sends stays where it is.
            self.consumer.poll_gone(cx).map(|()| None)
        });
        match connected.await {
            None => Err(None),
            Some(Ok(upstream)) => Ok(upstream),
            Some(Err(unreachable)) => {
                local.count_failed();
                Err(Some(unreachable.reply(patience)))
            }
        }
    }

    /// Answers a request that does not go on, and says whether the connection does.
    async fn turn(&mut self, turned: Turned) -> After {
        let Turned { reply, method, keep_alive, version } = turned;
        Record::turned(&self.local.shared, method, &reply);
        self.reply(&reply, method.is_some_and(Method::is_head), keep_alive, version).await
    }

    /// Answers in the place of the provider.
    async fn give(&mut self, asked: &Asked, record: Record, reply: Reply, reached: Reached) -> After {
        record.given(&reply, reached);
        let keep_alive = asked.keep_alive
            && asked.body == Body::None
            && !asked.upgrade
            && !self.local.shared.is_draining()
            && !matches!(reply.status, 400 | 408);
        self.reply(&reply, asked.method.is_head(), keep_alive, asked.version).await
    }

    async fn reply(&mut self, reply: &Reply, to_head: bool, keep_alive: bool, version: Version) -> After {
        let connection = match (keep_alive, version) {
            (false, _) => "Connection: close\r\n",
            (true, Version::Http10) => "Connection: keep-alive\r\n",
            (true, Version::Http11) => "",
        };
        let mut out = Vec::new();
        reply.write(&self.local.shared, to_head, connection, &mut out);
        self.deadline.set(Instant::now(), Some(self.local.shared.options.body_timeout));
        let mut sent = 0;
        let delivered = poll_fn(|cx| {
            while sent < out.len() {
                match self.consumer.poll_write(cx, &out[sent..]) {
                    Poll::Ready(Ok(count)) => sent += count,
                    Poll::Ready(Err(_gone)) => return Poll::Ready(false),
                    Poll::Pending if self.deadline.poll(cx).is_ready() => return Poll::Ready(false),
                    Poll::Pending => return Poll::Pending,
                }
            }
            Poll::Ready(true)
        });
        let delivered = delivered.await;
        self.consumer.relax();
        match (delivered, keep_alive) {
            (false, _) => After::Close,
            (true, true) => After::Next,
            (true, false) => After::Linger,
        }
    }
}
