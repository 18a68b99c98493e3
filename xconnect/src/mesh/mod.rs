//! `pv-xconnect`: where the graph comes from, what is done about it, and the edges that carry the bytes.
//!
//! `run` is the narrative; the rooms are: `source` (the wanted graph), `reconcile` (one task per
//! link), `link` (one link's life), `containers` and `providers` (what links share), `ledger` and
//! `fdstore` (what outlives a crash), `leftovers` (what a crash left), `board` and `server` (what the operator
//! sees), `offload` (the path through the kernel), `pool` (how links share what is limited).

mod board;
mod config;
mod containers;
pub mod edge;
mod fdstore;
pub mod inject;
mod latest;
mod ledger;
mod leftovers;
mod limiter;
mod link;
mod metrics;
mod offload;
mod own;
mod pool;
mod providers;
mod reconcile;
mod run;
mod server;
mod source;
mod staying;

pub(crate) use crate::api::error::chain;

pub use crate::sys::limits::prepare_process;
pub use config::{Config, GraphFrom};
pub use limiter::Limiter;
pub use offload::KernelOptions;
pub use own::{OwnSockets, Reach};
pub use run::{Error, run};
