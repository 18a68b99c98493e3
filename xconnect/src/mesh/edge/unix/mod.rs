//! The unix edge: bytes, messages and descriptors between two Unix sockets, exactly as on a direct one.

mod accept;
mod auto;
mod carry;
mod connector;
mod direction;
mod edge;
mod handed;
mod link;
mod look;
mod probe;
mod processors;
mod relay;
mod scratch;
mod shared;
mod stays;
#[cfg(test)]
mod tests;
mod trouble;

pub use edge::{Edge, EdgeSpec, ProviderEnd};

pub(super) use link::{HeldConsumer, LinkState};
pub(super) use look::LOOK;
pub(super) use probe::fd_search as probe_fd_search;
pub(super) use relay::{HAND_OVER_AGE, Relay, Verdict};
pub(super) use scratch::{FdSearch, Scratch};
pub(super) use shared::next_number;
