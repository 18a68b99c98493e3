//! The steps that a state allows.

use crate::scenario::Scenario;
use crate::state::{Pc, State};
use crate::{kernel, relay, sender};

/// Who, what, and what comes of it.
#[derive(Default)]
pub(crate) struct Steps(pub(crate) Vec<(Name, State)>);

pub(crate) type Name = (&'static str, &'static str);

impl Steps {
    pub(crate) fn add(
        &mut self,
        who: &'static str,
        what: &'static str,
        from: State,
        change: impl FnOnce(&mut State),
    ) {
        let mut next = from;
        change(&mut next);
        self.0.push(((who, what), next));
    }

    /// All steps of all parties. None once the connection was cut: nothing is promised about it any more.
    pub(crate) fn of(state: &State, scenario: &Scenario, out: &mut Self) {
        out.0.clear();
        if state.relay.pc == Pc::Cut {
            return;
        }
        sender::steps(state, scenario, out);
        kernel::steps(state, scenario, out);
        relay::steps(state, scenario, out);
    }
}
