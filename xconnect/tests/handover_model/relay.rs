//! User space: the relay's steps in the states User, Hold and Tail.

use crate::back;
use crate::scenario::{Rule, Scenario};
use crate::state::{At, Broken, Inside, Pc, State};
use crate::steps::Steps;

pub(crate) fn steps(state: &State, scenario: &Scenario, out: &mut Steps) {
    match state.relay.pc {
        Pc::User => user(state, scenario, out),
        Pc::Armed => armed(state, scenario, out),
        Pc::Hold => hold(state, scenario, out),
        Pc::Counted => out.add("relay", "FIONREAD", *state, |next| {
            let pass = next.source.is_empty() || !scenario.keeps(Rule::LeftOversLookedFor);
            next.relay.pc = if pass { Pc::SeenEmpty } else { Pc::Hold };
        }),
        Pc::SeenEmpty => out.add("relay", "exchanges hold for redirect", *state, |next| {
            let same = next.gate.count == next.relay.read || !scenario.keeps(Rule::CountCompared);
            next.relay.pc = if same { Pc::Kernel } else { Pc::Hold };
            if same {
                (next.gate.redirect, next.gate.count, next.relay.read) = (true, 0, 0);
                next.relay.was_kernel = true;
            }
        }),
        Pc::Locked => out.add("relay", "compares the count again", *state, |next| {
            let same = in_hold(next) == next.relay.read || !scenario.keeps(Rule::CountComparedUnderLock);
            if same {
                next.relay.pc = Pc::Reading;
            } else {
                unlock(next, scenario, Pc::Hold);
            }
        }),
        Pc::Reading => reading(state, scenario, out),
        Pc::Flushing => flushing(state, scenario, out),
        Pc::Kernel
        | Pc::Ending
        | Pc::Draining
        | Pc::Fence
        | Pc::Fencing
        | Pc::FallingBack
        | Pc::Comparing => {
            back::steps(state, scenario, out);
        }
        Pc::Done | Pc::Cut => {}
    }
}

fn user(state: &State, scenario: &Scenario, out: &mut Steps) {
    if !state.source.is_empty() {
        out.add("relay", "reads the source", *state, read_source);
    }
    read_half(state, out);
    forward(state, scenario, out);
    if state.ended && state.source.is_empty() && state.relay.memory.is_empty() {
        out.add("relay", "shuts the sink down", *state, shut);
    }
    let whole = !state.half_read || !scenario.keeps(Rule::NothingHalfRead);
    if !state.ended && !state.sink_hangup && whole {
        out.add("relay", "arms the gate", *state, |next| {
            next.gate.armed = true;
            next.relay.pc = Pc::Armed;
        });
    }
}

fn armed(state: &State, scenario: &Scenario, out: &mut Steps) {
    out.add("relay", "source enters the map", *state, |next| {
        next.verdict = true;
        next.relay.pc = if scenario.keeps(Rule::HoldFirst) { Pc::Hold } else { Pc::Kernel };
        next.gate.redirect = next.relay.pc == Pc::Kernel;
    });
    let refused = |next: &mut State| (next.relay.pc, next.relay.outside) = (Pc::Hold, true);
    if scenario.refusing {
        out.add("relay", "the map refuses the source, which has no verdict", *state, refused);
        out.add("relay", "the map refuses the source, which has its verdict", *state, |next| {
            next.verdict = true;
            refused(next);
        });
    }
}

fn hold(state: &State, scenario: &Scenario, out: &mut Steps) {
    if !state.hold.is_empty() {
        out.add("relay", "reads the hold pair", *state, |next| {
            if let Some(buffer) = next.hold.pop() {
                next.relay.memory.push(buffer);
            }
            next.relay.read += 1;
            if next.gate.overlapped && scenario.keeps(Rule::OverlapLookedFor) {
                cut(next);
            }
        });
    }
    forward(state, scenario, out);
    if state.sink_hangup && !state.relay.tail {
        out.add("relay", "stays in user space", *state, |next| next.relay.tail = true);
    }
    let all_read = in_hold(state) == state.relay.read;
    let flushed = state.relay.memory.is_empty() || !scenario.keeps(Rule::FlushedFirst);
    let inside = !state.relay.outside || !scenario.keeps(Rule::RefusedHolds);
    let to_kernel = all_read && flushed && !state.relay.tail && !state.ended && inside;
    if to_kernel {
        out.add("relay", "has read all that was held", *state, |next| next.relay.pc = Pc::Counted);
    }
    if state.relay.outside && !state.relay.tail && !state.ended {
        out.add("relay", "source enters the map later", *state, |next| {
            (next.verdict, next.relay.outside) = (true, false);
        });
    }
    if !state.source.is_empty() || state.ended {
        take_lock(state, scenario, out);
    }
    if state.ended && !scenario.keeps(Rule::HoldEmptied) {
        out.add("relay", "flushes", *state, |next| next.relay.pc = Pc::Flushing);
    }
}

/// For a direct read: of left-overs, or of all that is left at the end.
fn take_lock(state: &State, scenario: &Scenario, out: &mut Steps) {
    if !scenario.traced {
        // No lock there: a long quiet time instead, in which no thread stays in the window.
        if is_idle(state) || !scenario.keeps(Rule::QuietLongEnough) {
            out.add("relay", "it was quiet for long", *state, |next| {
                next.relay.ending = next.ended;
                next.relay.pc = Pc::Locked;
            });
        }
    } else if matches!(state.gate.inside, Inside::Nobody | Inside::Empty(_))
        || !scenario.keeps(Rule::ReadUnderLock)
    {
        out.add("relay", "takes the lock", *state, |next| {
            if scenario.keeps(Rule::ReadUnderLock) {
                next.gate.inside = Inside::User;
            }
            next.relay.ending = next.ended;
            next.relay.pc = Pc::Locked;
        });
    } else {
        give_up(state, scenario, out);
    }
}

/// The relay's wait for the lock is bounded, too.
pub(crate) fn give_up(state: &State, scenario: &Scenario, out: &mut Steps) {
    if scenario.forced && state.gate.inside != Inside::Nobody {
        out.add("relay", "GIVES UP waiting for the lock, cuts", *state, |next| {
            next.gate.overlapped = true;
            cut(next);
        });
    }
}

/// No thread is between the source's queue and the sink's.
pub(crate) fn is_idle(state: &State) -> bool {
    state.threads.iter().all(|thread| matches!(thread.at, At::Outside | At::Allocating | At::Ending))
}

fn reading(state: &State, scenario: &Scenario, out: &mut Steps) {
    if !state.source.is_empty() {
        out.add("relay", "reads the source under the lock", *state, |next| {
            read_source(next);
            next.relay.healed = true;
        });
        read_half(state, out);
        return;
    }
    if !scenario.traced {
        read_without_lock(state, scenario, out);
        return;
    }
    out.add("relay", "gives the lock back", *state, |next| {
        let then = if next.relay.ending { Pc::Flushing } else { Pc::Hold };
        unlock(next, scenario, then);
    });
}

/// Somebody may have come in the meantime, whatever the quiet time before: nothing that was read may be
/// forwarded until it was quiet once more and the count has stayed as it was.
fn read_without_lock(state: &State, scenario: &Scenario, out: &mut Steps) {
    let again = scenario.keeps(Rule::QuietAgain);
    if again && scenario.keeps(Rule::QuietLongEnough) && !is_idle(state) {
        return;
    }
    out.add("relay", "has read without a lock", *state, |next| {
        next.relay.pc = if next.relay.ending { Pc::Flushing } else { Pc::Hold };
        if again && in_hold(next) != next.relay.read {
            next.gate.overlapped = true;
            cut(next);
        }
    });
}

fn flushing(state: &State, scenario: &Scenario, out: &mut Steps) {
    forward(state, scenario, out);
    if state.relay.memory.is_empty() {
        out.add("relay", "shuts the sink down", *state, |next| {
            if next.gate.overlapped && scenario.keeps(Rule::OverlapLookedFor) {
                cut(next);
            } else {
                shut(next);
            }
        });
    }
}

fn forward(state: &State, scenario: &Scenario, out: &mut Steps) {
    if !state.relay.memory.is_empty() && state.unread < scenario.room {
        out.add("relay", "writes the sink", *state, |next| {
            if let Some(buffer) = next.relay.memory.pop() {
                next.deliver(buffer);
            }
        });
    }
}

/// What has fallen to the hold pair in this mode.
fn in_hold(state: &State) -> u8 {
    state.gate.count + state.gate.fallen
}

/// A read whose buffer was too short for the oldest socket buffer, which stays on the queue.
fn read_half(state: &State, out: &mut Steps) {
    if !state.source.is_empty() && !state.half_read {
        out.add("relay", "reads half of a buffer", *state, |next| next.half_read = true);
    }
}

fn read_source(next: &mut State) {
    next.half_read = false;
    if let Some(buffer) = next.source.pop() {
        next.relay.memory.push(buffer);
    }
}

fn unlock(next: &mut State, scenario: &Scenario, then: Pc) {
    next.relay.pc = then;
    if next.gate.inside == Inside::User {
        next.gate.inside = Inside::Nobody;
    }
    // Also an overlap of two senders before the lock was ours: one of them may still have an older buffer.
    if next.gate.overlapped && scenario.keeps(Rule::OverlapLookedFor) {
        cut(next);
    }
}

fn shut(next: &mut State) {
    next.shut = true;
    next.relay.pc = Pc::Done;
    if next.got != next.queued {
        next.broken = Some(Broken::EarlyEnd);
    }
}

pub(crate) fn cut(next: &mut State) {
    next.relay.pc = Pc::Cut;
    if !next.lost && !next.gate.overlapped {
        next.broken = Some(Broken::CutWithoutReason);
    }
}
