//! Thin wrappers of system calls: the fence behind which `unsafe` is allowed.
//!
//! Nothing here knows what a container, a link or a manifest is. Where rustix has a safe call, callers
//! use rustix through here only when the call needs an invariant of ours (per-thread ids, descriptors
//! with their bytes).

#[cfg(feature = "mesh")]
pub mod bpf;
pub mod cred;
#[cfg(feature = "mesh")]
pub mod diag;
pub mod fs;
pub mod limits;
#[cfg(feature = "mesh")]
pub mod memory;
pub mod peer;
pub mod pidfd;
pub mod process;
pub mod procfs;
pub mod register;
pub mod scm;
pub mod session;
pub mod sockctl;
pub mod socket;
