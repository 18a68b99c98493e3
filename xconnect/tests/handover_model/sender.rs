//! The kernel in the sender's threads: `unix_stream_sendmsg`, the handler of `data_ready`, our programs in it.

use crate::scenario::{Ending, Rule, Scenario};
use crate::state::{At, Inside, State, Thread};
use crate::steps::Steps;

pub(crate) fn steps(state: &State, scenario: &Scenario, out: &mut Steps) {
    for (i, name) in [(0, "A"), (1, "B")] {
        if scenario.sends[usize::from(i)] != 0 {
            Sendmsg { state, scenario, i, name, out }.step();
        }
    }
    let [first, second] = &state.threads;
    let over = |thread: &Thread| thread.at == At::Outside && thread.sends == 0;
    let may_end = match scenario.ending {
        Ending::Waits => false,
        Ending::HalfCloses => over(first),
        Ending::Closes => over(first) && over(second),
    };
    if may_end && !state.ended {
        out.add("sender", "ends", *state, |next| next.ended = true);
    }
}

/// One thread's next step.
struct Sendmsg<'a> {
    state: &'a State,
    scenario: &'a Scenario,
    i: u8,
    name: &'static str,
    out: &'a mut Steps,
}

impl Sendmsg<'_> {
    fn add(&mut self, what: &'static str, change: impl FnOnce(&mut State, &mut Thread)) {
        let i = usize::from(self.i);
        self.out.add(self.name, what, *self.state, |next| {
            let mut thread = next.threads[i];
            change(next, &mut thread);
            next.threads[i] = thread;
        });
    }

    fn step(&mut self) {
        let (state, scenario, i) = (self.state, self.scenario, self.i);
        let now = state.threads[usize::from(i)];
        let has_room = charged(state) < scenario.sndbuf;
        match now.at {
            At::Outside if now.sends > 0 && state.ended => {
                self.add("gets EPIPE", |_, thread| thread.sends = 0);
            }
            At::Outside if now.sends > 0 && has_room => {
                self.add("calls sendmsg, queues a buffer", |next, thread| {
                    thread.sends -= 1;
                    thread.parts = scenario.parts;
                    queue(next, thread);
                });
            }
            At::Outside => {}
            At::Allocating if state.ended => self.add("gets EPIPE", |_, thread| thread.at = At::Ending),
            At::Allocating if has_room => self.add("queues a buffer", queue),
            At::Allocating => {}
            At::Queued => self.add("loads the handler", |next, thread| {
                thread.at = if next.verdict { At::Entering } else { At::OldHandler };
            }),
            At::OldHandler => {
                let known = if state.verdict { Rule::OldHandlerKnownLate } else { Rule::OldHandlerKnown };
                if !state.gate.armed || scenario.keeps(known) || !scenario.one_by_one() {
                    self.add("is through the old handler", move |next, thread| after(next, i, thread));
                } else {
                    self.lock(At::OldHandler);
                }
            }
            At::Entering => self.lock(At::Popping),
            At::Looking => self.add("looks at the queue", |next, thread| {
                look(next, scenario, i);
                thread.at = At::Popping;
            }),
            At::Popping => self.add("pops", |next, thread| pop(next, i, thread)),
            At::Deciding => self.add("has its verdict", |next, thread| decide(next, scenario, i, thread)),
            At::Redirecting => self.add("redirects", |next, thread| {
                thread.at = if next.sink_in_map { At::QueueingOnSink } else { At::Falling };
            }),
            At::Falling => self.add("counts the buffer as fallen", |next, thread| {
                next.gate.fallen += 1;
                thread.at = At::QueueingOnHold;
            }),
            At::QueueingOnSink => self.add("queues it on the sink", |next, thread| {
                if next.sink_in_map {
                    next.to_sink.push(thread.buffer);
                } else {
                    next.lost = true;
                }
                thread.at = At::Leaving;
            }),
            At::QueueingOnHold => self.add("queues it on the hold pair", |next, thread| {
                next.to_hold.push(thread.buffer);
                thread.at = At::Leaving;
            }),
            At::Leaving if !scenario.one_by_one() || state.gate.inside == Inside::Decided(i) => {
                self.add("leaves", |next, thread| {
                    give_back(next, i);
                    after(next, i, thread);
                });
            }
            // The lock was taken from it: the program takes this call for an entry.
            At::Leaving => self.lock(At::OldHandler),
            At::Ending => self.add("ends sendmsg", |next, thread| {
                if scenario.keeps(Rule::GivenBackAtEnd) {
                    give_back(next, i);
                }
                thread.at = At::Outside;
            }),
        }
    }

    /// The program's entry. `then` is [`At::OldHandler`] where the kernel goes on without a pop.
    fn lock(&mut self, then: At) {
        let (scenario, i) = (self.scenario, self.i);
        let looks = !scenario.keeps(Rule::LockedThroughPop) || !scenario.keeps(Rule::KeptWhileEmpty);
        let enter = |next: &mut State, thread: &mut Thread| match then {
            At::OldHandler => {
                // The look at the queue and the way out of a handler that pops nothing: in one step.
                if looks {
                    look(next, scenario, i);
                }
                after(next, i, thread);
            }
            _ => thread.at = if looks { At::Looking } else { then },
        };
        let own = has_lock(self.state, i);
        let free = matches!(self.state.gate.inside, Inside::Nobody | Inside::Empty(_));
        if !scenario.one_by_one() {
            self.add("enters", enter);
        } else if free || (own && scenario.keeps(Rule::OwnLockKept)) {
            self.add("takes the lock", |next, thread| {
                next.gate.inside = Inside::Thread(i);
                enter(next, thread);
            });
        } else if scenario.forced {
            self.add("takes the lock BY FORCE", |next, thread| {
                next.gate.overlapped = true;
                next.gate.inside = Inside::Thread(i);
                enter(next, thread);
            });
        }
    }
}

fn pop(next: &mut State, i: u8, thread: &mut Thread) {
    let Some(buffer) = next.source.pop() else {
        after(next, i, thread);
        return;
    };
    if std::mem::take(&mut next.half_read) {
        next.doubled = Some(buffer);
    }
    thread.buffer = buffer;
    thread.at = At::Deciding;
}

/// The verdict's atomic add, and what it acts on.
fn decide(next: &mut State, scenario: &Scenario, i: u8, thread: &mut Thread) {
    if has_lock(next, i) {
        next.gate.inside = Inside::Decided(i);
    } else if scenario.one_by_one() && scenario.keeps(Rule::LateVerdictCounted) {
        next.gate.overlapped = true;
    }
    next.gate.count += 1;
    thread.at = if !next.gate.redirect {
        At::QueueingOnHold
    } else if next.gate.overlapped && scenario.keeps(Rule::OverlapHolds) {
        At::Falling
    } else {
        At::Redirecting
    };
}

/// It entered, and has had no verdict yet.
fn has_lock(state: &State, i: u8) -> bool {
    matches!(state.gate.inside, Inside::Thread(holder) | Inside::Empty(holder) if holder == i)
}

fn give_back(next: &mut State, i: u8) {
    if has_lock(next, i) || next.gate.inside == Inside::Decided(i) {
        next.gate.inside = Inside::Nobody;
    }
}

fn look(next: &mut State, scenario: &Scenario, i: u8) {
    if next.source.is_empty() && has_lock(next, i) {
        let marked = scenario.keeps(Rule::LockedThroughPop);
        next.gate.inside = if marked { Inside::Empty(i) } else { Inside::Nobody };
    }
}

/// Once the handler's address has changed it stays: when it is loaded does not matter any more.
fn queue(next: &mut State, thread: &mut Thread) {
    next.source.push(next.queued);
    next.queued += 1;
    thread.parts -= 1;
    thread.at = if next.verdict { At::Entering } else { At::Queued };
}

/// One buffer was handed on: the next one, or the end of the call, which nobody sees but for the lock.
fn after(next: &State, i: u8, thread: &mut Thread) {
    thread.buffer = 0;
    thread.at = if thread.parts > 0 {
        At::Allocating
    } else if has_lock(next, i) {
        At::Ending
    } else {
        At::Outside
    };
}

/// Buffers charged to the sender: until the kernel's thread has sent them.
fn charged(state: &State) -> u8 {
    let has_one = |thread: &&Thread| {
        matches!(
            thread.at,
            At::Deciding | At::Redirecting | At::Falling | At::QueueingOnSink | At::QueueingOnHold
        )
    };
    let in_hands = state.threads.iter().filter(has_one).count() as u8;
    state.source.len() + in_hands + state.to_sink.data() + state.to_hold.len()
}
