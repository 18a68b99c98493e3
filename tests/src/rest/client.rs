//! A consumer's connection that reads answers strictly.

use serde_json::Value;

use super::reader::{Framing, Head, Part, Reader, Trouble, latin1, to_bytes};
use crate::socket::Socket;
use crate::wait::OrFail;

/// A whole answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The head.
    pub head: Head,
    /// The body, one character a byte.
    pub body: String,
    /// The trailers.
    pub trailers: Vec<(String, String)>,
    /// Heads of the 1xx answers before it.
    pub interim: Vec<Head>,
    /// It was framed by chunks.
    pub chunked: bool,
}

impl Answer {
    /// True where it says that the connection ends.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.head.all("connection").any(|value| value.eq_ignore_ascii_case("close"))
    }

    /// The body as JSON.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&to_bytes(&self.body)).or_fail(format_args!("JSON of {self:?}"))
    }
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    reader: Reader,
}

impl From<Socket> for Client {
    fn from(socket: Socket) -> Self {
        Self { reader: Reader::new(socket, Box::new(|_| {})) }
    }
}

impl Client {
    /// The connection itself.
    #[must_use]
    pub fn socket(&self) -> &Socket {
        self.reader.socket()
    }

    /// Sends bytes.
    #[track_caller]
    pub fn send(&self, bytes: impl AsRef<[u8]>) {
        self.socket().send(bytes.as_ref());
    }

    /// Sends a request without a body; `fields` are whole lines with CRLF.
    #[track_caller]
    pub fn ask(&self, method: &str, target: &str, fields: &str) {
        self.send(format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"));
    }

    /// Sends a request without a body and reads its answer.
    #[track_caller]
    pub fn call(&mut self, method: &str, target: &str, fields: &str) -> Answer {
        self.ask(method, target, fields);
        self.answer_to(method)
    }

    /// GET, which must succeed.
    #[track_caller]
    pub fn get(&mut self, target: &str) -> Answer {
        let answer = self.call("GET", target, "");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
    }

    /// Reads an answer, whole.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        self.answer_to("GET")
    }

    /// The same for a request by this method.
    #[track_caller]
    pub fn answer_to(&mut self, method: &str) -> Answer {
        let mut answer = Answer::default();
        match self.try_answer(method, &mut answer) {
            Ok(()) => answer,
            Err(trouble) => panic!("{trouble:?} after {answer:?}"),
        }
    }

    /// Reads the next head, of whatever status.
    ///
    /// # Errors
    /// Where none comes.
    pub fn head(&mut self) -> Result<(u16, Head), Trouble> {
        let head = self.reader.head()?;
        let mut words = head.line.splitn(3, ' ');
        let version = words.next().unwrap_or_default();
        let status = words.next().and_then(|code| code.parse().ok()).filter(|code| (100..600).contains(code));
        match status {
            Some(status) if version == "HTTP/1.1" => Ok((status, head)),
            _ => Err(Trouble::Wrong(format!("status line {:?}", head.line))),
        }
    }

    /// Reads an answer as far as it comes.
    ///
    /// # Errors
    /// Where it does not come whole.
    pub fn try_answer(&mut self, method: &str, answer: &mut Answer) -> Result<(), Trouble> {
        loop {
            let (status, head) = self.head()?;
            (answer.status, answer.head) = (status, head.clone());
            if status == 101 {
                return Ok(());
            }
            if status >= 200 {
                break;
            }
            answer.interim.push(head);
        }
        if method == "HEAD" || matches!(answer.status, 204 | 304) {
            return Ok(());
        }
        match answer.head.framing()? {
            Framing::Length(length) => {
                for_each_piece(&mut self.reader, length, |piece| answer.body += &latin1(piece))
            }
            Framing::Chunked => {
                answer.chunked = true;
                loop {
                    match self.reader.part()? {
                        Part::Chunk(chunk) => answer.body += &latin1(&chunk),
                        Part::Last(trailers) => {
                            answer.trailers = trailers;
                            return Ok(());
                        }
                    }
                }
            }
            Framing::None => loop {
                let piece = self.reader.some(usize::MAX)?;
                if piece.is_empty() {
                    return Ok(());
                }
                answer.body += &latin1(&piece);
            },
        }
    }

    /// Reads the head of an answer and then so many bytes of its body, comparing nothing.
    ///
    /// # Errors
    /// Where they do not come.
    pub fn skip_body(&mut self, length: u64) -> Result<(), Trouble> {
        for_each_piece(&mut self.reader, length, |_| {})
    }

    /// Bytes as they are, for a connection that is no HTTP any more.
    #[track_caller]
    pub fn exact(&mut self, length: usize) -> Vec<u8> {
        self.reader.exact(length).or_fail("bytes of the connection")
    }

    /// Asserts that the other side has ended, and sent nothing before.
    #[track_caller]
    pub fn ends(&mut self) {
        let more = self.reader.some(4096);
        match more {
            Ok(bytes) if bytes.is_empty() => {}
            Err(Trouble::Cut) => {}
            other => panic!("instead of the end: {:?}", other.map(|bytes| latin1(&bytes))),
        }
    }

    /// Asserts that the connection ends where its last answer said so; tells whether it did.
    #[track_caller]
    pub fn ends_as_said(&mut self, answer: &Answer) -> bool {
        if answer.closes() {
            self.ends();
        }
        answer.closes()
    }

    /// Ends the sending side.
    #[track_caller]
    pub fn shutdown(&self) {
        self.socket().shutdown_write();
    }
}

fn for_each_piece(reader: &mut Reader, length: u64, mut take: impl FnMut(&[u8])) -> Result<(), Trouble> {
    let mut left = length;
    while left > 0 {
        let piece = reader.some(usize::try_from(left).unwrap_or(usize::MAX))?;
        if piece.is_empty() {
            return Err(Trouble::Cut);
        }
        left -= piece.len() as u64;
        take(&piece);
    }
    Ok(())
}
