//! The rules as they stand hold in every interleaving.

use crate::explore::explore;
use crate::scenario::{Ending, Scenario};
use crate::state::{Pc, State};

pub(crate) fn holds(name: &str, scenario: &Scenario) -> Vec<State> {
    let begin = std::time::Instant::now();
    let report = explore(scenario);
    println!("{name}: {} states, {:?}", report.states, begin.elapsed());
    if let Some(violation) = report.violation {
        panic!("{name}: {:?} after {} steps:\n{}", violation.kind, violation.trace.len(), violation.trace.join("\n"));
    }
    report.reached
}

const ENDINGS: [Ending; 3] = [Ending::Waits, Ending::HalfCloses, Ending::Closes];

#[test]
fn one_sender_that_waits_for_ever() {
    let reached = holds("one sender", &Scenario { sends: [4, 0], ..Scenario::PLAIN });
    let kernel = |state: &State| state.relay.pc == Pc::Kernel && state.got == 4 && state.gate.delivered > 0;
    assert!(reached.iter().any(kernel));
    assert!(reached.iter().any(|state| kernel(state) && state.relay.healed));
    assert!(!reached.iter().any(|state| state.relay.pc == Pc::Cut));
}

#[test]
fn one_sender_that_half_closes() {
    holds("one sender, end", &Scenario { sends: [4, 0], ending: Ending::HalfCloses, ..Scenario::PLAIN });
}

#[test]
fn two_senders() {
    for ending in ENDINGS {
        holds("two senders", &Scenario { sends: [2, 2], ending, ..Scenario::PLAIN });
    }
}

#[test]
fn large_messages_and_a_small_buffer() {
    for ending in ENDINGS {
        for sndbuf in [1, 2] {
            for (sends, forced) in [([2, 0], false), ([1, 1], true)] {
                holds("parts", &Scenario { sends, parts: 2, sndbuf, ending, forced, ..Scenario::PLAIN });
            }
        }
    }
}

#[test]
fn receiver_half_closes() {
    for ending in ENDINGS {
        for sends in [[3, 0], [2, 1]] {
            let scenario = Scenario { sends, ending, receiver_half_closes: true, ..Scenario::PLAIN };
            holds("receiver half-closes", &scenario);
        }
    }
}

#[test]
fn forced() {
    for ending in ENDINGS {
        for receiver_half_closes in [false, true] {
            let scenario = Scenario { sends: [2, 1], ending, forced: true, receiver_half_closes, ..Scenario::PLAIN };
            holds("forced", &scenario);
        }
    }
}
