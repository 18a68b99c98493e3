//! One connection of a provider.

use std::sync::Arc;
use std::time::Duration;

use rustix::net::Shutdown;

use super::provider::Shared;
use super::reader::{Framing, Part, Reader, Trouble, latin1, to_bytes};
use super::record::{BODY_KEPT, Connection, RAW_KEPT, Seen};
use super::steps::Step;
use crate::payload;
use crate::socket::Socket;

/// A connection with its record.
#[derive(Debug)]
pub struct Exchange {
    id: u64,
    reader: Reader,
    shared: Arc<Shared>,
    /// What of the present request's body is to be read.
    rest: Rest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Nothing,
    Length(u64),
    Chunks,
}

/// Why a connection is over.
enum Over {
    Trouble(Trouble),
    Closed,
}

impl From<Trouble> for Over {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// Serves it to its end.
pub fn serve(mut exchange: Exchange) {
    let over = loop {
        if let Err(over) = exchange.request() {
            break over;
        }
    };
    if let Over::Trouble(Trouble::Wrong(why)) = over {
        exchange.shared.record(exchange.id, |record| record.wrong = Some(why));
    }
    let _ = rustix::net::shutdown(exchange.reader.socket(), Shutdown::Both);
}

impl Exchange {
    /// A new connection.
    #[must_use]
    pub fn new(id: u64, socket: Socket, shared: Arc<Shared>) -> Self {
        let of_tap = Arc::clone(&shared);
        let tap = move |bytes: &[u8]| {
            of_tap.record(id, |record| {
                if record.raw.len() < RAW_KEPT {
                    record.raw += &latin1(bytes);
                }
            });
        };
        Self { id, reader: Reader::new(socket, Box::new(tap)), shared, rest: Rest::Nothing }
    }

    fn request(&mut self) -> Result<(), Over> {
        let head = self.reader.head()?;
        let mut words = head.line.split(' ');
        let version = words.nth(2).unwrap_or_default();
        if !matches!(version, "HTTP/1.1" | "HTTP/1.0") || words.next().is_some() {
            return Err(Trouble::Wrong(format!("request line {:?}", head.line)).into());
        }
        self.rest = match head.framing()? {
            Framing::None => Rest::Nothing,
            Framing::Length(length) => Rest::Length(length),
            Framing::Chunked => Rest::Chunks,
        };
        let complete = matches!(self.rest, Rest::Nothing | Rest::Length(0));
        let seen = Seen { connection: self.id, head: head.clone(), complete, ..Seen::default() };
        let path = seen.path().to_owned();
        self.shared.request(self.id, seen);
        // Not all clients send a body unasked.
        let steps = self.shared.steps(&path);
        let plain = steps.first() == Some(&Step::Body);
        if plain && !complete && head.all("expect").any(|value| value.eq_ignore_ascii_case("100-continue")) {
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        for step in steps {
            self.step(&step)?;
        }
        self.body(false)
    }

    fn step(&mut self, step: &Step) -> Result<(), Over> {
        match step {
            Step::Body => self.body(false),
            Step::Some(most) => {
                let got = self.reader.some(*most)?;
                if got.is_empty() { Err(Trouble::Cut.into()) } else { Ok(()) }
            }
            Step::Send(text) => self.send(&to_bytes(text)),
            Step::Generate(seed, length) => self.generate(*seed, *length, false),
            Step::GenerateChunked(seed, length) => self.generate(*seed, *length, true),
            Step::Report => self.report(),
            Step::Echo => self.echo(),
            Step::Relay => self.relay(),
            Step::Gate(gate) => self.shared.wait_gate(gate).then_some(()).ok_or(Over::Closed),
            Step::Wait(milliseconds) => {
                std::thread::sleep(Duration::from_millis(*milliseconds));
                Ok(())
            }
            Step::Hang => {
                while self.reader.fill()? {}
                Err(Over::Closed)
            }
            Step::Shutdown => {
                let _ = rustix::net::shutdown(self.reader.socket(), Shutdown::Write);
                Ok(())
            }
            Step::Close => Err(Over::Closed),
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Over> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let sent = self.reader.socket().try_send(rest, &[]).map_err(|_| Trouble::Cut)?;
            rest = &rest[sent..];
        }
        Ok(())
    }

    fn generate(&self, seed: u64, length: u64, chunked: bool) -> Result<(), Over> {
        let block = payload::bytes(seed, 65536);
        let mut left = length;
        while left > 0 {
            let size = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if chunked {
                self.send(format!("{size:x}\r\n").as_bytes())?;
            }
            self.send(&block[..size])?;
            if chunked {
                self.send(b"\r\n")?;
            }
            left -= size as u64;
        }
        Ok(())
    }

    /// The request that is being read.
    fn seen(&self, change: impl FnOnce(&mut Seen)) {
        self.shared.record(self.id, |record| {
            if let Some(seen) = record.requests.last_mut() {
                change(seen);
            }
        });
    }

    /// The next bytes of the body; nothing at its end.
    fn piece(&mut self) -> Result<Vec<u8>, Over> {
        let piece = match self.rest {
            Rest::Nothing | Rest::Length(0) => Vec::new(),
            Rest::Length(length) => {
                let piece = self.reader.some(usize::try_from(length).unwrap_or(usize::MAX))?;
                if piece.is_empty() {
                    return Err(Trouble::Cut.into());
                }
                self.rest = Rest::Length(length - piece.len() as u64);
                piece
            }
            Rest::Chunks => match self.reader.part()? {
                Part::Chunk(chunk) => {
                    self.seen(|seen| seen.chunks.push(chunk.len() as u64));
                    chunk
                }
                Part::Last(trailers) => {
                    self.seen(|seen| seen.trailers = trailers);
                    self.rest = Rest::Nothing;
                    Vec::new()
                }
            },
        };
        let complete = matches!(self.rest, Rest::Nothing | Rest::Length(0));
        self.seen(|seen| {
            seen.length += piece.len() as u64;
            if seen.body.len() < BODY_KEPT {
                seen.body += &latin1(&piece);
            }
            seen.complete = complete;
        });
        Ok(piece)
    }

    fn body(&mut self, echo: bool) -> Result<(), Over> {
        loop {
            let chunks = self.rest == Rest::Chunks;
            let piece = self.piece()?;
            if echo && chunks {
                self.send(format!("{:x}\r\n", piece.len()).as_bytes())?;
                self.send(&piece)?;
                self.send(b"\r\n")?;
            } else if echo {
                self.send(&piece)?;
            }
            if piece.is_empty() {
                return Ok(());
            }
        }
    }

    fn echo(&mut self) -> Result<(), Over> {
        let framing = match self.rest {
            Rest::Nothing => "Content-Length: 0".to_owned(),
            Rest::Length(length) => format!("Content-Length: {length}"),
            Rest::Chunks => "Transfer-Encoding: chunked".to_owned(),
        };
        self.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n").as_bytes())?;
        self.body(true)
    }

    fn relay(&mut self) -> Result<(), Over> {
        loop {
            let bytes = self.reader.some(usize::MAX)?;
            if bytes.is_empty() {
                let _ = rustix::net::shutdown(self.reader.socket(), Shutdown::Write);
                return Ok(());
            }
            self.send(&bytes)?;
        }
    }

    fn report(&mut self) -> Result<(), Over> {
        let mut text = String::new();
        let mut is_head = false;
        self.shared.record(self.id, |record| {
            text = report(record).to_string();
            is_head = record.requests.last().is_some_and(|seen| seen.head.line.starts_with("HEAD "));
        });
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            text.len()
        );
        self.send(head.as_bytes())?;
        if is_head { Ok(()) } else { self.send(text.as_bytes()) }
    }
}

fn report(record: &Connection) -> serde_json::Value {
    let Some(seen) = record.requests.last() else { return serde_json::Value::Null };
    let of_us = seen.head.fields.iter().filter(|(name, _)| name.to_ascii_lowercase().starts_with("x-pv-"));
    let identity: serde_json::Map<_, _> =
        of_us.map(|(name, value)| (name.to_ascii_lowercase(), value.clone().into())).collect();
    serde_json::json!({
        "connection": record.id,
        "uid": record.uid,
        "gid": record.gid,
        "line": seen.head.line,
        "identity": identity,
        "nonce": seen.head.get("x-nonce"),
        "length": seen.length,
        "chunks": seen.chunks.len(),
        "trailers": seen.trailers,
    })
}
