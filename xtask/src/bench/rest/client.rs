//! The consumer: small requests on many connections at once, and large bodies on one.

use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use super::origin::{SMALL, SMALL_BODY};
use super::wire::{self, Framing, Head};

/// How long anything may make the client wait.
const PATIENCE: Duration = Duration::from_secs(20);
/// More than any answer's head.
const SMALL_READ: usize = 16 * 1024;
const READ: usize = 256 * 1024;

/// When the client sends no more requests.
#[derive(Debug, Clone, Copy)]
pub(super) enum Until {
    /// So long after the first.
    Time(Duration),
    /// So many.
    Requests(u64),
}

/// What came of small requests.
#[derive(Debug)]
pub(super) struct Served {
    /// Microseconds from each request to its answer.
    pub(super) waits: Vec<f64>,
    /// Of the whole.
    pub(super) elapsed: Duration,
}

/// Connections that are kept, with one request each on its way at a time.
#[derive(Debug)]
pub(super) struct Gets {
    connections: Vec<Connection>,
    epoll: OwnedFd,
    request: Vec<u8>,
    /// The head of the last answer. The next one has the same, or is parsed: what the client costs is in the
    /// figures of every row.
    head: Vec<u8>,
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    sent: Instant,
    answer: Vec<u8>,
    /// How much of it is there.
    filled: usize,
}

impl Gets {
    /// Connects so often.
    pub(super) fn connect(target: &Path, count: usize) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let connect = |index: usize| {
            let stream = connect(target)?;
            epoll::add(&epoll, &stream, EventData::new_u64(index as u64), EventFlags::IN)?;
            Ok(Connection { stream, sent: Instant::now(), answer: vec![0; SMALL_READ], filled: 0 })
        };
        let connections = (0..count).map(connect).collect::<io::Result<Vec<_>>>()?;
        let request = format!(
            "GET {SMALL} HTTP/1.1\r\nHost: api\r\nUser-Agent: bench\r\nAccept: application/json\r\n\r\n"
        );
        Ok(Self { connections, epoll, request: request.into_bytes(), head: Vec::new() })
    }

    /// Keeps every connection busy.
    pub(super) fn run(&mut self, until: Until) -> io::Result<Served> {
        let begin = Instant::now();
        let (mut waits, mut sent) = (Vec::with_capacity(1 << 16), 0);
        let goes_on = |sent: u64, now: Instant| match until {
            Until::Time(time) => now - begin < time,
            Until::Requests(most) => sent < most,
        };
        for connection in &mut self.connections {
            if goes_on(sent, begin) {
                connection.ask(&self.request, Instant::now())?;
                sent += 1;
            }
        }
        let mut events = Vec::with_capacity(self.connections.len());
        while (waits.len() as u64) < sent {
            events.clear();
            let patience = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&patience)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                let index = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
                let Some(connection) = self.connections.get_mut(index) else { continue };
                if !connection.answered(&mut self.head)? {
                    continue;
                }
                let now = Instant::now();
                waits.push((now - connection.sent).as_secs_f64() * 1e6);
                if goes_on(sent, now) {
                    connection.ask(&self.request, now)?;
                    sent += 1;
                }
            }
        }
        Ok(Served { waits, elapsed: begin.elapsed() })
    }
}

impl Connection {
    fn ask(&mut self, request: &[u8], now: Instant) -> io::Result<()> {
        self.filled = 0;
        self.sent = now;
        self.stream.write_all(request)
    }

    /// Reads once, and says whether that was the rest of the answer.
    fn answered(&mut self, known: &mut Vec<u8>) -> io::Result<bool> {
        match self.stream.read(&mut self.answer[self.filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => self.filled += count,
        }
        let answer = &self.answer[..self.filled];
        if !known.is_empty() && answer.starts_with(known) {
            return Ok(answer.len() >= known.len() + SMALL_BODY);
        }
        let Some(head) = wire::head(answer)? else { return Ok(false) };
        success(&head)?;
        if head.framing != Framing::Length(SMALL_BODY as u64) {
            return Err(io::Error::other(format!("{:?} and not the small answer", head.framing)));
        }
        known.clear();
        known.extend_from_slice(&answer[..head.length]);
        Ok(answer.len() >= head.length + SMALL_BODY)
    }
}

/// Sends a body of so many bytes and waits until the origin has counted them.
pub(super) fn upload(stream: &mut UnixStream, framing: Framing, bytes: u64) -> io::Result<Duration> {
    let begin = Instant::now();
    let head = format!("PUT /upload HTTP/1.1\r\nHost: api\r\n{}\r\n\r\n", wire::field(framing));
    let sent = stream.write_all(head.as_bytes()).and_then(|()| wire::write_body(stream, framing, bytes));
    let mut buffer = vec![0; SMALL_READ];
    // Who does not want the body says why before it closes.
    let (framing, mut counted) = match (sent, answer(stream, &mut buffer)) {
        (Err(error), Ok(_)) => return Err(error),
        (_, answer) => answer?,
    };
    let Framing::Length(length @ 1..=20) = framing else {
        return Err(io::Error::other(format!("{framing:?} and not a number")));
    };
    let filled = counted.len();
    counted.resize(usize::try_from(length).unwrap_or(0), 0);
    stream.read_exact(&mut counted[filled..])?;
    let counted = String::from_utf8_lossy(&counted);
    arrived(&counted, bytes).map(|()| begin.elapsed())
}

/// Reads a body of so many bytes, which the origin frames like this.
pub(super) fn download(stream: &mut UnixStream, framing: Framing, bytes: u64) -> io::Result<Duration> {
    let begin = Instant::now();
    let path = if framing == Framing::Chunked { "chunked" } else { "length" };
    stream.write_all(format!("GET /{path}/{bytes} HTTP/1.1\r\nHost: api\r\n\r\n").as_bytes())?;
    let mut buffer = vec![0; READ];
    let (framing, already) = answer(stream, &mut buffer)?;
    let carried = wire::read_body(stream, framing, &already, &mut buffer)?;
    arrived(&carried.to_string(), bytes).map(|()| begin.elapsed())
}

fn arrived(counted: &str, bytes: u64) -> io::Result<()> {
    if counted == bytes.to_string() {
        return Ok(());
    }
    Err(io::Error::other(format!("of {bytes} bytes arrived {counted}")))
}

/// One small request on a connection of its own.
pub(super) fn once(target: &Path) -> io::Result<()> {
    Gets::connect(target, 1)?.run(Until::Requests(1)).map(drop)
}

/// Connects for bodies.
pub(super) fn connect(target: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(target)?;
    // A stall is reported, not waited for.
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Reads the head of an answer: how its body is framed, and what has come of that.
fn answer(stream: &mut UnixStream, buffer: &mut [u8]) -> io::Result<(Framing, Vec<u8>)> {
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => filled += count,
        }
        if let Some(head) = wire::head(&buffer[..filled])? {
            success(&head)?;
            return Ok((head.framing, buffer[head.length..filled].to_vec()));
        }
    }
}

fn success(head: &Head<'_>) -> io::Result<()> {
    match head.line.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(io::Error::other(format!("answer: {}", head.line))),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;
    use crate::bench::rest::origin;

    #[test]
    fn the_origin_serves_what_clients_measure() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || origin::serve(&listener));
        once(&path).unwrap();
        let mut gets = Gets::connect(&path, 3).unwrap();
        assert_eq!(gets.run(Until::Requests(100)).unwrap().waits.len(), 100);
        let served = gets.run(Until::Time(Duration::from_millis(20))).unwrap();
        assert!(served.waits.len() >= 3 && served.elapsed >= Duration::from_millis(20));
        let mut stream = connect(&path).unwrap();
        for bytes in [1, 100, 1_000_000] {
            for framing in [Framing::Length(bytes), Framing::Chunked] {
                upload(&mut stream, framing, bytes).unwrap();
                download(&mut stream, framing, bytes).unwrap();
            }
        }
    }

    #[test]
    fn what_is_not_success_is_an_error_that_says_what() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                stream?.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")?;
            }
            io::Result::Ok(())
        });
        let mut stream = connect(&path).unwrap();
        let error = upload(&mut stream, Framing::Chunked, 10_000_000).unwrap_err();
        assert_eq!(error.to_string(), "answer: HTTP/1.1 413 Too Large");
    }
}
