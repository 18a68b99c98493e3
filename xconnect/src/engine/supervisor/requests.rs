//! What operators, containers and other runtimes ask for.

use super::{Entries, Entry, Origin, Phase, RegisterError, SignalError, Supervisor, lock};
use crate::engine::container::{
    Action, ActionError, Command, ContainerSpec, Handle, RuntimeSpec, State, StatusGoal, decide,
};
use crate::graph::ProcessId;
use crate::ids::ContainerName;
use crate::sys::process;

impl Entries {
    /// A container of which something may be asked: it is there, and the engine is not ending.
    fn served(&self, name: &ContainerName) -> Option<&Handle> {
        let handle = &self.all.get(name).filter(|_| self.phase == Phase::Serving)?.handle;
        (!handle.view().gone).then_some(handle)
    }
}

impl Supervisor {
    /// Does what an operator asks for. Returns when it is decided, not when it is done. A container that
    /// ends with the engine is nobody's to control any more.
    ///
    /// # Errors
    /// [`ActionError`], with Pantavisor's texts.
    pub fn action(&self, name: &ContainerName, action: Action) -> Result<(), ActionError> {
        let entries = lock(&self.shared.entries);
        let handle = entries.served(name).ok_or(ActionError::NotFound)?;
        {
            let view = handle.view();
            if view.spec.runtime == RuntimeSpec::External {
                return Err(ActionError::External);
            }
            // With commands under way, the state is about to change; the task decides then.
            let decided = decide(view.state, view.spec.restart_policy, action);
            match decided {
                Err(ActionError::System) => return Err(ActionError::System),
                Err(error) if view.pending == 0 => return Err(error),
                _ => {}
            }
        }
        if handle.send(Command::Act(action)) { Ok(()) } else { Err(ActionError::NotFound) }
    }

    /// A container says that it is ready.
    ///
    /// # Errors
    /// Nobody waits for that.
    pub fn signal_ready(&self, name: &ContainerName) -> Result<(), SignalError> {
        let entries = lock(&self.shared.entries);
        let handle = entries.served(name).ok_or(SignalError)?;
        let expected = {
            let view = handle.view();
            view.spec.status_goal == StatusGoal::Ready
                && matches!(view.state, State::Starting | State::Started | State::Ready)
        };
        if expected && handle.send(Command::Ready) { Ok(()) } else { Err(SignalError) }
    }

    /// Notes a container that another runtime runs; its end is watched, and never brought about.
    ///
    /// # Errors
    /// The name is one of ours, the process is not there, or the engine is ending.
    pub fn register(&self, spec: ContainerSpec, process_id: ProcessId) -> Result<(), RegisterError> {
        let failed = |source| RegisterError::Process { pid: process_id.pid, source };
        let start = process::start_time(process_id.pid).map_err(failed)?;
        let start = process_id.start.unwrap_or(start);
        process::open_verified(process_id.pid, start).map_err(failed)?;
        let name = spec.name.clone();
        let spec = ContainerSpec { runtime: RuntimeSpec::External, ..spec };
        let mut entries = lock(&self.shared.entries);
        if entries.phase == Phase::Ending {
            return Err(RegisterError::Ending);
        }
        let known = entries.served(&name).cloned();
        if known.as_ref().is_some_and(|known| known.view().spec.runtime != RuntimeSpec::External) {
            return Err(RegisterError::Ours(name));
        }
        let handle = match known {
            Some(handle) if handle.send(Command::Update(Box::new(spec.clone()))) => handle,
            _ => {
                let handle = self.spawn(spec);
                entries.all.insert(name, Entry { handle: handle.clone(), origin: Origin::Registered });
                handle
            }
        };
        handle.send(Command::Register(ProcessId { pid: process_id.pid, start: Some(start) }));
        Ok(())
    }

    /// Forgets a container that another runtime ran.
    ///
    /// # Errors
    /// The name is one of ours or nobody's, or the engine is ending.
    pub fn unregister(&self, name: &ContainerName) -> Result<(), RegisterError> {
        let entries = lock(&self.shared.entries);
        if entries.phase == Phase::Ending {
            return Err(RegisterError::Ending);
        }
        let entry =
            entries.all.get(name).filter(|entry| !entry.handle.view().gone).ok_or(RegisterError::NotFound)?;
        if entry.handle.view().spec.runtime != RuntimeSpec::External {
            return Err(RegisterError::Ours(name.clone()));
        }
        let command = match entry.origin {
            Origin::Registered => Command::Remove,
            Origin::Revision => Command::Unregister,
        };
        entry.handle.send(command);
        Ok(())
    }
}
