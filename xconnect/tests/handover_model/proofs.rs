//! The rules as they stand hold in every interleaving.

use crate::explore::explore;
use crate::scenario::{Ending, Rule, Scenario};
use crate::state::{Pc, State};

pub(crate) fn holds(name: &str, scenario: &Scenario) -> Vec<State> {
    let begin = std::time::Instant::now();
    let report = explore(scenario);
    println!("{name}: {} states, {:?}", report.states, begin.elapsed());
    if let Some(violation) = report.violation {
        panic!("{name}: {}", violation.describe());
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

/// A thread may then wait for memory in the middle of a call, lock or no lock.
#[test]
fn large_messages_and_a_small_buffer() {
    for ending in ENDINGS {
        for sndbuf in [1, 2] {
            holds("large messages", &Scenario { sends: [3, 0], parts: 2, sndbuf, ending, ..Scenario::PLAIN });
        }
    }
}

/// With two threads one may keep the lock while it waits for memory: the other one takes it by force.
#[test]
fn large_messages_of_two_senders() {
    let ending = Ending::HalfCloses;
    for sndbuf in [1, 2] {
        let scenario =
            Scenario { sends: [1, 1], parts: 2, sndbuf, ending, forced: true, room: 15, ..Scenario::PLAIN };
        holds("large messages, two senders", &scenario);
    }
}

/// Whether the source has its verdict or not, and whether or not the map takes it later.
#[test]
fn map_refuses_the_source() {
    for ending in ENDINGS {
        for sends in [[3, 0], [2, 1]] {
            let scenario = Scenario { sends, ending, refusing: true, ..Scenario::PLAIN };
            let reached = holds("map refuses the source", &scenario);
            let relayed = |state: &State| state.relay.outside && state.is_good(&scenario) && state.got == 3;
            for verdict in [false, true] {
                assert!(reached.iter().any(|state| relayed(state) && state.verdict == verdict));
            }
            assert!(!reached.iter().any(|state| state.relay.pc == Pc::Cut));
        }
    }
}

#[test]
fn map_refuses_the_source_without_tracepoints() {
    for ending in ENDINGS {
        let scenario = Scenario { ending, refusing: true, traced: false, ..Scenario::PLAIN };
        holds("map refuses the source, no tracepoints", &scenario);
    }
}

#[test]
fn receiver_half_closes() {
    for ending in ENDINGS {
        for sends in [[3, 0], [2, 1]] {
            let scenario = Scenario { sends, ending, receiver_half_closes: true, ..Scenario::PLAIN };
            let reached = holds("receiver half-closes", &scenario);
            let through_kernel = |state: &&State| state.relay.was_kernel && state.relay.tail;
            assert!(
                reached.iter().filter(through_kernel).any(|state| state.is_good(&scenario) && state.got == 3)
            );
            assert!(reached.iter().any(|state| state.relay.pc == Pc::Cut));
        }
    }
}

/// The receiver sees nothing out of order even then; the connection ends loudly.
#[test]
fn lock_taken_by_force() {
    for (ending, receiver_half_closes) in [(Ending::Waits, false), (Ending::HalfCloses, true)] {
        let scenario =
            Scenario { sends: [2, 1], ending, forced: true, receiver_half_closes, ..Scenario::PLAIN };
        let reached = holds("lock by force", &scenario);
        assert!(reached.iter().any(|state| state.relay.pc == Pc::Cut));
    }
}

#[test]
fn one_sender_without_tracepoints() {
    for ending in ENDINGS {
        holds("no tracepoints", &Scenario { traced: false, ending, ..Scenario::PLAIN });
    }
}

/// What cannot be told apart without walking the stack ends loudly, not in a stall.
#[test]
fn a_late_old_handler_is_cut() {
    let without = &[Rule::OldHandlerKnownLate];
    for ending in ENDINGS {
        let scenario =
            Scenario { sends: [2, 0], parts: 2, sndbuf: 1, forced: true, ending, without, ..Scenario::PLAIN };
        let reached = holds("late old handler", &scenario);
        assert!(reached.iter().any(|state| state.relay.pc == Pc::Cut));
    }
}

/// Larger than the daily run needs: `--ignored`.
#[test]
#[ignore = "takes a minute and some gigabytes"]
fn more_of_everything() {
    let two = Scenario { sends: [3, 1], room: 15, ending: Ending::HalfCloses, ..Scenario::PLAIN };
    holds("more, half-close", &Scenario { sends: [3, 2], receiver_half_closes: true, ..two });
    holds("more, by force", &Scenario { forced: true, ..two });
    holds("more, large messages", &Scenario { sends: [2, 1], parts: 2, sndbuf: 2, forced: true, ..two });
}
