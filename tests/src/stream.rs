//! A reader of the graph's stream: one JSON document a line, in chunks of HTTP/1.1.

use std::path::Path;

use serde_json::Value;

use crate::socket::{Kind, Socket};
use crate::wait::OrFail;

/// An open stream.
#[derive(Debug)]
pub struct Stream {
    connection: Socket,
    raw: Vec<u8>,
    text: Vec<u8>,
}

impl Stream {
    /// Asks for the stream at this control socket, and reads the head of the answer.
    #[track_caller]
    #[must_use]
    pub fn open(socket: &Path) -> Self {
        let connection = Socket::connect(Kind::Stream, socket).or_fail("connect");
        connection.send(b"GET /xconnect-graph?watch=1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut stream = Self { connection, raw: Vec::new(), text: Vec::new() };
        let head = stream.until(b"\r\n\r\n").or_fail("head");
        let head = String::from_utf8_lossy(&head).to_lowercase();
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        stream
    }

    /// Takes the bytes up to a mark, and the mark; `None` where the connection ends before.
    #[track_caller]
    fn until(&mut self, mark: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.raw.windows(mark.len()).position(|window| window == mark) {
                return Some(self.raw.drain(..at + mark.len()).collect());
            }
            self.more()?;
        }
    }

    #[track_caller]
    fn more(&mut self) -> Option<()> {
        let part = self.connection.try_recv(1 << 20).or_fail("the next bytes of the stream").bytes;
        self.raw.extend(&part);
        (!part.is_empty()).then_some(())
    }

    /// Reads until a graph is as wanted; gives it, and how many lines it took.
    #[track_caller]
    pub fn until_graph(&mut self, wanted: impl Fn(&Value) -> bool) -> (Value, usize) {
        let mut lines = 1;
        loop {
            let graph = self.next().or_fail("the stream ended");
            if wanted(&graph) {
                return (graph, lines);
            }
            lines += 1;
        }
    }
}

impl Iterator for Stream {
    type Item = Value;

    /// The next graph; `None` where the server ended the stream as it should.
    #[track_caller]
    fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(at) = self.text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.text.drain(..=at).collect();
                return Some(serde_json::from_slice(&line).or_fail("a line"));
            }
            let size = self.until(b"\r\n").or_fail("the stream was cut");
            let size = String::from_utf8_lossy(&size);
            let size = usize::from_str_radix(size.trim(), 16).or_fail("size of a chunk");
            if size == 0 {
                assert!(self.text.is_empty(), "half a line");
                return None;
            }
            while self.raw.len() < size + 2 {
                self.more().or_fail("a chunk was cut");
            }
            self.text.extend(self.raw.drain(..size));
            self.raw.drain(..2);
        }
    }
}
