//! The receiving half of an end, with the watchdog for what does not arrive.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::conn::{Conn, End, Over, Trouble};
use super::dice::Dice;
use super::flow::Flow;

/// Bytes of a read.
const BUFFER: usize = 256 * 1024;
/// An end that waits for so long though nothing was written waits for something that nobody sends.
const FOREVER: Duration = Duration::from_secs(60);

/// How an end reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// As much as there is.
    Eager,
    /// Small reads, and a sleep now and then.
    Slow,
}

/// What a read brought.
#[derive(Debug, PartialEq, Eq)]
enum Got {
    Bytes,
    End,
}

/// Reads at one end.
pub(crate) struct Reader<'a> {
    conn: &'a Conn,
    sender: End,
    flow: &'a Flow,
    socket: Arc<OwnedFd>,
    buffer: Vec<u8>,
    style: Style,
    dice: Dice,
    until_nap: u64,
}

impl<'a> Reader<'a> {
    /// Reads at this end as fast as it can.
    pub(crate) fn new(conn: &'a Conn, at: End) -> Result<Self, Over> {
        Self::with(conn, at, Style::Eager, conn.dice())
    }

    /// Reads at this end in this way.
    pub(crate) fn with(conn: &'a Conn, at: End, style: Style, dice: Dice) -> Result<Self, Over> {
        let sender = at.other();
        let (flow, socket) = (conn.flow(sender), conn.socket(at)?);
        Ok(Self { conn, sender, flow, socket, buffer: Vec::new(), style, dice, until_nap: 0 })
    }

    /// Reads until so many words have come in all.
    pub(crate) fn until(&mut self, words: u64) -> Result<(), Over> {
        while self.flow.received_words() < words {
            self.more()?;
        }
        Ok(())
    }

    /// Reads until all has come that the sender decides to send.
    pub(crate) fn until_total(&mut self) -> Result<(), Over> {
        while self.flow.total().is_none_or(|total| self.flow.received_words() < total) {
            self.more()?;
        }
        Ok(())
    }

    /// Reads until the end of the stream.
    pub(crate) fn until_end(&mut self) -> Result<(), Over> {
        while self.some()? == Got::Bytes {}
        if self.flow.is_done() && !self.flow.is_short() {
            return Ok(());
        }
        Err(self.conn.gone(self.sender, "the end"))
    }

    fn more(&mut self) -> Result<(), Over> {
        match self.some()? {
            Got::Bytes => Ok(()),
            Got::End => Err(self.conn.gone(self.sender, "the end")),
        }
    }

    fn some(&mut self) -> Result<Got, Over> {
        let limit = self.limit();
        if self.buffer.len() < limit {
            self.buffer.resize(limit, 0);
        }
        let begin = Instant::now();
        let mut pending_since = None;
        loop {
            let call = Instant::now();
            let buffer = &mut self.buffer[..limit];
            match rustix::net::recv(&self.socket, buffer, RecvFlags::empty()) {
                Ok((0, _)) => return Ok(Got::End),
                Ok((count, _)) => {
                    self.flow.feed(&self.buffer[..count]);
                    self.until_nap = self.until_nap.saturating_sub(count as u64);
                    return Ok(Got::Bytes);
                }
                Err(Errno::AGAIN) => self.waited(begin, call, &mut pending_since)?,
                Err(error @ Errno::CONNRESET) => {
                    return Err(self.conn.gone(self.sender, &error.to_string()));
                }
                Err(error) => {
                    return Err(self
                        .conn
                        .error(format!("a read {} failed: {error}", self.sender.direction())));
                }
            }
        }
    }

    /// Nothing came for a while: whether that is a fault.
    fn waited(&self, begin: Instant, call: Instant, pending: &mut Option<Instant>) -> Result<(), Over> {
        let (patience, way) = (self.conn.patience, self.sender.direction());
        if call.elapsed() < patience.tick / 2 {
            return Err(self
                .conn
                .error(format!("a blocking read {way} gave EAGAIN after {:?}", call.elapsed())));
        }
        let received = self.flow.received();
        if !self.flow.is_pending() {
            *pending = None;
            if begin.elapsed() >= FOREVER {
                return Err(self
                    .conn
                    .error(format!("a reader {way} waits after {received} bytes for nothing")));
            }
            return Ok(());
        }
        if pending.get_or_insert_with(Instant::now).elapsed() >= patience.stall {
            let text = format!("{way}: bytes from {received} on, or the end, were sent and did not come");
            return Err(self.conn.fail(Trouble::Stalled(text)));
        }
        Ok(())
    }

    /// How much to read at once; sleeps where it is time to.
    fn limit(&mut self) -> usize {
        match self.style {
            Style::Eager => BUFFER,
            Style::Slow => {
                if self.until_nap == 0 {
                    thread::sleep(Duration::from_micros(self.dice.between(0, 5000)));
                    self.until_nap = self.dice.log_uniform(64, 128 * 1024);
                }
                self.dice.log_uniform(1, 4096) as usize
            }
        }
    }
}
