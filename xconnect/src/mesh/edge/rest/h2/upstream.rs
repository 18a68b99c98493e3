//! The provider's HTTP/2 connection of one consumer's connection.

use std::cell::RefCell;
use std::rc::Rc;

use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioTimer;
use tokio::time::{Instant, sleep_until, timeout};

use super::body::{Asking, Watch};
use super::io::Io;
use super::{OnLink, SEND_BUFFER, WINDOWS, patience};
use crate::mesh::edge::rest::asked::too_long;
use crate::mesh::edge::rest::local::Local;
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
    /// The connection was there before, and ended before there was any answer.
    Stale,
    Unreachable(Unreachable),
    /// It ended before there was any answer, or does not speak HTTP/2.
    Ended(String),
    /// The provider, or the consumer with its body, was silent for too long.
    TimedOut,
}

impl Failure {
    /// Whether the provider may have seen the request.
    pub(super) fn reached(&self) -> Reached {
        if matches!(self, Self::Unreachable(_)) { Reached::No } else { Reached::Yes }
    }

    pub(super) fn reply(&self, link: &LinkShared, watch: &Watch) -> Reply {
        match self {
            _ if watch.is_too_long() => too_long(link),
            Self::Unreachable(unreachable) => unreachable.reply(link.limits.connect_timeout),
            Self::Stale => Reply::new(503, "the provider ended the connection before it answered"),
            Self::Ended(error) => Reply::new(
                503,
                format!("the provider ended the HTTP/2 connection before it answered: {error}"),
            ),
            Self::TimedOut if watch.is_over() => {
                let after = link.options.response_timeout.as_secs_f64();
                Reply::new(504, format!("the provider said nothing for {after} s (response_timeout)"))
            }
            Self::TimedOut => {
                let after = link.options.body_timeout.as_secs_f64();
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
    ) -> Result<Response<Incoming>, Failure> {
        let mut kept = self.ready().await.map_err(Failure::Unreachable)??;
        record.connected(kept.fresh);
        let link = &self.local.shared;
        let answer = kept.sender.send_request(request);
        tokio::pin!(answer);
        loop {
            let until = patience(link, watch).map(|patience| watch.moved() + patience);
            let over = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                answered = answer.as_mut() => return match answered {
                    Ok(response) => Ok(response),
                    Err(_) if !kept.fresh => Err(Failure::Stale),
                    Err(error) => Err(Failure::Ended(crate::mesh::chain(&error))),
                },
                () = watch.ended() => {}
                () = over => {
                    // Something may have moved since.
                    if patience(link, watch).is_some_and(|patience| watch.moved() + patience <= Instant::now()) {
                        return Err(Failure::TimedOut);
                    }
                }
            }
        }
    }

    /// The connection, made anew where there is none that lives.
    async fn ready(&self) -> Result<Result<Kept, Failure>, Unreachable> {
        if let Some(kept) = self.living() {
            return Ok(Ok(kept));
        }
        let _turn = self.connecting.lock().await;
        if let Some(kept) = self.living() {
            return Ok(Ok(kept));
        }
        let link = &self.local.shared;
        let deadline = Instant::now() + link.limits.connect_timeout;
        let connected = self.local.connect(deadline).await.inspect_err(|_| self.local.count_failed())?;
        let (stream, generation, permit) = connected.into_stream();
        let io = Io::of_provider(stream, link.clone());
        let building = http2::Builder::new(OnLink(self.local.clone()))
            .timer(TokioTimer::new())
            .initial_connection_window_size(WINDOWS.0)
            .initial_stream_window_size(WINDOWS.1)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(link.options.max_header_bytes)
            .handshake(io);
        let (sender, connection) = match timeout(link.limits.connect_timeout, building).await {
            Ok(Ok(made)) => made,
            Ok(Err(error)) => return Ok(Err(Failure::Ended(crate::mesh::chain(&error)))),
            Err(_elapsed) => return Ok(Err(Failure::TimedOut)),
        };
        let span = link.span();
        self.local.spawn(Rc::default(), async move {
            let _permit = permit;
            if let Err(error) = connection.await {
                tracing::debug!(parent: &span, %error, "the provider's HTTP/2 connection ended");
            }
        });
        let kept = Kept { sender, generation, fresh: true };
        *self.sender.borrow_mut() = Some(Kept { fresh: false, ..kept.clone() });
        Ok(Ok(kept))
    }

    fn living(&self) -> Option<Kept> {
        let mut sender = self.sender.borrow_mut();
        if sender
            .as_ref()
            .is_some_and(|kept| kept.sender.is_closed() || kept.generation != self.local.generation.get())
        {
            *sender = None;
        }
        sender.clone()
    }
}
