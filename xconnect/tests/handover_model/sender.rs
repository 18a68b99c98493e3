//! The kernel in the sender's threads: `unix_stream_sendmsg`, the handler of `data_ready`, our programs in it.

use crate::scenario::{Ending, Rule, Scenario};
use crate::state::{At, Broken, Inside, State, Thread};
use crate::steps::Steps;

pub(crate) fn steps(state: &State, scenario: &Scenario, out: &mut Steps) {
    for i in 0..2 {
        if scenario.sends[usize::from(i)] != 0 {
            thread(state, scenario, i, out);
        }
    }
    let [first, second] = &state.threads;
    let outside = |thread: &Thread| thread.at == At::Outside;
    let over = |thread: &Thread| outside(thread) && thread.sends == 0;
    let may_end = match scenario.ending {
        Ending::Waits => false,
        Ending::HalfCloses => over(first),
        Ending::Closes => over(first) && over(second),
    };
    if may_end && !state.ended {
        out.add("sender ends", *state, |next| next.ended = true);
    }
}

fn thread(state: &State, scenario: &Scenario, i: u8, out: &mut Steps) {
    let now = state.threads[usize::from(i)];
    let names = NAMES[usize::from(i)];
    let mut step = |what: usize, change: &dyn Fn(&mut State)| {
        out.add(names[what], *state, |next| change(next));
    };
    let go = |next: &mut State, at: At| next.threads[usize::from(i)].at = at;
    match now.at {
        At::Outside if now.sends > 0 => step(0, &|next| {
            let thread = &mut next.threads[usize::from(i)];
            thread.sends -= 1;
            thread.parts = scenario.parts;
            thread.at = At::Allocating;
        }),
        At::Outside => {}
        At::Allocating if state.ended => step(1, &|next| go(next, At::Ending)),
        At::Allocating if charged(state) < scenario.sndbuf => step(2, &|next| {
            next.source.push(next.queued);
            next.queued += 1;
            next.threads[usize::from(i)].parts -= 1;
            go(next, At::Queued);
        }),
        At::Allocating => {}
        At::Queued => step(3, &|next| go(next, if next.verdict { At::Entering } else { At::OldHandler })),
        At::OldHandler => {
            let known =
                scenario.keeps(if state.verdict { Rule::OldHandlerKnownLate } else { Rule::OldHandlerKnown });
            if !state.gate.armed || known || !scenario.one_by_one() {
                step(4, &|next| after(next, i));
            } else {
                lock(state, scenario, i, At::OldHandler, &mut step);
            }
        }
        At::Entering => lock(state, scenario, i, At::Popping, &mut step),
        At::Looking => step(7, &|next| {
            if next.source.is_empty() && next.gate.inside == Inside::Thread(i) {
                next.gate.inside = Inside::Nobody;
            }
            go(next, At::Popping);
        }),
        At::Popping => step(8, &|next| match next.source.pop() {
            Some(buffer) => {
                if std::mem::take(&mut next.half_read) {
                    next.broken = Some(Broken::Duplicate);
                }
                next.threads[usize::from(i)].buffer = buffer;
                go(next, At::Deciding);
            }
            None => after(next, i),
        }),
        At::Deciding => step(9, &|next| decide(next, scenario, i)),
        At::Redirecting => step(10, &|next| {
            go(next, if next.sink_in_map { At::QueueingOnSink } else { At::Falling });
        }),
        At::Falling => step(11, &|next| {
            next.gate.fallen += 1;
            go(next, At::QueueingOnHold);
        }),
        At::QueueingOnSink => step(12, &|next| {
            if next.sink_in_map {
                next.to_sink.push(now.buffer);
            } else {
                next.lost = true;
            }
            go(next, At::Leaving);
        }),
        At::QueueingOnHold => step(13, &|next| {
            next.to_hold.push(now.buffer);
            go(next, At::Leaving);
        }),
        At::Leaving => {
            if !scenario.one_by_one() || state.gate.inside == Inside::Decided(i) {
                step(14, &|next| {
                    if next.gate.inside == Inside::Decided(i) {
                        next.gate.inside = Inside::Nobody;
                    }
                    after(next, i);
                });
            } else {
                // The lock was taken from it: the program takes this call for an entry.
                lock(state, scenario, i, At::OldHandler, &mut step);
            }
        }
        At::Ending => step(15, &|next| {
            if scenario.keeps(Rule::GivenBackAtEnd)
                && matches!(next.gate.inside, Inside::Thread(holder) | Inside::Decided(holder) if holder == i)
            {
                next.gate.inside = Inside::Nobody;
            }
            next.threads[usize::from(i)].buffer = 0;
            go(next, At::Outside);
        }),
    }
}

/// The program's entry. `then` is [`At::OldHandler`] where the kernel goes on without a pop.
fn lock(
    state: &State,
    scenario: &Scenario,
    i: u8,
    then: At,
    step: &mut dyn FnMut(usize, &dyn Fn(&mut State)),
) {
    let looks = !scenario.keeps(Rule::LockedThroughPop);
    let enter = |next: &mut State| match then {
        At::OldHandler => {
            // The look at the queue's length and the way out of a handler that pops nothing: in one step.
            if looks && next.source.is_empty() && next.gate.inside == Inside::Thread(i) {
                next.gate.inside = Inside::Nobody;
            }
            after(next, i);
        }
        _ => next.threads[usize::from(i)].at = if looks { At::Looking } else { then },
    };
    if !scenario.one_by_one() {
        step(5, &enter);
        return;
    }
    let own = matches!(state.gate.inside, Inside::Thread(holder) if holder == i)
        && scenario.keeps(Rule::OwnLockKept);
    if state.gate.inside == Inside::Nobody || own {
        step(5, &|next| {
            next.gate.inside = Inside::Thread(i);
            enter(next);
        });
    } else if scenario.forced {
        step(6, &|next| {
            next.gate.overlapped = true;
            next.gate.inside = Inside::Thread(i);
            enter(next);
        });
    }
}

/// The verdict's atomic add, and what it acts on.
fn decide(next: &mut State, scenario: &Scenario, i: u8) {
    if next.gate.inside == Inside::Thread(i) {
        next.gate.inside = Inside::Decided(i);
    }
    next.gate.count += 1;
    let at = if !next.gate.redirect {
        At::QueueingOnHold
    } else if next.gate.overlapped && scenario.keeps(Rule::OverlapHolds) {
        At::Falling
    } else {
        At::Redirecting
    };
    next.threads[usize::from(i)].at = at;
}

/// One buffer was handed on: the next one, or the end of the call.
fn after(next: &mut State, i: u8) {
    let thread = &mut next.threads[usize::from(i)];
    thread.at = if thread.parts > 0 { At::Allocating } else { At::Ending };
}

/// Buffers charged to the sender: until the kernel thread has sent them.
fn charged(state: &State) -> u8 {
    let in_hand = |thread: &&Thread| {
        matches!(
            thread.at,
            At::Deciding | At::Redirecting | At::Falling | At::QueueingOnSink | At::QueueingOnHold
        )
    };
    let in_hands = state.threads.iter().filter(in_hand).count() as u8;
    state.source.len() + in_hands + state.to_sink.data() + state.to_hold.len()
}

const NAMES: [[&str; 16]; 2] = [
    [
        "A: sendmsg",
        "A: EPIPE",
        "A: queues a buffer",
        "A: loads the handler",
        "A: old handler",
        "A: takes the lock",
        "A: takes the lock BY FORCE",
        "A: looks at the queue",
        "A: pops",
        "A: verdict",
        "A: redirects",
        "A: counts as fallen",
        "A: queues on the sink",
        "A: queues on the hold pair",
        "A: leaves",
        "A: ends sendmsg",
    ],
    [
        "B: sendmsg",
        "B: EPIPE",
        "B: queues a buffer",
        "B: loads the handler",
        "B: old handler",
        "B: takes the lock",
        "B: takes the lock BY FORCE",
        "B: looks at the queue",
        "B: pops",
        "B: verdict",
        "B: redirects",
        "B: counts as fallen",
        "B: queues on the sink",
        "B: queues on the hold pair",
        "B: leaves",
        "B: ends sendmsg",
    ],
];
