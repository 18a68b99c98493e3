//! Containers that another runtime runs: watched, and never started or ended.

use std::time::SystemTime;

use super::Actor;
use crate::engine::container::instance::Instance;
use crate::engine::container::{Exit, State};
use crate::engine::supervisor::Event;
use crate::graph::ProcessId;

impl Actor {
    /// True while a run of ours goes on or is being made, whatever is wanted by now.
    pub(super) fn runs_ours(&self) -> bool {
        self.starting.is_some() || (self.instance.is_some() && self.record.external.is_none())
    }

    pub(super) fn on_register(&mut self, process: ProcessId) {
        if self.runs_ours() {
            self.registered = Some(process);
            return;
        }
        let Some(start) = process.start else { return };
        match Instance::open(String::new(), process.pid, start, None) {
            Ok(instance) => {
                self.record.external = Some((process.pid, start));
                self.record.ready = false;
                self.save();
                self.reason = None;
                self.begin_run(instance);
                self.context.report(Event::Started { name: self.spec.name.clone() });
            }
            Err(error) => self.reason = Some(format!("registered process {}: {error}", process.pid)),
        }
    }

    /// Somebody else's container is gone, or is not ours to look at any more. Does nothing to a run of
    /// ours.
    pub(super) fn forget_external(&mut self, why: &str) {
        self.registered = None;
        if self.record.external.take().is_none() {
            return;
        }
        self.instance = None;
        self.record.last_exit = Some((Exit::Unknown, SystemTime::now()));
        self.save();
        self.reason = Some(why.to_owned());
        self.started = None;
        self.set_state(State::Stopped);
        self.context.report(Event::Exited { name: self.spec.name.clone(), exit: Exit::Unknown });
    }
}
