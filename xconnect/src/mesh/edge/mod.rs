//! The edges: what carries a consumer's bytes to a provider and back, once the graph has granted it.
//!
//! An edge gets a listening socket, an identity and limits, never the graph. [`Workers`] are the threads
//! that all edges share; [`FdBudget`] keeps one link from using up the process's descriptors.

mod budget;
mod counters;
pub mod unix;
mod workers;

pub use budget::{ConnectionPermit, FdBudget, LinkShare};
pub use counters::{
    CLASSES, Counts, HttpCounters, HttpCounts, LATENCY_BOUNDS_US, LinkCounters, METHODS, REQUEST_BOUNDS_US,
};
pub use workers::{Workers, WorkersError};
