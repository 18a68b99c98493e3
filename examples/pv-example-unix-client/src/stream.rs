//! The steady part: on a connection of its own, a block after every short pause, and its echo awaited and
//! compared. It is there to be seen in `pvcontrol graph watch`.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

/// A block fits into a socket's buffer, so that the exchange cannot block itself.
const WORDS: usize = 8192;
const BYTES: usize = WORDS * size_of::<u64>();
/// Between two blocks.
pub(super) const PAUSE: Duration = Duration::from_millis(2);
/// Between two lines of the log.
const REPORT: Duration = Duration::from_secs(60);

/// Blocks that came back, over all connections.
#[derive(Debug, Default)]
pub(super) struct Stream {
    blocks: u64,
    sent: Vec<u8>,
    back: Vec<u8>,
}

impl Stream {
    /// Sends block after block until one does not come back, and says why.
    pub(super) fn talk(&mut self, stream: &UnixStream, pause: Duration) -> io::Error {
        let mut reported = Instant::now();
        loop {
            if let Err(error) = self.exchange(stream) {
                return error;
            }
            self.blocks += 1;
            if reported.elapsed() > REPORT {
                reported = Instant::now();
                println!("stream: {} came back", self.amount());
            }
            thread::sleep(pause);
        }
    }

    /// What came back, for people.
    pub(super) fn amount(&self) -> String {
        format!("{} MiB", (self.blocks * BYTES as u64) >> 20)
    }

    fn exchange(&mut self, mut stream: &UnixStream) -> io::Result<()> {
        // Every word of the whole stream differs, so that nothing lost, doubled or moved goes unseen.
        let first = self.blocks * WORDS as u64;
        self.sent.clear();
        self.sent.extend((first..first + WORDS as u64).flat_map(u64::to_le_bytes));
        stream.write_all(&self.sent)?;
        self.back.resize(BYTES, 0);
        stream.read_exact(&mut self.back)?;
        match self.sent.iter().zip(&self.back).position(|(sent, back)| sent != back) {
            None => Ok(()),
            Some(offset) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("block {} came back with another byte at {offset}", self.blocks),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Echoes so many bytes, what `change` makes of each by its place, then closes.
    fn server(bytes: usize, change: fn(usize, u8) -> u8) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        thread::spawn(move || {
            let mut buffer = vec![0; bytes];
            let mut done = 0;
            while done < bytes {
                let length = (&theirs).read(&mut buffer[done..]).unwrap();
                let part: Vec<u8> = (done..done + length).map(|place| change(place, buffer[place])).collect();
                (&theirs).write_all(&part).unwrap();
                done += length;
            }
        });
        ours
    }

    #[test]
    fn counts_blocks_until_the_connection_ends() {
        let mut stream = Stream::default();
        let error = stream.talk(&server(3 * BYTES, |_, byte| byte), Duration::ZERO);
        // A server that closes with a block unread resets the connection (unix(7)).
        let ends = [io::ErrorKind::UnexpectedEof, io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
        assert!(ends.contains(&error.kind()), "{error}");
        assert_eq!(stream.blocks, 3);
    }

    #[test]
    fn one_wrong_byte_is_noticed() {
        let mut stream = Stream::default();
        let wrong = |place, byte| if place == BYTES + 4097 { byte ^ 1 } else { byte };
        let error = stream.talk(&server(2 * BYTES, wrong), Duration::ZERO);
        assert_eq!(error.to_string(), "block 1 came back with another byte at 4097");
        assert_eq!(stream.blocks, 1);
    }
}
