//! User space: state Kernel, the end of it, and the way back from it.

use crate::queue::MARKER;
use crate::relay::{cut, give_up, is_idle};
use crate::scenario::{Rule, Scenario};
use crate::state::{At, Inside, Pc, State};
use crate::steps::Steps;

/// State Kernel, the end of it, and the way back to user space.
pub(crate) fn steps(state: &State, scenario: &Scenario, out: &mut Steps) {
    let over_hold = scenario.keeps(Rule::EndOverHold);
    match state.relay.pc {
        Pc::Kernel => {
            let fell = state.sink_hangup || !state.hold.is_empty();
            if fell && scenario.keeps(Rule::UnhashFollowed) {
                out.add("relay", "wakes up, the sink left the map", *state, |next| {
                    next.relay.pc = Pc::FallingBack;
                });
            }
            if state.ended {
                out.add("relay", "wakes up, the source has ended", *state, |next| {
                    next.relay.pc = if over_hold { Pc::Ending } else { Pc::Fence };
                });
            }
        }
        Pc::Ending => exchange_back(state, Pc::Draining, out),
        Pc::FallingBack => exchange_back(state, Pc::Comparing, out),
        Pc::Draining => {
            let alone = if scenario.traced { state.gate.inside == Inside::Nobody } else { is_idle(state) };
            if alone {
                out.add("relay", "takes the lock and gives it back", *state, |next| {
                    next.relay.pc = Pc::Fence;
                });
            } else {
                give_up(state, scenario, out);
            }
        }
        Pc::Fence if !scenario.keeps(Rule::Fence) => {
            out.add("relay", "goes on without a fence", *state, |next| fenced(next, scenario));
        }
        Pc::Fence => out.add("relay", "writes the marker", *state, |next| {
            if next.sink_in_map {
                next.to_sink.push(MARKER);
            }
            next.relay.pc = Pc::Fencing;
        }),
        Pc::Fencing => {
            if state.marker {
                out.add("relay", "reads the marker", *state, |next| fenced(next, scenario));
            }
            if state.sink_hangup {
                let then = if over_hold { Pc::Comparing } else { Pc::FallingBack };
                out.add("relay", "waits for no marker, the sink left the map", *state, |next| {
                    next.relay.pc = then;
                });
            }
        }
        Pc::Comparing => comparing(state, scenario, out),
        _ => {}
    }
}

fn exchange_back(state: &State, then: Pc, out: &mut Steps) {
    out.add("relay", "exchanges redirect for hold", *state, |next| {
        next.relay.redirected = next.gate.count;
        (next.gate.redirect, next.gate.count) = (false, 0);
        next.relay.pc = then;
    });
}

/// All that was redirected before the marker was sent.
fn fenced(next: &mut State, scenario: &Scenario) {
    next.marker = false;
    if scenario.keeps(Rule::EndOverHold) {
        next.relay.pc = if scenario.keeps(Rule::Fence) { Pc::Comparing } else { Pc::Hold };
        next.relay.tail = true;
        return;
    }
    // The rule without the way over mode hold: what is held, what is queued, the end. In one step, so
    // that nothing but the missing rule can be at fault.
    while let Some(buffer) = next.hold.pop() {
        next.relay.memory.push(buffer);
    }
    while let Some(buffer) = next.source.pop() {
        next.half_read = false;
        next.relay.memory.push(buffer);
    }
    next.relay.pc = Pc::Flushing;
}

fn comparing(state: &State, scenario: &Scenario, out: &mut Steps) {
    let expected = state.relay.redirected - state.gate.fallen.min(state.relay.redirected);
    if state.gate.delivered == expected || !scenario.keeps(Rule::DeliveredCompared) {
        out.add("relay", "all that was redirected was delivered", *state, |next| {
            next.relay.tail = true;
            next.relay.pc = Pc::Hold;
        });
    } else if is_quiet(state) {
        out.add("relay", "something redirected was lost, cuts", *state, cut);
    }
}

/// Nothing on its way to the sink any more: what the bounded wait before a cut stands for.
fn is_quiet(state: &State) -> bool {
    let on_its_way = |at| matches!(at, At::Redirecting | At::Falling | At::QueueingOnSink);
    state.to_sink.is_empty() && !state.counting && !state.threads.iter().any(|thread| on_its_way(thread.at))
}
