//! Which actions a container's state allows, with the answers of Pantavisor's control API.

use super::{Action, RestartPolicy, State};

/// Why an action was refused. The texts are Pantavisor's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    /// No container of that name.
    #[error("Container not found")]
    NotFound,
    /// It belongs to the system.
    #[error("Container has restart_policy 'system' and cannot be controlled via API")]
    System,
    /// It cannot be started from where it is.
    #[error("Container must be in STOPPED, STOPPING, or RECOVERING state to start")]
    NotStartable,
    /// It cannot be restarted from where it is.
    #[error("Container state does not allow restart")]
    NotRestartable,
    /// Its own runtime starts and stops it.
    #[error("Container is run by another runtime and cannot be controlled via API")]
    External,
}

/// What an allowed action means in a certain state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Start the container.
    Start,
    /// Ask its processes to end; start it anew afterwards where `restart`.
    Stop {
        /// True: start again once it ended.
        restart: bool,
    },
    /// It is ending; this is what follows.
    AfterStop {
        /// True: start again once it ended.
        restart: bool,
    },
    /// No process is there; give up what was planned.
    Rest,
    /// Nothing to do.
    Nothing,
}

/// Decides what `action` means for a container in `state`.
pub(crate) fn decide(state: State, policy: RestartPolicy, action: Action) -> Result<Step, ActionError> {
    if policy == RestartPolicy::System {
        return Err(ActionError::System);
    }
    match (action, state) {
        (Action::Start, State::Started | State::Ready | State::Starting) => Ok(Step::Nothing),
        (Action::Start, State::Stopped | State::Recovering) => Ok(Step::Start),
        (Action::Start | Action::Restart, State::Stopping) => Ok(Step::AfterStop { restart: true }),
        (Action::Start, _) => Err(ActionError::NotStartable),
        (Action::Stop, State::Stopping) => Ok(Step::AfterStop { restart: false }),
        (Action::Stop, State::Starting | State::Started | State::Ready) => Ok(Step::Stop { restart: false }),
        (Action::Stop, _) => Ok(Step::Rest),
        (Action::Restart, State::Starting | State::Started | State::Ready) => {
            Ok(Step::Stop { restart: true })
        }
        (Action::Restart, State::Stopped | State::Recovering) => Ok(Step::Start),
        (Action::Restart, _) => Err(ActionError::NotRestartable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [State; 10] = [
        State::None,
        State::Installed,
        State::Mounted,
        State::Blocked,
        State::Starting,
        State::Started,
        State::Ready,
        State::Recovering,
        State::Stopping,
        State::Stopped,
    ];

    #[test]
    fn the_systems_containers_are_not_for_operators() {
        for state in ALL {
            for action in [Action::Start, Action::Stop, Action::Restart] {
                assert_eq!(decide(state, RestartPolicy::System, action), Err(ActionError::System));
            }
        }
    }

    #[test]
    fn starting_what_runs_is_fine() {
        for state in [State::Starting, State::Started, State::Ready] {
            assert_eq!(decide(state, RestartPolicy::Container, Action::Start), Ok(Step::Nothing));
        }
        for state in [State::None, State::Installed, State::Mounted, State::Blocked] {
            assert_eq!(
                decide(state, RestartPolicy::Container, Action::Start),
                Err(ActionError::NotStartable)
            );
            assert_eq!(
                decide(state, RestartPolicy::Container, Action::Restart),
                Err(ActionError::NotRestartable)
            );
        }
    }

    #[test]
    fn the_last_word_counts_while_stopping() {
        let decide = |action| decide(State::Stopping, RestartPolicy::Container, action);
        assert_eq!(decide(Action::Start), Ok(Step::AfterStop { restart: true }));
        assert_eq!(decide(Action::Stop), Ok(Step::AfterStop { restart: false }));
        assert_eq!(decide(Action::Restart), Ok(Step::AfterStop { restart: true }));
    }

    #[test]
    fn stopping_is_always_possible() {
        for state in ALL {
            assert!(decide(state, RestartPolicy::Container, Action::Stop).is_ok(), "{state}");
        }
    }
}
