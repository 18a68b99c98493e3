//! Kernels before 6.3, which tell neither who is inside `sendmsg` nor what they have sent: time and markers
//! instead. docs/decisions/0008 has the rules.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use super::{Flow, Io, Progress, State, Trouble};
use crate::mesh::offload::KernelPath;
use crate::sys::socket;
use xconnect_common::Marker;

/// Kernels that do not tell who is inside: for so long no verdict may run, before a read and after it.
const QUIET: Duration = Duration::from_millis(20);

/// A marker that has not come for so long will not.
const LOST: Duration = Duration::from_millis(50);

/// A marker behind what was redirected.
#[derive(Clone, Copy)]
pub(super) struct Fence {
    marker: Marker,
    /// Bytes that were redirected before it, since the mode is redirect.
    after: u64,
    /// Nothing is redirected after it.
    last: bool,
    /// Since when nobody needs it any more: the flow is over.
    forgotten: Option<Instant>,
}

/// What was read from a source without a lock: whether older bytes were under way is not known yet.
pub(super) struct Unsure {
    bytes: Vec<u8>,
    messages: u64,
    since: Instant,
}

impl Flow {
    /// On a kernel that does not count what it sends: once a flow is quiet, sends a marker behind what was
    /// redirected, so that it is known to be sent should the sink leave its map. True: it needs turns.
    pub(in super::super) fn prove(&mut self, kernel: &KernelPath, sink_cookie: u64, now: Instant) -> bool {
        let (word, since) = self.steady;
        let due = self.state == State::Kernel
            && self.fence.is_none()
            && !(kernel.features().traced || self.sink_left || self.source_ended)
            && self.gate.redirected() == word
            && now.duration_since(since) >= QUIET
            && word != self.proven + self.gate.fallen() - self.fallen;
        // Where it cannot be sent there is another look.
        let sent = due.then(|| kernel.fence(sink_cookie).ok()).flatten();
        if let Some(marker) = sent {
            self.fence = Some(Fence { marker, after: word, last: false, forgotten: None });
        }
        self.fence.is_some()
    }

    /// A marker is in the sink's receiving side, or on its way there: who reads the sink may get it.
    pub(in super::super) fn awaits_marker(&self) -> bool {
        self.fence.is_some()
    }

    /// The flow is over before its marker has come.
    pub(super) fn forget_fence(&mut self, now: Instant) {
        if let Some(fence) = &mut self.fence {
            fence.forgotten = Some(now);
        }
    }

    /// A flow that is over: takes a marker that still comes, which the other direction would take for bytes. If it
    /// does not come soon it went with the sink's queue.
    pub(super) fn await_last_marker(&mut self, io: &Io<'_>) -> Progress {
        let Some(since) = self.fence.and_then(|fence| fence.forgotten) else { return Progress::Waits };
        let late = io.now.duration_since(since) >= LOST;
        match self.take_marker(io) {
            Ok(None) if !late => Progress::Later,
            Ok(_) | Err(_) => {
                self.fence = None;
                Progress::Stepped
            }
        }
    }

    /// Where the kernel does not count what it sends: whether all that was redirected is sent.
    pub(super) fn fenced(&mut self, fallen: u64, io: &mut Io<'_>) -> std::io::Result<bool> {
        if self.sink_left {
            // What was queued on the sink is gone, and a marker with it: nothing is known but what was before.
            self.fence = None;
            return Ok(self.stint.saturating_sub(fallen) == self.proven);
        }
        if self.fence.is_none() {
            match io.kernel.fence(io.sink_cookie) {
                Ok(marker) => {
                    self.fence = Some(Fence { marker, after: self.stint, last: true, forgotten: None });
                }
                // Too many are under way.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        // An older one comes first.
        Ok(self.take_marker(io)?.is_some_and(|fence| fence.last))
    }

    /// The fence whose marker has come through to the sink.
    pub(super) fn take_marker(&mut self, io: &Io<'_>) -> std::io::Result<Option<Fence>> {
        let Some(fence) = self.fence else { return Ok(None) };
        if !io.kernel.take_marker(io.sink, &fence.marker)? {
            return Ok(None);
        }
        self.fence = None;
        self.proven = fence.after.saturating_sub(self.gate.fallen() - self.fallen);
        Ok(Some(fence))
    }

    /// Kernels that do not tell who is inside: what was read is forwarded once no verdict has run for a while
    /// after it, so that none was under way with older bytes. The same goes for the end.
    pub(super) fn read_unlocked(&mut self, waiting: usize, io: &mut Io<'_>) -> Progress {
        // A marker that the other direction awaits would be taken for bytes.
        if io.source_fenced {
            return Progress::Later;
        }
        let messages = self.gate.messages();
        if let Some(unsure) = &self.unsure {
            if unsure.messages != messages {
                return self.overtaken(io);
            }
            if io.now.duration_since(unsure.since) < QUIET {
                return Progress::Later;
            }
            let Some(unsure) = self.unsure.take() else { return Progress::Stepped };
            io.scratch.fit(unsure.bytes.len());
            io.scratch.buffer[..unsure.bytes.len()].copy_from_slice(&unsure.bytes);
            return self.forward(unsure.bytes.len(), io);
        }
        match self.quiet {
            Some((seen, since)) if seen == messages => {
                if io.now.duration_since(since) < QUIET {
                    return Progress::Later;
                }
            }
            _ => {
                self.quiet = Some((messages, io.now));
                return Progress::Later;
            }
        }
        if waiting == 0 && self.state == State::Draining {
            return self.end(io);
        }
        self.quiet = None;
        io.scratch.fit(waiting);
        match socket::receive_plain(io.source, &mut io.scratch.buffer[..waiting]) {
            Ok(len) => {
                self.unsure = Some(Unsure { bytes: io.scratch.copy_of(0, len), messages, since: io.now });
                Progress::Later
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                Progress::Stepped
            }
            Err(error) => Progress::Broken(Trouble::Read(error)),
        }
    }
}
