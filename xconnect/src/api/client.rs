//! A small HTTP/1.1 client for the control socket: bounded answers, bounded waits, and errors that say
//! which socket was asked for what.

mod connect;
mod error;
mod lines;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use connect::connect;
pub use error::{Attempt, Error};
pub use lines::Lines;

/// How long to wait and how much to accept.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// For the connection to be taken.
    pub connect: Duration,
    /// For one whole exchange after that; a stream of lines has this long until its head is there.
    pub total: Duration,
    /// Bytes of a body, and of one line of a stream.
    pub body: usize,
}

impl Default for Bounds {
    /// Upstream's 5 s and 240 s; 256 MiB is far above a graph of 10,000 links with all its counters.
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), total: Duration::from_secs(240), body: 256 << 20 }
    }
}

/// Asks the first of some sockets that takes the connection.
#[derive(Debug, Clone)]
pub struct Client {
    sockets: Vec<PathBuf>,
    bounds: Bounds,
}

/// A whole answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The socket that answered.
    pub socket: PathBuf,
    /// The HTTP status.
    pub status: u16,
    /// The `Content-Type`, empty where there is none.
    pub content_type: String,
    /// The body.
    pub body: Vec<u8>,
}

struct Exchange {
    socket: PathBuf,
    response: Response<Incoming>,
    /// Holds the task that drives the connection; dropping it ends the connection.
    driver: JoinSet<()>,
}

impl Client {
    /// A client of the first of these sockets that takes a connection.
    #[must_use]
    pub fn new(sockets: Vec<PathBuf>, bounds: Bounds) -> Self {
        Self { sockets, bounds }
    }

    /// One exchange. `target` is the path with its query; a body goes out as JSON.
    ///
    /// # Errors
    /// When no socket takes the connection, or the answer is late, malformed, cut off or too large.
    /// An HTTP status that tells of an error is an [`Answer`].
    pub async fn request(
        &self,
        method: &Method,
        target: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Answer, Error> {
        let (socket, stream) = self.connect().await?;
        let at = Asked { socket: &socket, method, target };
        timeout(self.bounds.total, async {
            let exchange = send(&at, stream, body).await?;
            self.collect(&at, exchange).await
        })
        .await
        .map_err(|_| at.late(self.bounds.total))?
    }

    /// Asks for a stream of lines (`?watch=1`).
    ///
    /// # Errors
    /// As [`Self::request`]; a status other than 200 is [`Error::Refused`].
    pub async fn lines(&self, target: &str) -> Result<Lines, Error> {
        let (socket, stream) = self.connect().await?;
        let at = Asked { socket: &socket, method: &Method::GET, target };
        let exchange = timeout(self.bounds.total, send(&at, stream, None))
            .await
            .map_err(|_| at.late(self.bounds.total))??;
        if exchange.response.status().as_u16() != 200 {
            let answer = timeout(self.bounds.total, self.collect(&at, exchange))
                .await
                .map_err(|_| at.late(self.bounds.total))??;
            return Err(Error::Refused { answer: Box::new(answer) });
        }
        Ok(Lines::new(exchange, target.to_owned(), self.bounds.body))
    }

    /// The socket that takes connections, for those who speak to it themselves.
    ///
    /// # Errors
    /// [`Error::NoSocket`].
    pub async fn reachable(&self) -> Result<PathBuf, Error> {
        self.connect().await.map(|(socket, _)| socket)
    }

    async fn connect(&self) -> Result<(PathBuf, tokio::net::UnixStream), Error> {
        let mut tried = Vec::new();
        for socket in &self.sockets {
            match connect(socket, self.bounds.connect).await {
                Ok(stream) => return Ok((socket.clone(), stream)),
                Err(error) => tried.push(Attempt { socket: socket.clone(), error }),
            }
        }
        Err(Error::NoSocket { tried })
    }

    async fn collect(&self, at: &Asked<'_>, mut exchange: Exchange) -> Result<Answer, Error> {
        let status = exchange.response.status().as_u16();
        let content_type = exchange
            .response
            .headers()
            .get("content-type")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let incoming = exchange.response.body_mut();
        let mut body = Vec::new();
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|source| at.broken(source))?;
            if let Some(data) = frame.data_ref() {
                if body.len() + data.len() > self.bounds.body {
                    return Err(at.too_large(self.bounds.body));
                }
                body.extend_from_slice(data);
            }
        }
        drop(exchange.driver);
        Ok(Answer { socket: exchange.socket, status, content_type, body })
    }
}

async fn send(
    at: &Asked<'_>,
    stream: tokio::net::UnixStream,
    body: Option<Vec<u8>>,
) -> Result<Exchange, Error> {
    let mut request = Request::builder().method(at.method).uri(at.target).header("host", "localhost");
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let request = request
        .body(Full::new(Bytes::from(body.unwrap_or_default())))
        .map_err(|source| Error::Target { target: at.target.to_owned(), source })?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|source| at.broken(source))?;
    let mut driver = JoinSet::new();
    // Its result comes to the reader of the response as well.
    driver.spawn(async move { drop(connection.await) });
    let response = sender.send_request(request).await.map_err(|source| at.broken(source))?;
    Ok(Exchange { socket: at.socket.to_owned(), response, driver })
}

/// What errors tell of the exchange.
struct Asked<'a> {
    socket: &'a Path,
    method: &'a Method,
    target: &'a str,
}

impl Asked<'_> {
    fn what(&self) -> String {
        format!("{} {} on {}", self.method, self.target, self.socket.display())
    }

    fn broken(&self, source: hyper::Error) -> Error {
        Error::Broken { what: self.what(), source }
    }

    fn late(&self, after: Duration) -> Error {
        Error::Late { what: self.what(), after }
    }

    fn too_large(&self, limit: usize) -> Error {
        Error::TooLarge { what: self.what(), limit }
    }
}
