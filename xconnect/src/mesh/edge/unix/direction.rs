//! What one direction of a relayed connection does next: pure state, fed with what the sockets said.
//!
//! A direction reads from its *source* and writes to its *sink*. Readiness is edge-triggered: it is
//! remembered here until a read or a write has shown that it is used up.

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Write what is held back.
    Flush,
    /// Read from the source, write to the sink.
    Transfer,
    /// Everything was delivered: tell the sink that no more comes.
    EndSink,
    /// The sink takes nothing any more: tell the source, and forget what is held back.
    EndSource,
    /// Nothing until an event; `writable`: the sink must tell when it has room.
    Wait {
        /// Whether a write is waiting for room.
        writable: bool,
    },
    /// Over.
    Done,
}

/// One direction.
#[derive(Debug, Clone, Default)]
pub(super) struct Direction {
    /// The source may have something to read.
    readable: bool,
    /// The source's peer sends no more: after the data comes the end, without another event.
    closing: bool,
    /// The end was read.
    ended: bool,
    /// Something read is not written yet.
    held: bool,
    /// The sink had no room.
    full: bool,
    /// The sink will never have room again.
    sink_gone: bool,
    /// Both ends were told.
    done: bool,
}

impl Direction {
    /// A direction whose source may have something already.
    pub(super) fn with_early_data() -> Self {
        Self { readable: true, ..Self::default() }
    }

    pub(super) fn next(&self) -> Step {
        match self {
            Self { done: true, .. } => Step::Done,
            Self { sink_gone: true, .. } => Step::EndSource,
            Self { held: true, full: true, .. } => Step::Wait { writable: true },
            Self { held: true, .. } => Step::Flush,
            Self { ended: true, .. } => Step::EndSink,
            Self { readable: true, .. } => Step::Transfer,
            _ => Step::Wait { writable: false },
        }
    }

    /// Everything that was read is written, and both ends are there.
    pub(super) fn is_clear(&self) -> bool {
        !(self.held || self.closing || self.ended || self.sink_gone || self.done)
    }

    /// Nothing is left to be moved: what remains is telling that, if anything.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.next(), Step::EndSink | Step::EndSource | Step::Done)
    }

    /// An event on the source; `closing`: its peer sends no more (half or full close).
    pub(super) fn source_ready(&mut self, closing: bool) {
        self.readable = true;
        self.closing |= closing;
    }

    /// An event on the sink: there is room.
    pub(super) fn sink_ready(&mut self) {
        self.full = false;
    }

    /// The sink's peer is gone, or refuses to receive.
    pub(super) fn sink_gone(&mut self) {
        self.sink_gone = true;
    }

    /// All that was queued has been read. A new event tells of more, unless the source was closing: then
    /// the queue could not grow any more (`unix_stream_sendmsg` looks at `RCV_SHUTDOWN` under the lock
    /// that it queues under), and this was its end.
    pub(super) fn emptied(&mut self) {
        self.ended |= self.closing;
        self.readable = false;
    }

    /// A read said that nothing waits: true even where the source is closing (a peek may race with it).
    pub(super) fn starved(&mut self) {
        self.readable = false;
    }

    /// The end was read.
    pub(super) fn ended(&mut self) {
        self.ended = true;
    }

    /// A write took only a part, the rest is held back until there is room.
    pub(super) fn held_back(&mut self) {
        self.held = true;
        self.full = true;
    }

    /// What was held back has gone.
    pub(super) fn flushed(&mut self) {
        self.held = false;
        self.full = false;
    }

    /// [`Step::EndSink`] or [`Step::EndSource`] was done.
    pub(super) fn told(&mut self) {
        self.done = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_until_empty_then_waits_for_an_event() {
        let mut direction = Direction::with_early_data();
        assert_eq!(direction.next(), Step::Transfer);
        direction.emptied();
        assert_eq!(direction.next(), Step::Wait { writable: false });
        direction.source_ready(false);
        assert_eq!(direction.next(), Step::Transfer);
    }

    #[test]
    fn a_closing_source_is_read_to_its_end() {
        let mut direction = Direction::default();
        direction.source_ready(true);
        assert_eq!(direction.next(), Step::Transfer, "what is queued comes first");
        direction.emptied();
        assert_eq!(direction.next(), Step::EndSink, "no event comes for the end");
        direction.told();
        assert_eq!(direction.next(), Step::Done);
    }

    #[test]
    fn nothing_is_read_while_something_is_held_back() {
        let mut direction = Direction::with_early_data();
        direction.held_back();
        assert_eq!(direction.next(), Step::Wait { writable: true });
        direction.source_ready(true);
        assert_eq!(direction.next(), Step::Wait { writable: true });
        direction.sink_ready();
        assert_eq!(direction.next(), Step::Flush);
        direction.flushed();
        assert_eq!(direction.next(), Step::Transfer);
    }

    #[test]
    fn the_end_waits_for_what_is_held_back() {
        let mut direction = Direction::with_early_data();
        direction.held_back();
        direction.ended();
        direction.sink_ready();
        assert_eq!(direction.next(), Step::Flush);
        direction.flushed();
        assert_eq!(direction.next(), Step::EndSink);
    }

    #[test]
    fn a_sink_that_is_gone_ends_everything() {
        let mut direction = Direction::with_early_data();
        direction.held_back();
        direction.sink_gone();
        assert_eq!(direction.next(), Step::EndSource);
        direction.told();
        direction.source_ready(true);
        direction.sink_ready();
        assert_eq!(direction.next(), Step::Done);
    }
}
