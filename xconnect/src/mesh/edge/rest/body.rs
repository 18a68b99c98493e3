//! A body on its way from one socket to the other.

use std::io;
use std::task::{Context, Poll, ready};

use super::buffer::{Buffer, SMALL};
use super::http1::{Chunked, Refusal};
use super::stream::Stream;

/// After so many bytes a body is long.
const LONG: u64 = 64 * 1024;

/// Where a body ends.
#[derive(Debug)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked(Box<Chunked>),
    /// With the stream.
    Stream,
}

/// What a body waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    /// More from where it comes from.
    Source,
    /// Room where it goes to.
    Sink,
}

/// Why a body does not go on.
#[derive(Debug)]
pub(super) enum Stop {
    /// It ends too early.
    Short,
    /// What comes is not a body.
    Refused(Refusal),
    /// It is longer than it may be.
    TooLong,
    /// It cannot be read.
    Source,
    /// It cannot be written.
    Sink(io::Error),
}

/// A body on its way.
#[derive(Debug)]
pub(super) struct Pump {
    framing: Framing,
    /// The most bytes of data that it may have.
    limit: u64,
    /// Of the buffer's bytes, those that may be written.
    ready: usize,
    ended: bool,
    /// Some of it has come.
    pub(super) begun: bool,
    /// Bytes that were written, those that went with the head left out.
    pub(super) moved: u64,
    pub(super) waits: Waits,
}

impl Pump {
    pub(super) fn new(framing: Framing, limit: u64) -> Self {
        Self { framing, limit, ready: 0, ended: false, begun: false, moved: 0, waits: Waits::Source }
    }

    fn is_done(&self) -> bool {
        self.ended
            || match &self.framing {
                Framing::Length(left) => *left == 0,
                Framing::Chunked(chunked) => chunked.is_done(),
                Framing::Stream => false,
            }
    }

    /// Whether all of it has been written.
    pub(super) fn is_over(&self) -> bool {
        self.ready == 0 && self.is_done()
    }

    /// Judges what the buffer holds, and moves up to `room` bytes of it behind a head that is about to be written.
    pub(super) fn join(&mut self, buffer: &mut Buffer, head: &mut Vec<u8>, room: usize) -> Result<(), Stop> {
        if self.ready == 0 && !buffer.is_empty() && buffer.len() <= room {
            self.judge(buffer)?;
            head.extend_from_slice(&buffer.unread()[..self.ready]);
            buffer.consume(self.ready);
            self.ready = 0;
        }
        Ok(())
    }

    /// Moves the body on until it is over or has to wait. `progress` is set where something moved.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &Stream,
        buffer: &mut Buffer,
        sink: &mut Stream,
        progress: &mut bool,
    ) -> Poll<Result<(), Stop>> {
        loop {
            while self.ready > 0 {
                self.waits = Waits::Sink;
                let written =
                    ready!(sink.poll_write(cx, &buffer.unread()[..self.ready])).map_err(Stop::Sink)?;
                buffer.consume(written);
                self.ready -= written;
                self.moved += written as u64;
                *progress = true;
            }
            if self.is_done() {
                sink.relax();
                return Poll::Ready(Ok(()));
            }
            if !buffer.is_empty() && self.judge(buffer)? {
                continue;
            }
            self.waits = Waits::Source;
            if source.poll_readable(cx).is_pending() {
                buffer.relax();
                return Poll::Pending;
            }
            if buffer.is_empty() && self.is_long() {
                buffer.enlarge();
            }
            // It is full of one line, which its own limit ends.
            if buffer.room().is_none() {
                buffer.grow(usize::MAX);
            }
            let Some(room) = buffer.room() else {
                return Poll::Ready(Err(Stop::Refused(Refusal::too_large("a line of it is too long"))));
            };
            match ready!(source.poll_read(cx, room)).map_err(|_| Stop::Source)? {
                0 if matches!(self.framing, Framing::Stream) => self.ended = true,
                0 => return Poll::Ready(Err(Stop::Short)),
                count => buffer.filled(count),
            }
            *progress = true;
        }
    }

    fn is_long(&self) -> bool {
        self.moved >= LONG || matches!(self.framing, Framing::Length(left) if left > SMALL as u64)
    }

    /// Finds what may be written. False: more is needed for that.
    fn judge(&mut self, buffer: &mut Buffer) -> Result<bool, Stop> {
        self.begun = true;
        let consumed = match &mut self.framing {
            Framing::Length(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                *left -= here as u64;
                self.ready = here;
                here
            }
            Framing::Stream => {
                self.ready = buffer.len();
                buffer.len()
            }
            Framing::Chunked(chunked) => {
                let filtered = chunked.filter(buffer.unread_mut()).map_err(Stop::Refused)?;
                buffer.cut_out(filtered.produced, filtered.consumed - filtered.produced);
                if chunked.announced() > self.limit {
                    return Err(Stop::TooLong);
                }
                self.ready = filtered.produced;
                filtered.consumed
            }
        };
        Ok(consumed > 0)
    }
}
