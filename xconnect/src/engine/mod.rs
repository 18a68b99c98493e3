//! `pv-appengine`: state directory, containers, managed daemons and the control socket.
//!
//! `run` is the narrative; the rooms are: `state` (the directory's bytes and events), `follow` (from a
//! change to a revision), `hub` (the desired state and the graph), `supervisor` (all containers),
//! `container` (one container), `runtime` and `shim` (how it is run), `control` (the socket),
//! `daemon` (pv-xconnect as a child), `fdstore` (what outlives its crash), `audit`.

mod audit;
mod check;
mod config;
pub mod container;
mod control;
mod daemon;
mod fdstore;
mod follow;
mod hub;
mod process;
mod regular;
mod run;
pub mod runtime;
pub mod shim;
mod state;
pub mod supervisor;

use crate::api::error::chain;
pub use crate::sys::limits::prepare_process;

pub use check::{Checked, check};
pub use config::{Config, DEFAULT_RUN_DIR, default_cgroup_root};
pub use run::{Asked, Error, run};
pub use state::default_data_dir;
