//! What is wanted of a container, by its revision, its operator and itself.

use super::{Actor, Command, Life, Next};
use crate::engine::container::{Action, ContainerSpec, RuntimeSpec, State, StatusGoal, Step, decide};

impl Actor {
    pub(super) async fn on_command(&mut self, command: Command) {
        match command {
            Command::Update(spec) => self.on_update(*spec).await,
            Command::Remove => self.stop(Next::Remove).await,
            Command::Leave => self.life = Life::Leaving,
            // Sent by somebody who could not know it yet.
            _ if self.life == Life::Removed => {}
            Command::Turn => self.on_turn().await,
            Command::Act(action) => self.on_action(action).await,
            Command::Ready => self.on_ready(),
            Command::Register(process) => self.on_register(process),
            Command::Unregister => self.forget_external("unregistered"),
        }
    }

    /// An operator's wish. Whether it is allowed was decided when it came in; the state may have moved
    /// on meanwhile, so it is looked at again.
    async fn on_action(&mut self, action: Action) {
        let Ok(step) = decide(self.state, self.spec.restart_policy, action) else { return };
        self.record.user_stopped = action == Action::Stop;
        if action != Action::Stop {
            self.recovery.reset();
        }
        self.save();
        match step {
            Step::Start => {
                self.restart_at = None;
                self.start().await;
            }
            Step::Stop { restart } => self.stop(if restart { Next::Restart } else { Next::Rest }).await,
            Step::AfterStop { restart } if self.next != Next::Remove => {
                self.next = if restart { Next::Restart } else { Next::Rest };
            }
            Step::Rest => {
                self.restart_at = None;
                self.set_state(State::Stopped);
            }
            Step::AfterStop { .. } | Step::Nothing => {}
        }
    }

    async fn on_turn(&mut self) {
        let external = self.spec.runtime == RuntimeSpec::External;
        match self.state {
            _ if external => {}
            State::None | State::Installed | State::Blocked
                if self.spec.status_goal == StatusGoal::Mounted =>
            {
                self.set_state(State::Mounted);
            }
            State::None | State::Installed | State::Blocked => self.start().await,
            State::Stopping if self.next == Next::Hold => self.next = Next::Restart,
            _ => {}
        }
    }

    /// The container is wanted differently: at once where that is possible, else by a new run.
    async fn on_update(&mut self, spec: ContainerSpec) {
        if self.life == Life::Removed {
            self.life = Life::Serving;
        }
        let same = spec.run_hash() == self.spec.run_hash();
        self.recovery.policy = spec.recovery;
        self.spec = spec;
        if self.spec.runtime != RuntimeSpec::External {
            self.forget_external("no longer run by another runtime");
        }
        if same {
            if self.next == Next::Remove {
                self.next = Next::Hold;
            }
            // What is only mounted waits for its turn where more is wanted of it.
            let more = self.state == State::Mounted && self.spec.status_goal != StatusGoal::Mounted;
            self.set_state(if more { State::Blocked } else { self.state });
            return;
        }
        self.recovery.reset();
        self.record.user_stopped = false;
        self.save();
        // Without a run of ours this waits for its turn at once.
        self.stop(Next::Hold).await;
    }

    /// Counts also before its start was told of: the program may be quicker than its shim's report.
    fn on_ready(&mut self) {
        if self.spec.status_goal != StatusGoal::Ready
            || !matches!(self.state, State::Starting | State::Started)
        {
            return;
        }
        self.record.ready = true;
        self.save();
        if self.state == State::Started {
            self.set_state(State::Ready);
        }
    }
}
