//! The kernel's own threads, which send what was redirected, and the receiver.

use crate::queue::{MARKER, Queue};
use crate::scenario::Scenario;
use crate::state::State;
use crate::steps::Steps;

pub(crate) fn steps(state: &State, scenario: &Scenario, out: &mut Steps) {
    sink(state, scenario, out);
    if !state.to_hold.is_empty() {
        out.add("kworker", "sends on the hold pair", *state, |next| {
            if let Some(buffer) = next.to_hold.pop() {
                next.hold.push(buffer);
            }
        });
    }
    // A queue that is never full needs no reader.
    if state.unread > 0 && scenario.room < 15 {
        out.add("receiver", "reads", *state, |next| next.unread -= 1);
    }
    if scenario.receiver_half_closes {
        // unix_shutdown: first the other end's unhash, then its RCV_SHUTDOWN.
        if state.sink_in_map {
            out.add("receiver", "HALF-CLOSES, the sink leaves the map", *state, |next| {
                next.sink_in_map = false;
            });
        } else if !state.sink_hangup {
            out.add("sink", "sees the hang-up", *state, |next| next.sink_hangup = true);
        }
    }
}

/// The work of the sink's psock: in order, one at a time. When the sink has left the map a running work may
/// go on, or stop at any buffer; what is left is dropped.
fn sink(state: &State, scenario: &Scenario, out: &mut Steps) {
    if state.counting {
        out.add("kworker", "counts what it has sent", *state, |next| {
            next.counting = false;
            next.gate.delivered += 1;
        });
        return;
    }
    if state.to_sink.is_empty() {
        return;
    }
    let mut rest = state.to_sink;
    match rest.pop() {
        Some(MARKER) => out.add("kworker", "hands the marker over", *state, |next| {
            next.to_sink = rest;
            next.marker = true;
        }),
        Some(_) if state.shut => out.add("kworker", "cannot send, the sink is shut", *state, |next| {
            next.to_sink = rest;
            next.lost = true;
        }),
        Some(buffer) if state.unread < scenario.room => {
            out.add("kworker", "sends on the sink", *state, |next| {
                next.to_sink = rest;
                next.counting = true;
                next.deliver(buffer);
            });
        }
        _ => {}
    }
    if !state.sink_in_map {
        out.add("kworker", "DROPS the rest for the sink", *state, |next| {
            next.lost |= next.to_sink.data() > 0;
            next.to_sink = Queue::default();
        });
    }
}
