//! The sending half of an end: threads that write numbered words in chunks of chance.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::conn::{Conn, End, Over};
use super::dice::Dice;
use super::words::{Source, WORD};

/// The largest chunk of a write, in words.
pub(crate) const CHUNK: u64 = 256 * 1024 / WORD as u64;

/// What a sender waits between two writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gaps {
    /// Nothing.
    None,
    /// 0 to 100 µs, awake: a sleep would be longer.
    Short,
}

/// How much a sender sends, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// At least so many words,
    pub(crate) words: u64,
    /// and for at least so long.
    pub(crate) time: Duration,
    /// The largest chunk, in words.
    pub(crate) chunk: u64,
    pub(crate) gaps: Gaps,
}

/// Waits awake.
pub(crate) fn spin(time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// One sending thread of an end.
pub(crate) struct Sender<'a> {
    conn: &'a Conn,
    from: End,
    thread: usize,
    socket: Arc<OwnedFd>,
    source: Source,
    buffer: Vec<u8>,
    sent: u64,
    dice: Dice,
}

impl<'a> Sender<'a> {
    /// The only sender of this end.
    pub(crate) fn new(conn: &'a Conn, from: End, dice: Dice) -> Result<Self, Over> {
        Self::of_thread(conn, from, 0, dice)
    }

    /// One of several senders of this end.
    fn of_thread(conn: &'a Conn, from: End, thread: usize, dice: Dice) -> Result<Self, Over> {
        let socket = conn.socket(from)?;
        let source = Source::new(conn.flow(from).base + thread as u16);
        Ok(Self { conn, from, thread, socket, source, buffer: Vec::new(), sent: 0, dice })
    }

    /// One write of so many words.
    pub(crate) fn write(&mut self, words: u64) -> Result<(), Over> {
        let bytes = words as usize * WORD;
        if self.buffer.len() < bytes {
            self.buffer.resize(bytes, 0);
        }
        let buffer = &mut self.buffer[..bytes];
        self.source.fill(buffer);
        self.sent += words;
        self.conn.write(self.from, self.thread, &self.socket, buffer)
    }

    /// So many words in so many writes, of chance sizes.
    pub(crate) fn pieces(&mut self, words: u64, pieces: u64, gaps: Gaps) -> Result<(), Over> {
        let mut rest = words;
        for left in (0..pieces.min(words)).rev() {
            let piece = if left == 0 { rest } else { self.dice.log_uniform(1, rest - left) };
            self.write(piece)?;
            rest -= piece;
            if left > 0 {
                self.pause(gaps);
            }
        }
        Ok(())
    }

    /// Writes until there is enough.
    pub(crate) fn stream(&mut self, pace: &Pace) -> Result<(), Over> {
        let begin = Instant::now();
        loop {
            let chunk = self.dice.log_uniform(1, pace.chunk);
            let last = self.sent + chunk >= pace.words && begin.elapsed() >= pace.time;
            if last {
                self.conn.flow(self.from).set_total(self.thread, self.sent + chunk);
            }
            self.write(chunk)?;
            if last {
                return Ok(());
            }
            self.pause(pace.gaps);
        }
    }

    fn pause(&mut self, gaps: Gaps) {
        match gaps {
            Gaps::None => {}
            Gaps::Short => spin(Duration::from_nanos(self.dice.between(0, 100_000))),
        }
    }
}

/// Several threads that write without a lock, each its own words.
pub(crate) fn unlocked(
    conn: &Conn,
    from: End,
    threads: usize,
    pace: &Pace,
    dice: &mut Dice,
) -> Result<(), Over> {
    let senders = (0..threads).map(|thread| Sender::of_thread(conn, from, thread, dice.fork()));
    let senders = senders.collect::<Result<Vec<_>, _>>()?;
    thread::scope(|scope| {
        let running: Vec<_> =
            senders.into_iter().map(|mut sender| scope.spawn(move || sender.stream(pace))).collect();
        running.into_iter().try_for_each(|thread| thread.join().unwrap_or(Err(Over)))
    })
}

/// Several threads that take turns with one sender, as under a lock of the application.
pub(crate) fn locked(
    conn: &Conn,
    from: End,
    threads: usize,
    pace: &Pace,
    dice: &mut Dice,
) -> Result<(), Over> {
    let begin = Instant::now();
    let shared = &Mutex::new((Sender::new(conn, from, dice.fork())?, false));
    let turns = |mut dice: Dice| {
        loop {
            let mut guard = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let (sender, over) = &mut *guard;
            if *over {
                return Ok(());
            }
            let chunk = dice.log_uniform(1, pace.chunk);
            if sender.sent + chunk >= pace.words && begin.elapsed() >= pace.time {
                *over = true;
                conn.flow(from).set_total(0, sender.sent + chunk);
            }
            let written = sender.write(chunk);
            *over |= written.is_err();
            written?;
            drop(guard);
            if pace.gaps == Gaps::Short {
                spin(Duration::from_nanos(dice.between(0, 100_000)));
            }
        }
    };
    thread::scope(|scope| {
        let running: Vec<_> =
            (0..threads).map(|_| dice.fork()).map(|dice| scope.spawn(move || turns(dice))).collect();
        running.into_iter().try_for_each(|thread| thread.join().unwrap_or(Err(Over)))
    })
}
