//! The steps that a state allows.

use crate::scenario::Scenario;
use crate::state::State;
use crate::{kernel, relay, sender};

/// Name and result of each step.
#[derive(Default)]
pub(crate) struct Steps(pub(crate) Vec<(&'static str, State)>);

impl Steps {
    pub(crate) fn add(&mut self, name: &'static str, from: State, change: impl FnOnce(&mut State)) {
        let mut next = from;
        change(&mut next);
        self.0.push((name, next));
    }

    /// All steps of all parties. None once the connection was cut: nothing is promised about it any more.
    pub(crate) fn of(state: &State, scenario: &Scenario, out: &mut Self) {
        out.0.clear();
        if state.relay.pc == crate::state::Pc::Cut {
            return;
        }
        sender::steps(state, scenario, out);
        kernel::steps(state, scenario, out);
        relay::steps(state, scenario, out);
    }
}
