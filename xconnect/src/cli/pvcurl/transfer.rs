//! One exchange: the request goes out while the answer comes in, both piece by piece.

use std::cell::RefCell;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::time::timeout;

use super::body::{Framing, Progress};
use super::error::Error;
use super::head::{Head, Parsed, parse};
use super::request::{Head as RequestHead, Sending};
use super::sink::Sink;
use super::upload::Upload;
use crate::api::client::connect;
use crate::cli::out::note;
use crate::cli::text::harmless;

/// How long a request waits for `100 Continue`, as curl does.
const CONTINUE: Duration = Duration::from_secs(1);

/// Bytes of an error's body that are kept.
const MAX_CAUGHT: usize = 64 * 1024;

/// What is shown, and what counts as a failure.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::cli) struct Show {
    /// Request and heads on standard error.
    pub(in crate::cli) trace: bool,
    /// Heads in the output.
    pub(in crate::cli) heads: bool,
    /// A status of 400 and above is a failure without output.
    pub(in crate::cli) fail: bool,
    /// The body of an answer other than 200 goes to [`Stats::caught`].
    pub(in crate::cli) catch: bool,
}

/// One request.
pub(in crate::cli) struct Job {
    pub(in crate::cli) socket: PathBuf,
    pub(in crate::cli) connect_timeout: Duration,
    /// For everything; `None`: without a bound.
    pub(in crate::cli) max_time: Option<Duration>,
    pub(in crate::cli) request: RequestHead,
    pub(in crate::cli) show: Show,
}

/// What is known of a transfer, finished or not. Times since its start.
#[derive(Debug, Default, Clone)]
pub(in crate::cli) struct Stats {
    pub(in crate::cli) head: Option<Head>,
    pub(in crate::cli) connected: Option<Duration>,
    pub(in crate::cli) first_byte: Option<Duration>,
    pub(in crate::cli) total: Duration,
    pub(in crate::cli) request: u64,
    pub(in crate::cli) heads: u64,
    pub(in crate::cli) uploaded: u64,
    pub(in crate::cli) downloaded: u64,
    /// The beginning of the body that was kept out of the output.
    pub(in crate::cli) caught: Vec<u8>,
}

impl Stats {
    /// The last status, 0 where there is none.
    pub(in crate::cli) fn status(&self) -> u16 {
        self.head.as_ref().map_or(0, |head| head.status)
    }
}

/// Whether the body may go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Go {
    Wait,
    Send,
    Stop,
}

/// Runs the exchange; `stats` is right after a failure, too.
pub(in crate::cli) async fn run(
    job: &Job,
    upload: Upload,
    sink: &mut Sink,
    stats: &RefCell<Stats>,
) -> Result<(), Error> {
    let start = Instant::now();
    let exchange = async {
        let result = exchange(job, upload, sink, stats, start).await;
        // What came before a failure is output, too.
        let written = sink.finish().await;
        result.and(written)
    };
    let result = match job.max_time {
        None => exchange.await,
        Some(limit) => timeout(limit, exchange).await.unwrap_or_else(|_| {
            let received = stats.borrow().downloaded;
            Err(Error::TimedOut { after: start.elapsed(), received })
        }),
    };
    stats.borrow_mut().total = start.elapsed();
    result
}

async fn exchange(
    job: &Job,
    upload: Upload,
    sink: &mut Sink,
    stats: &RefCell<Stats>,
    start: Instant,
) -> Result<(), Error> {
    let trace = job.show.trace;
    let stream = connect(&job.socket, job.connect_timeout).await.map_err(|source| {
        let socket = job.socket.clone();
        match source.kind() {
            io::ErrorKind::TimedOut => Error::ConnectTimedOut { socket, after: start.elapsed() },
            _ => Error::Connect { socket, source },
        }
    })?;
    stats.borrow_mut().connected = Some(start.elapsed());
    if trace {
        note(format_args!("* Connected to {}", job.socket.display()));
        lines('>', &job.request.bytes);
    }
    let (reader, writer) = stream.into_split();
    let (go, wait) = watch::channel(if job.request.expect { Go::Wait } else { Go::Send });
    let mut sending = pin!(send(job, upload, writer, wait, stats));
    let mut receiving = pin!(receive(job, reader, &go, sink, stats, start));
    let mut sent = None;
    let received = loop {
        tokio::select! {
            biased;
            received = &mut receiving => break received,
            result = &mut sending, if sent.is_none() => match result {
                // The server may have answered before it stopped reading.
                Err(Error::Send(_)) | Ok(()) => sent = Some(result),
                Err(error) => return Err(error),
            },
        }
    };
    match (received, sent) {
        (Err(Error::Empty | Error::Receive(_)), Some(Err(error))) => Err(error),
        (received, _) => received,
    }
}

/// The request: its head, and the body when it may go.
async fn send(
    job: &Job,
    mut upload: Upload,
    mut writer: OwnedWriteHalf,
    mut go: watch::Receiver<Go>,
    stats: &RefCell<Stats>,
) -> Result<(), Error> {
    writer.write_all(&job.request.bytes).await.map_err(Error::Send)?;
    stats.borrow_mut().request = job.request.bytes.len() as u64;
    // Without an answer in time the body goes all the same (RFC 9110, section 10.1.1).
    // Copied at once: the reference holds a lock.
    let told = timeout(CONTINUE, async { go.wait_for(|go| *go != Go::Wait).await.map(|go| *go) }).await;
    if matches!(told, Ok(Ok(Go::Stop))) {
        return Ok(());
    }
    let mut left = match job.request.sending {
        Sending::Length(length) => Some(length),
        Sending::Chunked => None,
    };
    while left != Some(0) {
        let Some(mut piece) = upload.next().await? else { break };
        match &mut left {
            Some(left) => {
                let room = usize::try_from(*left).unwrap_or(usize::MAX);
                piece.truncate(room);
                *left -= piece.len() as u64;
                writer.write_all(&piece).await.map_err(Error::Send)?;
            }
            None => {
                let size = format!("{:x}\r\n", piece.len());
                let framed = [size.as_bytes(), &piece, b"\r\n"].concat();
                writer.write_all(&framed).await.map_err(Error::Send)?;
            }
        }
        stats.borrow_mut().uploaded += piece.len() as u64;
    }
    match left {
        None => writer.write_all(b"0\r\n\r\n").await.map_err(Error::Send)?,
        Some(0) => {}
        Some(missing) => {
            let source = io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("it ended {missing} bytes before its announced length"),
            );
            return Err(Error::Read { what: "the upload".to_owned(), source });
        }
    }
    // Until the answer is there: a half-closed connection means a gone client to many servers.
    std::future::pending().await
}

/// The answer: heads until the final one, then its body.
async fn receive(
    job: &Job,
    mut reader: OwnedReadHalf,
    go: &watch::Sender<Go>,
    sink: &mut Sink,
    stats: &RefCell<Stats>,
    start: Instant,
) -> Result<(), Error> {
    let mut buffer = Vec::new();
    let head = loop {
        match parse(&buffer) {
            Parsed::Bad(reason) => return Err(Error::Weird(reason)),
            Parsed::Partial => {
                if read(&mut reader, &mut buffer).await? == 0 {
                    return Err(match buffer.is_empty() {
                        true => Error::Empty,
                        false => Error::Partial("its head is cut off".to_owned()),
                    });
                }
                stats.borrow_mut().first_byte.get_or_insert(start.elapsed());
            }
            Parsed::Done(head) => {
                let bytes: Vec<u8> = buffer.drain(..head.length).collect();
                took_head(job, &head, &bytes, stats);
                let last = !(100..200).contains(&head.status) || head.status == 101;
                let stop = last && head.status >= 400;
                if job.show.heads && !(job.show.fail && stop) {
                    sink.write(bytes).await?;
                }
                go.send_if_modified(|go| {
                    let waits = *go == Go::Wait;
                    if waits {
                        *go = if stop { Go::Stop } else { Go::Send };
                    }
                    waits
                });
                if last {
                    break head;
                }
            }
        }
    };
    if job.show.fail && head.status >= 400 {
        return Err(Error::Status(head.status));
    }
    let mut framing = match head.status {
        101 => Framing::Close,
        _ => Framing::of(&head, &job.request.method)?,
    };
    loop {
        let mut body = Vec::new();
        let progress = framing.feed(&buffer, &mut body)?;
        buffer.clear();
        stats.borrow_mut().downloaded += body.len() as u64;
        if job.show.catch && head.status != 200 {
            let caught = &mut stats.borrow_mut().caught;
            let room = MAX_CAUGHT.saturating_sub(caught.len()).min(body.len());
            caught.extend_from_slice(&body[..room]);
        } else {
            // An empty piece makes the file of an empty answer.
            sink.write(body).await?;
        }
        if progress == Progress::Done {
            break;
        }
        if read(&mut reader, &mut buffer).await? == 0 {
            return framing.closed();
        }
    }
    Ok(())
}

fn took_head(job: &Job, head: &Head, bytes: &[u8], stats: &RefCell<Stats>) {
    if job.show.trace {
        lines('<', bytes);
    }
    let mut stats = stats.borrow_mut();
    stats.heads += bytes.len() as u64;
    stats.head = Some(head.clone());
}

async fn read(reader: &mut OwnedReadHalf, buffer: &mut Vec<u8>) -> Result<usize, Error> {
    buffer.reserve(64 * 1024);
    reader.read_buf(buffer).await.map_err(Error::Receive)
}

fn lines(mark: char, bytes: &[u8]) {
    for line in String::from_utf8_lossy(bytes).lines() {
        note(format_args!("{mark} {}", harmless(line)));
    }
}
