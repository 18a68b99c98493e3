//! The provider: one thread that answers requests in turn. `GET /small` gets a hundred bytes, `GET /length/N` and
//! `GET /chunked/N` a body of N bytes, and what has a body gets the number of its bytes.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use super::wire::{self, Framing, Head};

/// The path of the small answer.
pub(super) const SMALL: &str = "/small";
/// Bytes of its body.
pub(super) const SMALL_BODY: usize = 100;
/// Bytes of a read.
const READ: usize = 256 * 1024;
/// A head does not get longer.
const HEAD: usize = 64 * 1024;
/// How long a peer may be silent within a message.
const PATIENCE: Duration = Duration::from_secs(20);
const LISTENER: u64 = u64::MAX;

/// Serves until the process is ended. Within a message a connection has the thread for itself: only small messages are
/// measured on many connections at once, and they arrive whole.
pub(crate) fn serve(listener: &UnixListener) -> io::Result<()> {
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut origin = Origin { connections: Vec::new(), buffer: vec![0; READ], small: Small::new() };
    let mut events = Vec::with_capacity(256);
    loop {
        events.clear();
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        for event in &events {
            if event.data.u64() != LISTENER {
                origin.turn(usize::try_from(event.data.u64()).unwrap_or(usize::MAX));
                continue;
            }
            let (stream, _) = listener.accept()?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            let free = origin.connections.iter().position(Option::is_none);
            let index = free.unwrap_or(origin.connections.len());
            epoll::add(&epoll, &stream, EventData::new_u64(index as u64), EventFlags::IN)?;
            match free {
                Some(index) => origin.connections[index] = Some(stream),
                None => origin.connections.push(Some(stream)),
            }
        }
    }
}

struct Origin {
    /// By the number that epoll knows them by.
    connections: Vec<Option<UnixStream>>,
    buffer: Vec<u8>,
    small: Small,
}

/// What is answered most often.
struct Small {
    /// The last request for it: the next one is the same, or is parsed. What the origin costs is in the figures
    /// of every row.
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Origin {
    /// Serves one message of a connection that has something to read.
    fn turn(&mut self, index: usize) {
        let Some(Some(stream)) = self.connections.get_mut(index) else { return };
        // One connection's fault is not the server's: it ends, and epoll forgets it with its descriptor.
        if !matches!(message(stream, &mut self.buffer, &mut self.small), Ok(Goes::On)) {
            self.connections[index] = None;
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Goes {
    On,
    Away,
}

/// Reads a request and answers it.
fn message(stream: &mut UnixStream, buffer: &mut [u8], small: &mut Small) -> io::Result<Goes> {
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..])? {
            0 => return Ok(Goes::Away),
            count => filled += count,
        }
        if buffer[..filled] == small.request {
            return stream.write_all(&small.answer).map(|()| Goes::On);
        }
        if let Some(Head { line, framing, length }) = wire::head(&buffer[..filled])? {
            let answer = Answer::to(line, framing)?;
            let already = buffer[length..filled].to_vec();
            if framing == Framing::Length(0) && !already.is_empty() {
                return Err(io::Error::other("a request before the answer to another"));
            }
            let carried = wire::read_body(stream, framing, &already, buffer)?;
            if answer == Answer::Small {
                small.request = buffer[..filled].to_vec();
            }
            return answer.write(stream, &small.answer, carried).map(|()| Goes::On);
        }
        if filled > HEAD {
            return Err(io::Error::other("an endless head"));
        }
    }
}

/// What a request gets.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Small,
    Bytes(Framing, u64),
    /// How many bytes its body had.
    Count,
}

impl Answer {
    fn to(line: &str, framing: Framing) -> io::Result<Self> {
        if framing != Framing::Length(0) {
            return Ok(Self::Count);
        }
        let path = line.split(' ').nth(1).unwrap_or_default();
        let number = |text: &str| text.parse().map_err(|_| io::Error::other(line.to_owned()));
        if path == SMALL {
            Ok(Self::Small)
        } else if let Some(bytes) = path.strip_prefix("/length/") {
            number(bytes).map(|bytes| Self::Bytes(Framing::Length(bytes), bytes))
        } else if let Some(bytes) = path.strip_prefix("/chunked/") {
            number(bytes).map(|bytes| Self::Bytes(Framing::Chunked, bytes))
        } else {
            Err(io::Error::other(line.to_owned()))
        }
    }

    fn write(&self, stream: &mut UnixStream, small: &[u8], carried: u64) -> io::Result<()> {
        match *self {
            Self::Small => stream.write_all(small),
            Self::Bytes(framing, bytes) => {
                let head = format!("HTTP/1.1 200 OK\r\n{}\r\n\r\n", wire::field(framing));
                stream.write_all(head.as_bytes())?;
                wire::write_body(stream, framing, bytes)
            }
            Self::Count => {
                let body = carried.to_string();
                let length = body.len();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                stream.write_all((head + &body).as_bytes())
            }
        }
    }
}

impl Small {
    /// Of a size as APIs give.
    fn new() -> Self {
        let head = format!(
            "HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: application/json\r\nContent-Length: {SMALL_BODY}\r\n\r\n"
        );
        let mut answer = head.into_bytes();
        answer.resize(answer.len() + SMALL_BODY, b'x');
        Self { request: Vec::new(), answer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_what_it_wants() {
        let none = Framing::Length(0);
        assert_eq!(Answer::to("GET /small HTTP/1.1", none).unwrap(), Answer::Small);
        let bytes = |framing| Answer::Bytes(framing, 7);
        assert_eq!(Answer::to("GET /length/7 HTTP/1.1", none).unwrap(), bytes(Framing::Length(7)));
        assert_eq!(Answer::to("GET /chunked/7 HTTP/1.1", none).unwrap(), bytes(Framing::Chunked));
        assert_eq!(Answer::to("PUT /x HTTP/1.1", Framing::Chunked).unwrap(), Answer::Count);
        assert!(Answer::to("GET /length/x HTTP/1.1", none).is_err() && Answer::to("GET /", none).is_err());
    }
}
