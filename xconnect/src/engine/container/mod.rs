//! One container: what is wanted of it, its state machine, its recovery, and its record on disk.

mod actor;
mod action;
mod record;
mod recovery;
mod spec;
mod status;

pub use action::ActionError;
pub use recovery::{BackoffPolicy, Policy, RecoveryPolicy};
pub use spec::{
    BindMount, ContainerSpec, Desired, GroupSpec, IdMapping, NetworkMode, RestartPolicy, RootfsSpec, RuntimeSpec,
};
pub use status::{Action, ContainerStatus, Exit, GroupStatus, RecoveryStatus, State, StatusGoal};

pub(crate) use actor::{Actor, Command, Handle};
