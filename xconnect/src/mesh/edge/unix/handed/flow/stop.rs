//! What ends a flow before its time.

use super::super::super::trouble::Trouble;
use super::super::event::is_refusal;
use super::{Flow, Io, Progress, State};
use crate::sys::socket;

impl Flow {
    /// What the programs have seen that cannot be mended.
    pub(in super::super) fn broken_promise(&self) -> Option<Trouble> {
        if self.gate.stranded() > 0 {
            Some(Trouble::Stranded)
        } else if self.gate.has_lost_urgent() {
            Some(Trouble::Urgent)
        } else if self.gate.was_unhashed_under_way() {
            Some(Trouble::LostAtShutdown)
        } else if self.gate.asks_for_credentials() {
            Some(Trouble::Credentials)
        } else {
            None
        }
    }

    /// Order is not certain. Where the receiver is gone that is of no matter, and its cause: the kernel refuses
    /// what is redirected to it, so that the sender's thread does not come to give its lock back.
    pub(super) fn overtaken(&mut self, io: &Io<'_>) -> Progress {
        if socket::is_gone(io.sink) {
            self.sink_gone = true;
            return Progress::Stepped;
        }
        if let Some(progress) = self.worker_failed(io) {
            return progress;
        }
        if self.sink_left {
            return Progress::Broken(Trouble::LostAtHalfClose);
        }
        tracing::debug!(state = ?self.state, gate = ?*self.gate, read = self.read, "order is not certain");
        Progress::Broken(Trouble::Overtaken)
    }

    /// Whether the kernel's worker has given up on the sink, of which the event may still be on its way here.
    pub(super) fn worker_failed(&mut self, io: &Io<'_>) -> Option<Progress> {
        match socket::take_error(io.sink)? {
            error if is_refusal(error) => {
                self.sink_gone = true;
                Some(Progress::Stepped)
            }
            error => Some(Progress::Broken(failure(error))),
        }
    }

    /// Nobody takes anything any more. The source is told once it is no flow's sink any more (`tells_source`):
    /// shutting it down looks the same as a half-close of its peer, which would be a loss there.
    pub(super) fn forget(&mut self, io: &Io<'_>) {
        self.held = Vec::new();
        self.held_from = 0;
        self.full = false;
        if self.state == State::Kernel {
            self.leave(io.now);
        }
        if let State::Settling { .. } = self.state {
            self.redirected = self.redirected.saturating_sub(self.gate.fallen() - self.fallen);
        }
        self.state = State::Over;
        self.tells_source = true;
        self.forget_fence(io.now);
    }
}

/// What a worker of the kernel's that has given up means.
pub(super) fn failure(error: i32) -> Trouble {
    Trouble::KernelFailed(std::io::Error::from_raw_os_error(error))
}
