//! How links share the path through the kernel: flows, and the memory of send buffers.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::{Gate, KernelOptions, KernelPath};
use crate::graph::Forward;
use crate::mesh::pool::{Pool, Share};

/// The send buffers' part of the machine's memory where the operator names no number, and the most that this
/// comes to, in bytes.
const PART: u64 = 4;
const MOST: u64 = 8 << 30;

/// What all links share.
#[derive(Debug)]
pub(in crate::mesh) struct Limits {
    flows: Arc<Pool>,
    buffers: Arc<Pool>,
}

/// What one link may have of it.
#[derive(Debug)]
pub(crate) struct KernelShare {
    path: Arc<KernelPath>,
    /// The mesh picks the path of each connection (`"forward": "auto"`).
    picks: bool,
    flows: Arc<Share>,
    buffers: Arc<Share>,
}

impl Limits {
    pub(super) fn new(options: &KernelOptions) -> Self {
        let bytes = options.send_buffers.map_or_else(by_memory, |mib| (mib as usize).saturating_mul(1 << 20));
        Self { flows: Pool::new(options.flows as usize), buffers: Pool::new(bytes) }
    }

    pub(super) fn share(&self, path: &Arc<KernelPath>, forward: Forward) -> KernelShare {
        KernelShare {
            path: path.clone(),
            picks: forward == Forward::Auto,
            flows: self.flows.share(),
            buffers: self.buffers.share(),
        }
    }

    /// Flows in the kernel.
    pub(in crate::mesh) fn flows_used(&self) -> usize {
        self.flows.used()
    }

    /// Bytes that the send buffers may hold, of connections that are in the kernel.
    pub(in crate::mesh) fn buffers_used(&self) -> usize {
        self.buffers.used()
    }

    /// Bytes that they may hold at most.
    pub(in crate::mesh) fn buffers_limit(&self) -> usize {
        self.buffers.capacity()
    }
}

impl KernelShare {
    /// A path of a test's own, of which a link may have all that one may.
    #[cfg(test)]
    pub(in crate::mesh) fn for_tests(path: &Arc<KernelPath>) -> Self {
        let options = KernelOptions { object: None, flows: path.flows() * 4, send_buffers: None };
        Limits::new(&options).share(path, Forward::Kernel)
    }

    pub(in crate::mesh) fn path(&self) -> &Arc<KernelPath> {
        &self.path
    }

    /// Whether each connection's path is picked by what is seen of it.
    pub(in crate::mesh) fn picks(&self) -> bool {
        self.picks
    }

    /// Room for bytes in send buffers.
    pub(in crate::mesh) fn buffers(&self) -> &Arc<Share> {
        &self.buffers
    }

    /// The gates of a connection's two flows; `None`: that would be more than a fair share. Those that rest count, too.
    pub(in crate::mesh) fn gates(&self) -> Option<[Gate; 2]> {
        self.path.slots().lock().unwrap_or_else(PoisonError::into_inner).reap(Instant::now());
        let (one, other) = (self.flows.take(1)?, self.flows.take(1)?);
        Some([Gate::take(&self.path, one)?, Gate::take(&self.path, other)?])
    }
}

/// The default: a part of the machine's memory, as it was when the mesh started.
fn by_memory() -> usize {
    let info = rustix::system::sysinfo();
    let memory = (info.totalram as u64).saturating_mul(u64::from(info.mem_unit));
    usize::try_from((memory / PART).min(MOST)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(send_buffers: Option<u32>) -> Limits {
        Limits::new(&KernelOptions { object: None, flows: 8, send_buffers })
    }

    #[test]
    fn the_budget_is_what_was_asked_for_or_a_part_of_the_memory() {
        assert_eq!(limits(Some(3)).buffers_limit(), 3 << 20);
        assert_eq!(limits(Some(0)).buffers_limit(), 0);
        let usual = limits(None).buffers_limit();
        assert!(usual > 0 && usual as u64 <= MOST, "{usual}");
    }

    #[test]
    fn one_link_cannot_take_all_flows() {
        let limits = limits(None);
        let (one, other) = (limits.flows.share(), limits.flows.share());
        let held = [one.take(2), one.take(2)];
        assert!(held.iter().all(Option::is_some) && one.take(2).is_none());
        assert!(other.take(2).is_some());
        assert_eq!(limits.flows_used(), 4);
    }
}
