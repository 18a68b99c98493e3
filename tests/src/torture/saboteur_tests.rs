//! The torture sees what a relay does wrong, and nothing where it does nothing wrong.

use super::conn::Cuts;
use super::saboteur::{Fault, play};
use super::scenario::{ALL, Play};
use super::stats::Stats;

/// What is wrong, apart from the numbers that say how much was played.
fn wrong(stats: Stats) -> Stats {
    Stats { connections: 0, bytes: 0, ..stats }
}

#[test]
fn a_faithful_relay_is_found_faithful() {
    for scenario in ALL.iter().filter(|scenario| !scenario.name.starts_with("kill-")) {
        let count = match scenario.play {
            Play::One(_) => 6,
            Play::Many(count, _) => count.min(50),
        };
        let (stats, faults) = play(scenario.name, Fault::Nothing, Cuts::Wrong, count);
        assert_eq!(wrong(stats), Stats::default(), "{}: {faults:?}", scenario.name);
        assert_eq!(stats.connections, count);
        assert!(stats.bytes > 0, "{}", scenario.name);
    }
}

/// The fault's own number is not 0, and where it is not to be hidden by others, the only one.
fn is_found(name: &str, fault: Fault, number: fn(&Stats) -> u64) {
    let (stats, faults) = play(name, fault, Cuts::Wrong, 4);
    assert!(number(&stats) > 0, "{name} {fault:?}: {stats:?} {faults:?}");
    assert!(!faults.is_empty(), "{name} {fault:?}");
}

#[test]
fn a_lost_word_is_seen() {
    for name in ["stream-both", "threads-8", "threads-lock"] {
        is_found(name, Fault::Lose, |stats| stats.lost);
    }
}

#[test]
fn a_doubled_word_is_seen() {
    for name in ["stream-up", "pieces", "half-consumer"] {
        is_found(name, Fault::Double, |stats| stats.duplicated);
    }
}

#[test]
fn swapped_words_are_seen_and_counted_as_such() {
    for name in ["stream-down", "threads-lock", "close-consumer"] {
        is_found(name, Fault::Swap, |stats| stats.reordered);
        let (stats, faults) = play(name, Fault::Swap, Cuts::Wrong, 4);
        assert_eq!(stats.faults(), stats.reordered, "{faults:?}");
        assert!(faults.iter().all(|fault| fault.contains("at byte ")), "{faults:?}");
    }
}

#[test]
fn what_is_held_back_is_a_stall_not_a_loss() {
    for name in ["stream-up", "pieces", "pool-server"] {
        is_found(name, Fault::Hold, |stats| stats.stalled);
        let (stats, faults) = play(name, Fault::Hold, Cuts::Wrong, 4);
        assert_eq!(stats.faults(), stats.stalled, "{faults:?}");
    }
}

#[test]
fn a_truncated_end_is_a_loss_where_the_sender_was_done() {
    for name in ["close-consumer", "close-provider", "half-provider"] {
        is_found(name, Fault::Truncate, |stats| stats.lost);
    }
}

#[test]
fn a_cut_is_a_fault_only_where_it_is_not_allowed() {
    let name = "half-consumer-busy";
    let (stats, faults) = play(name, Fault::Cut, Cuts::Wrong, 4);
    assert!(stats.cut > 0 && !faults.is_empty(), "{stats:?}");
    let (stats, faults) = play(name, Fault::Cut, Cuts::Allowed, 4);
    assert!(stats.cut > 0 && faults.is_empty(), "{stats:?} {faults:?}");
    // A hole is one even then.
    let (stats, faults) = play(name, Fault::Lose, Cuts::Allowed, 4);
    assert!(stats.lost > 0 && !faults.is_empty(), "{stats:?}");
}
