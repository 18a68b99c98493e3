//! Sends the bytes of a case, in pieces of several kinds, and reads what comes back.

use std::time::{Duration, Instant};

use super::client::{Answer, Client};
use super::corpus::Case;
use super::reader::Trouble;
use crate::socket::Socket;
use crate::sys;

/// In what pieces bytes are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As the case says.
    Parts,
    /// Byte by byte.
    Bytes,
    /// Cut behind each CRLF.
    Lines,
}

/// How long the other side has for reading a piece before the next one follows all the same.
const READ: Duration = Duration::from_millis(2);
/// Of more bytes than so many each is not waited for.
const MANY: usize = 8192;

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The answers.
    pub answers: Vec<Answer>,
    /// Why the last one is not whole, or the connection did not end as it should.
    pub trouble: Option<String>,
}

impl Pace {
    fn pieces(self, case: &Case) -> Vec<Vec<u8>> {
        match self {
            Self::Parts => case.parts.clone(),
            Self::Bytes => case.bytes().iter().map(|byte| vec![*byte]).collect(),
            Self::Lines => {
                let mut pieces = vec![Vec::new()];
                for byte in case.bytes() {
                    let last = pieces.len() - 1;
                    pieces[last].push(byte);
                    if pieces[last].ends_with(b"\r\n") {
                        pieces.push(Vec::new());
                    }
                }
                pieces
            }
        }
    }
}

/// Plays a case over a fresh connection.
#[must_use]
pub fn replay(client: &mut Client, case: &Case, pace: Pace) -> Outcome {
    let writer = client.socket().dup();
    std::thread::scope(|scope| {
        let pieces = pace.pieces(case);
        let ends = case.ends;
        let writing = scope.spawn(move || {
            write(&writer, &pieces);
            if ends {
                let _ = rustix::net::shutdown(&writer, rustix::net::Shutdown::Write);
            }
        });
        let mut outcome = Outcome::default();
        let read = read(client, case, &mut outcome);
        let refused = outcome.answers.last().is_some_and(|answer| answer.status >= 400);
        if read && !refused && !case.closes && !case.ends {
            let _ = writing.join();
            let _ = rustix::net::shutdown(client.socket(), rustix::net::Shutdown::Write);
        }
        if read && outcome.trouble.is_none() {
            outcome.trouble = end(client);
        }
        // Frees the writer where nobody reads any more.
        let _ = rustix::net::shutdown(client.socket(), rustix::net::Shutdown::Both);
        outcome
    })
}

fn write(writer: &Socket, pieces: &[Vec<u8>]) {
    let many = pieces.iter().map(Vec::len).sum::<usize>() > MANY;
    for piece in pieces {
        let mut rest = piece.as_slice();
        while !rest.is_empty() {
            let Ok(sent) = writer.try_send(rest, &[]) else { return };
            rest = &rest[sent..];
        }
        let begin = Instant::now();
        while !many && sys::unread(writer).unwrap_or(0) > 0 && begin.elapsed() < READ {
            std::thread::yield_now();
        }
    }
}

/// Reads the answers; false where that went wrong.
fn read(client: &mut Client, case: &Case, outcome: &mut Outcome) -> bool {
    let method = |number: usize| {
        let line = case.requests.get(number).map(|wanted| wanted.line.as_str());
        line.and_then(|line| line.split(' ').next()).unwrap_or("GET").to_owned()
    };
    let most = if case.any { 100 } else { case.statuses.len() };
    for number in 0..most {
        let mut answer = Answer::default();
        match client.try_answer(&method(number), &mut answer) {
            Ok(()) => {
                let refused = answer.status >= 400;
                outcome.answers.push(answer);
                if refused {
                    return true;
                }
            }
            Err(Trouble::End | Trouble::Cut | Trouble::Wrong(_)) if case.any => return false,
            Err(trouble) => {
                outcome.trouble = Some(format!("answer {}: {trouble:?} after {answer:?}", number + 1));
                return false;
            }
        }
    }
    true
}

fn end(client: &mut Client) -> Option<String> {
    match client.head() {
        Err(Trouble::End | Trouble::Cut) => None,
        other => Some(format!("instead of the end: {other:?}")),
    }
}
