//! The steady part: on a connection of its own, a request after every short pause, and its echo compared. It
//! is there to be seen in `pvcontrol graph watch`.

use std::path::Path;
use std::thread;
use std::time::Duration;

use super::checks::Failure;
use super::http::Connection;

/// Between two requests.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks again and again, until a request has no answer or a wrong one.
pub(super) fn talk(socket: &Path, number: &mut u64) -> Failure {
    let mut connection = match Connection::open(socket) {
        Ok(connection) => connection,
        Err(error) => return error.into(),
    };
    loop {
        match exchange(&mut connection, *number + 1) {
            Ok(()) => *number += 1,
            Err(failure) => return failure,
        }
        thread::sleep(PAUSE);
    }
}

fn exchange(connection: &mut Connection, number: u64) -> Result<(), Failure> {
    let word = format!("number {number}");
    let request = format!(
        "POST /echo HTTP/1.1\r\nHost: network-manager\r\nContent-Length: {}\r\n\r\n{word}",
        word.len()
    );
    let answer = connection.ask(&request)?;
    match answer.status {
        200 if answer.body.contains(&format!(r#""body":"{word}""#)) => Ok(()),
        502..=504 => Err(Failure::NotYet(format!("status {}", answer.status))),
        status => Err(Failure::Wrong(format!("sent {word:?}, status {status}: {}", answer.body))),
    }
}
