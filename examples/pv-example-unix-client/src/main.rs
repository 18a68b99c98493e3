//! Example container: sends numbered words over the link that its manifest asks for, checks that each
//! comes back, and reports `ok: …` on its standard output. A second connection streams blocks both ways.
//!
//! Runs as PID 1 of a container that holds this one static program. It waits for the socket to appear,
//! and connects again after its connection was cut.

mod stream;

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, process, thread};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use stream::Stream;

/// The `target` of the service in `args.json`.
const SOCKET: &str = "/run/pv/services/raw-unix.sock";
/// Between two looks for the socket: short at first, since the mesh needs milliseconds.
const SHORT_WAIT: Duration = Duration::from_millis(2);
/// Between two looks once it has taken long.
const LONG_WAIT: Duration = Duration::from_millis(200);
/// How long the looks stay short.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two words.
const INTERVAL: Duration = Duration::from_secs(1);

fn main() {
    let socket = env::args().nth(1).unwrap_or_else(|| SOCKET.to_owned());
    if let Err(error) = run(Path::new(&socket)) {
        eprintln!("pv-example-unix-client: {error}");
        process::exit(1);
    }
}

fn run(socket: &Path) -> io::Result<()> {
    stop_on_signal()?;
    println!("waiting for {}", socket.display());
    let mut number = 0;
    let mut streaming = None;
    loop {
        let stream = connect(socket);
        println!("connected");
        if streaming.is_none() {
            streaming = Some(start_stream(socket.to_owned())?);
        }
        let error = talk(&stream, &mut number, INTERVAL);
        println!("connection lost after word {number}: {error}");
        thread::sleep(SHORT_WAIT);
    }
}

/// The second connection, which carries much more than the words, and is made again as theirs is.
fn start_stream(socket: PathBuf) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().spawn(move || {
        let mut stream = Stream::default();
        loop {
            let error = stream.talk(&connect(&socket), stream::PAUSE);
            println!("stream: connection lost after {}: {error}", stream.amount());
            thread::sleep(SHORT_WAIT);
        }
    })
}

/// Connects as soon as the socket is there; says once why it has to wait.
fn connect(socket: &Path) -> UnixStream {
    let begin = Instant::now();
    let mut told = None;
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return stream,
            Err(error) => {
                if told != Some(error.kind()) {
                    told = Some(error.kind());
                    println!("not there yet: {error}");
                }
            }
        }
        thread::sleep(if begin.elapsed() < PATIENCE { SHORT_WAIT } else { LONG_WAIT });
    }
}

/// Sends word after word until one does not come back, and says why.
fn talk(stream: &UnixStream, number: &mut u64, interval: Duration) -> io::Error {
    let mut reader = BufReader::new(stream);
    loop {
        match exchange(stream, &mut reader, *number + 1) {
            Ok(()) => *number += 1,
            Err(error) => return error,
        }
        println!("ok: word {number} came back");
        thread::sleep(interval);
    }
}

fn exchange(mut stream: &UnixStream, reader: &mut impl BufRead, number: u64) -> io::Result<()> {
    let word = format!("word {number}\n");
    stream.write_all(word.as_bytes())?;
    let mut answer = String::new();
    if reader.read_line(&mut answer)? == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the other side"));
    }
    if answer != word {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("sent {word:?}, and {answer:?} came back"),
        ));
    }
    Ok(())
}

/// PID 1 has no default action for SIGTERM (pid_namespaces(7)).
fn stop_on_signal() -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    thread::Builder::new().spawn(move || {
        if let Some(signal) = signals.forever().next() {
            println!("stopping on signal {signal}");
            process::exit(0);
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers line by line by what `answer` makes of each, then closes.
    fn server(lines: usize, answer: fn(String) -> String) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        thread::spawn(move || {
            for line in BufReader::new(&theirs).lines().take(lines) {
                (&theirs).write_all(answer(line.unwrap()).as_bytes()).unwrap();
            }
        });
        ours
    }

    #[test]
    fn counts_words_until_the_connection_ends() {
        let mut number = 40;
        let error = talk(&server(3, |line| line + "\n"), &mut number, Duration::ZERO);
        // A server that closes with a word unread resets the connection (unix(7)).
        let ends = [io::ErrorKind::UnexpectedEof, io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
        assert!(ends.contains(&error.kind()), "{error}");
        assert_eq!(number, 43);
    }

    #[test]
    fn a_wrong_echo_is_no_success() {
        let mut number = 0;
        let error = talk(&server(1, |_| "word 7\n".to_owned()), &mut number, Duration::ZERO);
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(number, 0);
    }
}
