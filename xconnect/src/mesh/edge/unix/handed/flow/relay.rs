//! A flow in hold mode: what is held and what is in the source's queue goes through us.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use super::super::super::carry::is_shortage;
use super::super::super::trouble::Trouble;
use super::{Flow, Io, Progress, State};
use crate::sys::{scm, socket};

/// So many reads may find nothing although bytes wait.
const BARREN: u32 = 50;
/// For so long the hold pair may owe us bytes.
const OWED: Duration = Duration::from_secs(5);
/// For so long a thread of the sender may be in the middle of a message while we want to read.
const LOCKED_OUT: Duration = Duration::from_secs(1);

impl Flow {
    /// Forwards what is held, then looks at the source's queue.
    pub(super) fn relay(&mut self, io: &mut Io<'_>) -> Progress {
        if self.unsure.is_some() {
            // What is held now is younger, or it cannot be ordered.
            return self.read_unlocked(0, io);
        }
        match socket::receive_plain(io.hold, &mut io.scratch.buffer) {
            // The pair is our own: no end comes.
            Ok(len) => {
                self.read += len as u64;
                (self.owed, self.locked_out) = (None, None);
                return self.forward(len, io);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => return Progress::Stepped,
            Err(error) => return Progress::Broken(Trouble::Read(error)),
        }
        if self.read < self.held_total() {
            // On its way to the hold pair, which will tell. If it does not, the kernel could not send.
            let since = *self.owed.get_or_insert(io.now);
            let late = io.now.duration_since(since) >= OWED;
            return if late { Progress::Broken(Trouble::Stranded) } else { Progress::Later };
        }
        self.owed = None;
        if self.source_ended && self.state != State::Draining {
            self.drain();
        } else if self.state == State::Hold && self.sink_left {
            self.state = State::Tail;
        }
        let waiting = match socket::waiting(io.source) {
            Ok(waiting) => waiting,
            Err(error) => return Progress::Broken(Trouble::Read(error)),
        };
        match (waiting, self.state) {
            (0, State::Hold | State::Tail) => {
                // Whoever was in our way is through.
                self.locked_out = None;
                if self.state == State::Hold && !self.outside { self.redirect() } else { Progress::Waits }
            }
            // The end's last look, too, is one that no thread of the sender can get ahead of.
            (waiting, _) if io.kernel.features().traced => self.read_locked(waiting, io),
            (waiting, _) => self.read_unlocked(waiting, io),
        }
    }

    /// Everything up to here is on the sink, and nothing waits: the kernel goes on from here.
    fn redirect(&mut self) -> Progress {
        let fallen = self.gate.fallen();
        let messages = self.gate.messages();
        if self.gate.redirect(self.read - (fallen - self.fallen)) {
            self.state = State::Kernel;
            (self.read, self.fallen, self.messages.1, self.proven) = (0, fallen, messages, 0);
            self.reached_kernel = true;
            // The bytes are counted from 0: what was seen of them is of no use.
            self.steady.0 = u64::MAX;
        }
        Progress::Stepped
    }

    /// Reads the source with the sender's threads locked out: what was on its queue before the verdict had it
    /// (every arrival takes one from it, so these stay), or the rest after the end.
    pub(super) fn read_locked(&mut self, waiting: usize, io: &mut Io<'_>) -> Progress {
        // All of it at once: a buffer that is half read would be taken whole by the verdict.
        io.scratch.fit(waiting);
        let Some(turn) = self.gate.lock() else { return self.locked_out(io.now) };
        let waiting = socket::waiting(io.source).unwrap_or(usize::MAX);
        let unchanged = self.read == self.held_total() && waiting <= io.scratch.buffer.len();
        let read = if unchanged && waiting > 0 {
            socket::receive_plain(io.source, &mut io.scratch.buffer[..waiting])
        } else {
            Ok(0)
        };
        // A read has given it back already, before it could wake up the sender on our processor.
        drop(turn);
        self.locked_out = None;
        if self.gate.overlaps() > 0 {
            return self.overtaken(io);
        }
        // Whoever had the lock before us has told by now.
        if let Some(trouble) = self.broken_promise() {
            return Progress::Broken(trouble);
        }
        match read {
            Ok(0) if unchanged && self.state == State::Draining => self.end(io),
            Ok(0) => Progress::Stepped,
            Ok(len) => {
                self.barren = 0;
                self.forward(len, io)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // An out-of-band byte is counted, but not read.
                self.barren += 1;
                if self.barren < BARREN { Progress::Later } else { Progress::Broken(Trouble::Urgent) }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Progress::Stepped,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                self.source_ended = true;
                Progress::Stepped
            }
            Err(error) => Progress::Broken(Trouble::Read(error)),
        }
    }

    /// A thread of the sender has the lock: for longer than an instant only where it waits in the middle of a
    /// message. Not for ever.
    fn locked_out(&mut self, now: Instant) -> Progress {
        let since = *self.locked_out.get_or_insert(now);
        if now.duration_since(since) < LOCKED_OUT {
            Progress::Later
        } else {
            Progress::Broken(Trouble::LockedOut)
        }
    }

    /// Tells the receiver that everything has come.
    pub(super) fn end(&mut self, io: &Io<'_>) -> Progress {
        socket::end_sending(io.sink);
        self.state = State::Over;
        Progress::Stepped
    }

    /// Sends what was read; what the sink does not take is kept.
    pub(super) fn forward(&mut self, len: usize, io: &mut Io<'_>) -> Progress {
        if self.gate.overlaps() > 0 {
            return self.overtaken(io);
        }
        self.moved.0 += len as u64;
        self.moved.1 += 1;
        let sent = match scm::send(io.sink, &io.scratch.buffer[..len], &[], self.sender) {
            Ok(sent) => Ok(sent),
            Err(error) => self.refused(error).map(|()| 0),
        };
        let taken = *sent.as_ref().unwrap_or(&0);
        self.sent += taken as u64;
        if taken < len && !self.sink_gone {
            self.held = io.scratch.copy_of(taken, len);
            self.held_from = 0;
            self.full = sent.is_ok();
        }
        sent.map_or_else(|progress| progress, |_| Progress::Stepped)
    }

    pub(super) fn flush(&mut self, io: &mut Io<'_>) -> Progress {
        match scm::send(io.sink, &self.held[self.held_from..], &[], self.sender) {
            Ok(sent) => {
                self.sent += sent as u64;
                self.held_from += sent;
                if self.held_from == self.held.len() {
                    io.scratch.recycle(std::mem::take(&mut self.held));
                    self.held_from = 0;
                } else {
                    self.full = true;
                }
                Progress::Stepped
            }
            Err(error) => match self.refused(error) {
                Ok(()) => {
                    self.full = true;
                    Progress::Stepped
                }
                Err(progress) => progress,
            },
        }
    }

    /// `Ok`: nothing was sent, because there is no room or nobody.
    fn refused(&mut self, error: std::io::Error) -> Result<(), Progress> {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(()),
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::NotConnected => {
                self.sink_gone = true;
                Ok(())
            }
            _ if is_shortage(&error) => Err(Progress::Later),
            _ => Err(Progress::Broken(Trouble::Write(error))),
        }
    }
}
