//! The provider's HTTP/2 connection of one consumer's connection.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioTimer;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::body::{Asking, Party, Watch};
use super::io::Io;
use super::opening::{Opening, Speaks};
use super::{OnLink, SEND_BUFFER, WINDOWS};
use crate::mesh::edge::rest::asked::too_long;
use crate::mesh::edge::rest::local::{Local, Rests};
use crate::mesh::edge::rest::record::{Reached, Record};
use crate::mesh::edge::rest::reply::Reply;
use crate::mesh::edge::rest::shared::LinkShared;
use crate::mesh::edge::rest::upstream::Unreachable;

/// The way to the provider.
pub(super) struct Provider {
    local: Rc<Local>,
    sender: RefCell<Option<Kept>>,
    /// One at a time connects.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Kept {
    sender: SendRequest<Asking>,
    generation: u64,
    fresh: bool,
}

/// Why there is no answer.
pub(super) enum Failure {
    Unreachable(Unreachable),
    /// It does not begin as HTTP/2 does.
    NotHttp2,
    /// It ended before there was any answer.
    Ended(String),
    /// Nothing came from this side for too long.
    TimedOut(Party),
}

/// A request without an answer.
pub(super) struct NoAnswer {
    pub(super) failure: Failure,
    /// The request, where nothing of it was sent.
    pub(super) unsent: Option<Request<Asking>>,
    /// Its connection had carried others before, and is over.
    pub(super) stale: bool,
}

impl From<Failure> for Box<NoAnswer> {
    fn from(failure: Failure) -> Self {
        Self::new(NoAnswer { failure, unsent: None, stale: false })
    }
}

impl Failure {
    /// Whether the provider may have seen the request.
    pub(super) fn reached(&self) -> Reached {
        if matches!(self, Self::Unreachable(_) | Self::NotHttp2) { Reached::No } else { Reached::Yes }
    }

    pub(super) fn reply(&self, link: &LinkShared, watch: &Watch) -> Reply {
        let options = &link.options;
        match self {
            _ if watch.is_too_long() => too_long(link),
            Self::Unreachable(unreachable) => unreachable.reply(link.limits.connect_timeout),
            Self::NotHttp2 => {
                Reply::new(502, "the provider does not speak HTTP/2: use HTTP/1.1 with it, or teach it h2c")
            }
            Self::Ended(error) => {
                let error = format!("the provider ended the connection before it answered: {error}");
                Reply::new(503, error)
            }
            Self::TimedOut(Party::Provider) => {
                let after = options.response_timeout.as_secs_f64();
                Reply::new(504, format!("the provider said nothing for {after} s (response_timeout)"))
            }
            Self::TimedOut(Party::Consumer) => {
                let after = options.body_timeout.as_secs_f64();
                Reply::new(408, format!("the request's body stopped coming for {after} s (body_timeout)"))
            }
        }
    }
}

impl Provider {
    pub(super) fn new(local: Rc<Local>) -> Self {
        Self { local, sender: RefCell::default(), connecting: tokio::sync::Mutex::new(()) }
    }

    /// Sends a request, and waits for the head of its answer.
    pub(super) async fn send(
        &self,
        request: Request<Asking>,
        watch: &Watch,
        record: &Record,
    ) -> Result<Response<Incoming>, Box<NoAnswer>> {
        let mut kept = match self.ready().await {
            Ok(kept) => kept,
            Err(failure) => return Err(failure.into()),
        };
        record.connected(kept.fresh);
        watch.begin();
        let answer = kept.sender.try_send_request(request);
        tokio::pin!(answer);
        loop {
            tokio::select! {
                biased;
                answered = answer.as_mut() => return answered.map_err(|mut error| {
                    let unsent = error.take_message();
                    let failure = Failure::Ended(crate::mesh::chain(error.error()));
                    let stale = !kept.fresh && kept.sender.is_closed();
                    Box::new(NoAnswer { failure, unsent, stale })
                }),
                () = watch.changed() => {}
                () = over(&self.local.shared, watch) => {
                    // Something may have moved since.
                    let (party, until) = patience(&self.local.shared, watch);
                    if until.is_some_and(|until| until <= Instant::now()) {
                        return Err(Failure::TimedOut(party).into());
                    }
                }
            }
        }
    }

    /// The connection, made anew where there is none that lives.
    async fn ready(&self) -> Result<Kept, Failure> {
        let deadline = Instant::now() + self.local.shared.limits.connect_timeout;
        if let Some(kept) = self.living() {
            return Ok(kept);
        }
        let Ok(_turn) = timeout_at(deadline, self.connecting.lock()).await else {
            let exists = self.local.provider.borrow().is_some();
            return Err(Failure::Unreachable(Unreachable::TimedOut { exists }));
        };
        if let Some(kept) = self.living() {
            return Ok(kept);
        }
        self.connect(deadline).await
    }

    async fn connect(&self, deadline: Instant) -> Result<Kept, Failure> {
        let link = &self.local.shared;
        let connected = self.local.connect(deadline).await;
        let connected = connected.inspect_err(|_| self.local.count_failed()).map_err(Failure::Unreachable)?;
        let (stream, generation, permit) = connected.into_stream();
        let (opening, opened) = Opening::new();
        let building = http2::Builder::new(OnLink(self.local.clone()))
            .timer(TokioTimer::new())
            .initial_connection_window_size(WINDOWS.0)
            .initial_stream_window_size(WINDOWS.1)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(link.options.max_header_bytes)
            .handshake(Io::of_provider(stream, link.clone(), opening));
        let silent = |_| Failure::TimedOut(Party::Provider);
        let (sender, connection) = timeout_at(deadline, building)
            .await
            .map_err(silent)?
            .map_err(|error| Failure::Ended(crate::mesh::chain(&error)))?;
        let span = link.span();
        self.local.spawn(Rests::default(), async move {
            let _permit = permit;
            if let Err(error) = connection.await {
                tracing::debug!(parent: &span, %error, "the provider's HTTP/2 connection ended");
            }
        });
        match timeout_at(deadline, opened).await {
            Ok(Ok(Speaks::Http2)) => {}
            Ok(Ok(Speaks::Other)) | Err(_) => return Err(Failure::NotHttp2),
            Ok(Err(_)) => return Err(Failure::Ended("it said nothing".to_owned())),
        }
        let kept = Kept { sender, generation, fresh: true };
        *self.sender.borrow_mut() = Some(Kept { fresh: false, ..kept.clone() });
        Ok(kept)
    }

    fn living(&self) -> Option<Kept> {
        let mut sender = self.sender.borrow_mut();
        let is_over = |kept: &Kept| kept.sender.is_closed() || kept.generation != self.local.generation.get();
        if sender.as_ref().is_some_and(is_over) {
            *sender = None;
        }
        sender.clone()
    }
}

/// Who is waited for before the head of an answer has come, and until when; `None`: for ever.
fn patience(link: &LinkShared, watch: &Watch) -> (Party, Option<Instant>) {
    let party = watch.waits_for();
    let patience: Duration = match party {
        Party::Provider => link.options.response_timeout,
        Party::Consumer => link.options.body_timeout,
    };
    (party, (!patience.is_zero()).then(|| watch.moved() + patience))
}

async fn over(link: &LinkShared, watch: &Watch) {
    match patience(link, watch).1 {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}
