//! A flow that was in the kernel: until what was redirected is sent.

use std::time::{Duration, Instant};

use super::super::super::trouble::Trouble;
use super::{Flow, Io, LONG_PAUSE, PAUSE, Progress, State};

/// For so long after the last byte was delivered a sink that has left the map may still deliver.
const SETTLING: Duration = Duration::from_millis(50);
/// How often it is looked at once whether everything was sent, before a timer is set.
const LOOKS: u32 = 16;

impl Flow {
    /// Back to hold mode. Before anything else is sent on the sink, what was redirected has to be.
    pub(super) fn leave(&mut self, now: Instant) {
        self.messages.0 += self.gate.messages() - self.messages.1;
        self.stint = self.gate.hold();
        self.redirected += self.stint;
        self.read = 0;
        self.looks = 0;
        self.state = State::Settling { delivered: self.gate.delivered(), since: now };
    }

    pub(super) fn settle(&mut self, delivered: u64, since: Instant, io: &mut Io<'_>) -> Progress {
        let fallen = self.gate.fallen() - self.fallen;
        let due = self.redirected.saturating_sub(fallen);
        let (settled, present) = if io.kernel.features().traced {
            let present = self.gate.delivered();
            (present.saturating_sub(self.sent) == due, present)
        } else {
            match self.fenced(fallen, io) {
                Ok(fenced) => (fenced, delivered),
                Err(error) => return Progress::Broken(Trouble::Read(error)),
            }
        };
        if settled {
            self.redirected = due;
            match (self.source_ended, self.sink_left) {
                (true, _) => self.drain(),
                (false, true) => self.state = State::Tail,
                (false, false) => self.state = State::Hold,
            }
            return Progress::Stepped;
        }
        if present != delivered {
            self.state = State::Settling { delivered: present, since: io.now };
        } else if self.sink_left && io.now.duration_since(since) >= SETTLING {
            return self.worker_failed(io).unwrap_or(Progress::Broken(Trouble::LostAtHalfClose));
        }
        self.looks += 1;
        // The kernel's worker needs some microseconds.
        if self.looks <= LOOKS { Progress::Again } else { Progress::Later }
    }

    /// The source has ended: quiet counts from here.
    pub(super) fn drain(&mut self) {
        self.state = State::Draining;
        self.quiet = None;
    }
}

pub(super) fn settling_pause(looks: u32) -> Duration {
    PAUSE.saturating_mul(1 << looks.saturating_sub(LOOKS + 1).min(16)).min(LONG_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_receiver_is_looked_at_less_and_less_often() {
        let pauses: Vec<_> = (LOOKS + 1..LOOKS + 8).map(settling_pause).map(|it| it.as_millis()).collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 50, 50]);
        assert_eq!(settling_pause(u32::MAX), LONG_PAUSE);
    }
}
