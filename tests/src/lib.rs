//! Harness for black-box tests of the four programs: real containers without a container runtime
//! ([`Container`]), the mesh ([`Mesh`]) and the engine ([`Engine`]) as child processes, and a
//! [`Sandbox`] that removes everything again and fails a test that leaves something behind.
//!
//! The harness panics, with the caller's line, where the system refuses what a test needs: that is
//! the shortest way to a useful report, and nothing but tests uses it.

pub mod cgroup;
pub mod container;
pub mod engine;
pub mod fdstore;
pub mod fuse;
pub mod graph;
pub mod guests;
pub mod hostile;
pub mod http;
pub mod mesh;
pub mod payload;
pub mod plain;
pub mod pod;
pub mod process;
pub mod programs;
pub mod rest;
pub mod rootfs;
pub mod sandbox;
pub mod scene;
pub mod socket;
pub mod stream;
pub mod sys;
pub mod torture;
pub mod wait;

pub use container::Container;
pub use engine::{Engine, State};
pub use fdstore::FdStore;
pub use graph::Link;
pub use mesh::Mesh;
pub use pod::client::Agent;
pub use sandbox::{Sandbox, run, run_alone};
pub use scene::Scene;
pub use socket::{Kind, Listener, Socket};
pub use stream::Stream;
pub use wait::{DEADLINE, OrFail, ensure, eventually, eventually_within, patient};
