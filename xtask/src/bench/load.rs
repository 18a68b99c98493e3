//! The load: a server that does what the first byte of a connection asks, and clients that measure.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Takes a length (u64, little endian), reads so many bytes, answers one byte.
const SINK: u8 = b'S';
/// Sends every byte back.
const ECHO: u8 = b'E';
/// Sends this byte back, on the accepting thread; the client closes.
const ONCE: u8 = b'C';
/// Bytes of a write in the throughput test.
const BLOCK: usize = 64 * 1024;
/// Bytes of a round trip.
const MESSAGE: usize = 64;

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

fn sink(mut stream: UnixStream) -> io::Result<()> {
    let mut length = [0; 8];
    stream.read_exact(&mut length)?;
    let mut left = u64::from_le_bytes(length);
    let mut buffer = vec![0; 4 * BLOCK];
    while left > 0 {
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => left -= count as u64,
        }
    }
    stream.write_all(&[SINK])
}

fn echo(mut stream: UnixStream) -> io::Result<()> {
    let mut buffer = vec![0; 4096];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => stream.write_all(&buffer[..count])?,
        }
    }
}

/// Sends `bytes` in writes of 64 KiB until the server has read them all; MiB/s, and the connection, still
/// open: what a relay forked for it has used can be read as long as it lives.
pub(crate) fn throughput(target: &Path, bytes: u64) -> io::Result<(f64, UnixStream)> {
    let mut stream = UnixStream::connect(target)?;
    stream.write_all(&[SINK])?;
    stream.write_all(&bytes.to_le_bytes())?;
    let block = vec![0x5a; BLOCK];
    let begin = Instant::now();
    let mut left = bytes;
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        stream.write_all(&block[..count])?;
        left -= count as u64;
    }
    stream.read_exact(&mut [0])?;
    Ok((bytes as f64 / 1024.0 / 1024.0 / begin.elapsed().as_secs_f64(), stream))
}

/// Microseconds of each of so many round trips of 64 bytes, after some that warm up.
pub(crate) fn round_trips(target: &Path, count: usize) -> io::Result<Vec<f64>> {
    let mut stream = connect_echo(target)?;
    let (message, mut answer) = ([0x5a; MESSAGE], [0; MESSAGE]);
    let mut samples = Vec::with_capacity(count);
    let warm_up = count / 10;
    for number in 0..warm_up + count {
        let begin = Instant::now();
        stream.write_all(&message)?;
        stream.read_exact(&mut answer)?;
        if number >= warm_up {
            samples.push(begin.elapsed().as_secs_f64() * 1e6);
        }
    }
    Ok(samples)
}

/// Connections a second: connect, one byte there and back, close; one after another.
pub(crate) fn connections(target: &Path, limit: Duration) -> io::Result<f64> {
    let begin = Instant::now();
    let mut count = 0_u32;
    while begin.elapsed() < limit {
        once(target)?;
        count += 1;
    }
    Ok(f64::from(count) / begin.elapsed().as_secs_f64())
}

/// One short connection.
pub(crate) fn once(target: &Path) -> io::Result<()> {
    let mut stream = UnixStream::connect(target)?;
    stream.write_all(&[ONCE])?;
    stream.read_exact(&mut [0])
}

/// A connection that the server echoes on, proven by one byte.
pub(crate) fn connect_echo(target: &Path) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(target)?;
    stream.write_all(&[ECHO, 1])?;
    stream.read_exact(&mut [0])?;
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
        assert!(throughput(&path, 3 * BLOCK as u64 + 7).unwrap().0 > 0.0);
        assert_eq!(round_trips(&path, 20).unwrap().len(), 20);
        assert!(connections(&path, Duration::from_millis(5)).unwrap() > 0.0);
        connect_echo(&path).unwrap();
    }
}
