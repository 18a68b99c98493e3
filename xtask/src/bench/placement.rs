//! Where everything runs. Children inherit it, so that client, server and relay share the same processors.

use std::fmt;

use anyhow::Context as _;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// On which processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    /// All on one.
    OneCpu,
    /// On all that are allowed.
    AllCpus,
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OneCpu => "one CPU",
            Self::AllCpus => "all CPUs",
        })
    }
}

/// Undoes the pinning when dropped: for this thread and what it starts.
#[derive(Debug)]
pub(crate) struct Pinned {
    before: CpuSet,
    /// The processors in use.
    pub(crate) cpus: Vec<usize>,
}

impl Pinned {
    pub(crate) fn to(placement: Placement) -> anyhow::Result<Self> {
        let before = sched_getaffinity(None).context("sched_getaffinity")?;
        let mut cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| before.is_set(*cpu)).collect();
        if placement == Placement::OneCpu {
            // The last one: the first has the most interrupts.
            let last = *cpus.last().context("no CPU is allowed")?;
            let mut one = CpuSet::new();
            one.set(last);
            sched_setaffinity(None, &one).context("sched_setaffinity")?;
            cpus = vec![last];
        }
        Ok(Self { before, cpus })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ = sched_setaffinity(None, &self.before);
    }
}
