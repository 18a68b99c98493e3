//! The load: a server that does what the first byte of a connection asks, and what all benches do with it.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Takes orders: a length and a pace, see [`order`]; reads so many bytes, answers one; then the next order.
const SINK: u8 = b'S';
/// Sends every byte back.
const ECHO: u8 = b'E';
/// Sends this byte back, on the accepting thread; the client closes.
const ONCE: u8 = b'C';
/// Bytes of a read: more than anybody's messages, so that none is split here.
const READ: usize = 256 * 1024;
/// How long anything may make a client wait.
const PATIENCE: Duration = Duration::from_secs(20);

/// Serves until the process is ended.
pub(crate) fn serve(listener: &UnixListener) -> io::Result<()> {
    for stream in listener.incoming() {
        let mut stream = stream?;
        let mut kind = [0];
        // One connection's fault is not the server's.
        match stream.read(&mut kind) {
            Ok(1) if kind[0] == ONCE => {
                let _ = stream.write_all(&kind);
            }
            Ok(1) => {
                let job = thread::Builder::new().stack_size(64 * 1024);
                job.spawn(move || if kind[0] == SINK { sink(stream) } else { echo(stream) })?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// What a sink is asked to read, at so many bytes a second (0: as fast as it can).
fn order(bytes: u64, pace: u64) -> [u8; 16] {
    let mut order = [0; 16];
    order[..8].copy_from_slice(&bytes.to_le_bytes());
    order[8..].copy_from_slice(&pace.to_le_bytes());
    order
}

fn sink(mut stream: UnixStream) -> io::Result<()> {
    let mut buffer = vec![0; READ];
    loop {
        let (mut bytes, mut pace) = ([0; 8], [0; 8]);
        stream.read_exact(&mut bytes)?;
        stream.read_exact(&mut pace)?;
        let (bytes, pace) = (u64::from_le_bytes(bytes), u64::from_le_bytes(pace));
        let begin = Instant::now();
        let mut left = bytes;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(READ).min(READ);
            match stream.read(&mut buffer[..most])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => left -= count as u64,
            }
            if pace > 0 {
                let due = Duration::from_secs_f64((bytes - left) as f64 / pace as f64);
                thread::sleep(due.saturating_sub(begin.elapsed()));
            }
        }
        stream.write_all(&[SINK])?;
    }
}

fn echo(mut stream: UnixStream) -> io::Result<()> {
    let mut buffer = vec![0; READ];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => stream.write_all(&buffer[..count])?,
        }
    }
}

/// A connection to a server that reads.
#[derive(Debug)]
pub(crate) struct Sink(UnixStream);

impl Sink {
    /// Connects.
    pub(crate) fn connect(target: &Path) -> io::Result<Self> {
        let mut stream = connect(target)?;
        stream.write_all(&[SINK])?;
        Ok(Self(stream))
    }

    /// Sends so many bytes in writes of this block, to a reader of this pace, until it has read them all.
    pub(crate) fn send(&mut self, block: &[u8], bytes: u64, pace: u64) -> io::Result<Duration> {
        let begin = Instant::now();
        self.0.write_all(&order(bytes, pace))?;
        let mut left = bytes;
        while left > 0 {
            let count = usize::try_from(left).unwrap_or(block.len()).min(block.len());
            self.0.write_all(&block[..count])?;
            left -= count as u64;
        }
        self.0.read_exact(&mut [0])?;
        Ok(begin.elapsed())
    }
}

/// A connection to a server that sends back.
#[derive(Debug)]
pub(crate) struct Echo(UnixStream);

impl Echo {
    /// Connects; that it works is proven by a byte.
    pub(crate) fn connect(target: &Path) -> io::Result<Self> {
        connect_echo(target).map(Self)
    }

    /// Sends the message, waits for all of it.
    pub(crate) fn round_trip(&mut self, message: &[u8], answer: &mut [u8]) -> io::Result<Duration> {
        let begin = Instant::now();
        self.0.write_all(message)?;
        self.0.read_exact(&mut answer[..message.len()])?;
        Ok(begin.elapsed())
    }

    /// Sends no more, and waits until the server has seen that and ended it.
    pub(crate) fn end(mut self) -> io::Result<Duration> {
        let begin = Instant::now();
        self.0.shutdown(std::net::Shutdown::Write)?;
        match self.0.read(&mut [0])? {
            0 => Ok(begin.elapsed()),
            _ => Err(io::Error::other("bytes that were not sent")),
        }
    }
}

/// One short connection.
pub(crate) fn once(target: &Path) -> io::Result<()> {
    let mut stream = connect(target)?;
    stream.write_all(&[ONCE])?;
    stream.read_exact(&mut [0])
}

/// A connection that the server echoes on, proven by one byte.
pub(crate) fn connect_echo(target: &Path) -> io::Result<UnixStream> {
    let mut stream = connect(target)?;
    stream.write_all(&[ECHO, 1])?;
    stream.read_exact(&mut [0])?;
    Ok(stream)
}

fn connect(target: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(target)?;
    // A stall is reported, not waited for.
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_does_what_clients_measure() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || serve(&listener));
        let mut sink = Sink::connect(&path).unwrap();
        sink.send(&[1; 4096], 3 * READ as u64 + 7, 0).unwrap();
        // 200 kB at 10 MB/s take 20 ms, less what the socket holds.
        assert!(sink.send(&[1; 4096], 200_000, 10_000_000).unwrap() >= Duration::from_millis(20));
        let mut echo = Echo::connect(&path).unwrap();
        let mut answer = [0; 64];
        echo.round_trip(&[7; 64], &mut answer).unwrap();
        assert_eq!(answer, [7; 64]);
        echo.end().unwrap();
        once(&path).unwrap();
        connect_echo(&path).unwrap();
    }
}
