//! The edges: what carries a consumer's bytes to a provider and back, once the graph has granted it.
//!
//! An edge gets a listening socket, an identity and limits, never the graph. [`Workers`] are the threads
//! that all edges share; [`FdBudget`] keeps one link from using up the process's descriptors.

mod any;
mod budget;
mod counters;
mod reach;
pub mod rest;
pub mod unix;
mod workers;

pub use any::{AnyEdge, AnySpec};
pub use budget::{ConnectionPermit, FdBudget, LinkShare};
pub use counters::{
    CLASSES, Counts, HttpCounters, HttpCounts, LATENCY_BOUNDS_US, LinkCounters, METHODS, REQUEST_BOUNDS_US,
};
pub use rest::RestThreads;
pub use workers::{Workers, WorkersError};
