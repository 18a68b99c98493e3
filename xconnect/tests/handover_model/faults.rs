//! Each rule left out: the search finds what goes wrong, by a shortest way.

use crate::explore::{Kind, explore};
use crate::scenario::{Ending, Rule, Scenario};
use crate::state::Broken;

const ORDER: Kind = Kind::Broken(Broken::Order);
const EARLY_END: Kind = Kind::Broken(Broken::EarlyEnd);
const DUPLICATE: Kind = Kind::Broken(Broken::Duplicate);
const LEFT_BEHIND: Kind = Kind::Broken(Broken::LeftBehind);
const ONE: Scenario = Scenario { sends: [3, 0], ..Scenario::PLAIN };
const TWO: Scenario = Scenario { sends: [2, 1], ..Scenario::PLAIN };
const CLOSES: Scenario = Scenario { ending: Ending::Closes, ..ONE };

#[track_caller]
fn found(scenario: &Scenario, allowed: &[Kind]) {
    let report = explore(scenario);
    let Some(violation) = report.violation else {
        panic!("without {:?} nothing went wrong in {} states", scenario.without, report.states);
    };
    println!("without {:?}, {} states: {}", scenario.without, report.states, violation.describe());
    assert!(allowed.contains(&violation.kind), "{:?}", violation.kind);
}

macro_rules! fault {
    ($name:ident: $($rule:ident),+; $scenario:expr => $($kind:expr),+) => {
        #[test]
        fn $name() {
            found(&Scenario { without: &[$(Rule::$rule),+], ..$scenario }, &[$($kind),+]);
        }
    };
}

fault!(half_read: NothingHalfRead; ONE => DUPLICATE);
fault!(no_hold_mode: HoldFirst; ONE => LEFT_BEHIND);
fault!(left_overs_ignored: LeftOversLookedFor; ONE => LEFT_BEHIND);
fault!(not_flushed: FlushedFirst; ONE => ORDER);
fault!(count_not_compared: CountCompared; ONE => ORDER);
fault!(read_without_the_lock: ReadUnderLock; ONE => ORDER, DUPLICATE);
fault!(count_not_compared_again: CountComparedUnderLock; ONE => ORDER);
fault!(no_lock_between_senders: OneByOne; TWO => ORDER);
fault!(lock_given_back_where_the_queue_is_empty: LockedThroughPop; TWO => ORDER, DUPLICATE);
fault!(lock_not_given_back_at_the_end: GivenBackAtEnd; TWO => Kind::Stall);
fault!(own_lock_is_foreign: OwnLockKept; Scenario { parts: 2, ..ONE } => Kind::Stall);
fault!(old_handler_is_an_entry: OldHandlerKnown; Scenario { parts: 2, sndbuf: 1, ..ONE } => Kind::Stall);
fault!(old_handler_is_a_late_entry: OldHandlerKnownLate; Scenario { parts: 2, sndbuf: 1, ..ONE } => Kind::Stall);
fault!(lock_taken_where_the_queue_was_empty: KeptWhileEmpty; TWO => ORDER, DUPLICATE);
fault!(late_verdict_not_counted: KeptWhileEmpty, LateVerdictCounted; TWO => ORDER, DUPLICATE);
fault!(no_fence: Fence; CLOSES => EARLY_END);
fault!(end_without_hold: EndOverHold; Scenario { ending: Ending::HalfCloses, ..TWO } => EARLY_END);
fault!(shut_before_the_hold_is_empty: HoldEmptied; CLOSES => EARLY_END);
fault!(unhash_ignored: UnhashFollowed; Scenario { receiver_half_closes: true, ..ONE } => Kind::Stall);
fault!(delivered_not_compared: DeliveredCompared; Scenario { receiver_half_closes: true, ..ONE } => ORDER);
fault!(overlap_does_not_hold: OverlapHolds; Scenario { forced: true, ..TWO } => ORDER);
fault!(overlap_not_looked_for: OverlapLookedFor; Scenario { forced: true, ..TWO } => ORDER);

fault!(refused_and_redirected: RefusedHolds; Scenario { refusing: true, ..ONE } => LEFT_BEHIND);

fault!(quiet_for_too_short: QuietLongEnough; Scenario { traced: false, ..ONE } => ORDER, DUPLICATE);
fault!(not_quiet_again: QuietAgain; Scenario { traced: false, ..ONE } => ORDER, DUPLICATE);

/// Without tracepoints nothing keeps two senders in order, in mode redirect as little as in mode hold.
#[test]
fn two_senders_without_tracepoints() {
    found(&Scenario { traced: false, ..TWO }, &[ORDER]);
}

/// Decision 8 as it was first written, before this model.
const FIRST_WRITTEN: &[Rule] = &[
    Rule::LockedThroughPop,
    Rule::LateVerdictCounted,
    Rule::GivenBackAtEnd,
    Rule::OwnLockKept,
    Rule::OldHandlerKnown,
    Rule::OldHandlerKnownLate,
    Rule::EndOverHold,
    Rule::OverlapHolds,
];

/// One thread that queues its bytes between arming and the map's update keeps the lock for ever.
#[test]
fn first_written_rules_stall() {
    found(&Scenario { sends: [1, 0], without: FIRST_WRITTEN, ..ONE }, &[Kind::Stall]);
}

/// Two threads, though the lock is there and nobody had to wait for long.
#[test]
fn first_written_rules_reorder() {
    found(&Scenario { without: FIRST_WRITTEN, ..TWO }, &[ORDER, DUPLICATE]);
}
