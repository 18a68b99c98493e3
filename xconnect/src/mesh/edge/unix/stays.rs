//! Why a connection stays in user space though its link goes through the kernel.

use std::sync::atomic::AtomicU64;

use super::handed::NotEntered;
use crate::mesh::edge::LinkCounters;

/// Why a connection stays in user space, until the next try at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stays {
    /// `"forward": "auto"` has picked it: both ends share one processor.
    Picked,
    /// There are no flows left for the link.
    Flows,
    /// There is no memory for send buffers left for the link.
    SendBuffers,
    /// There are no descriptors left for the link.
    Descriptors,
    /// The kernel would not have it, or an end asks for what the kernel could not give: the log tells.
    Refused,
}

impl Stays {
    /// `None`: it is too early.
    pub(super) fn of(error: &NotEntered) -> Option<Self> {
        match error {
            NotEntered::NoPeer => None,
            NotEntered::Full => Some(Self::Flows),
            NotEntered::SendBuffers => Some(Self::SendBuffers),
            NotEntered::Descriptors => Some(Self::Descriptors),
            NotEntered::Credentials | NotEntered::Peer(_) | NotEntered::Map(_) | NotEntered::Pair(_) => {
                Some(Self::Refused)
            }
        }
    }

    /// The link's count of open connections that stay for this reason.
    pub(super) fn count(self, counters: &LinkCounters) -> &AtomicU64 {
        match self {
            Self::Picked => &counters.stay_picked,
            Self::Flows => &counters.stay_flows,
            Self::SendBuffers => &counters.stay_send_buffers,
            Self::Descriptors => &counters.stay_descriptors,
            Self::Refused => &counters.stay_refused,
        }
    }
}
