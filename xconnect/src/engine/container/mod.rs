//! One container: what is wanted of it, its state machine, its recovery, and its record on disk.

mod action;
mod actor;
mod convert;
mod instance;
mod record;
mod recovery;
mod spec;
mod status;

pub use action::ActionError;
pub(crate) use convert::container;
pub use convert::desired;
pub use recovery::RecoveryPolicy;
pub use spec::{
    ContainerSpec, Desired, GroupSpec, IdMapping, MountSpec, NetworkMode, RootfsSpec, RuntimeSpec,
};
pub use status::{Action, ContainerStatus, Exit, GroupStatus, RecoveryStatus, State};

pub use crate::manifest::{BackoffPolicy, RecoveryPolicy as Policy, RestartPolicy, StatusGoal};

pub(crate) use action::{Step, decide};
pub(crate) use actor::{Actor, Command, Context, Handle, mount_namespace};
pub(crate) use record::Record;
pub(crate) use recovery::{Decision, Recovery};
pub(crate) use status::reached;
