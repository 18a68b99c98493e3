//! The graph of links: made from containers and their manifests (resolve), compared (diff), and written
//! as JSON (wire). Pure: no clock, no file, no socket.

mod check;
mod link;
pub mod plan;
mod resolve;
pub mod rest;
#[cfg(test)]
mod tests;
pub mod wire;

pub use check::check;
pub use link::{End, Grant, Graph, Link, Presence, ProcessId, Refusal};
pub use plan::{Plan, Step, diff};
pub use resolve::{CONTROL_LINKS, HostServices, MANAGEMENT_ROLE, resolve, resolve_with};

pub use crate::manifest::{
    Forward, Forwarded, Identity, Limits, RestOptions, RestRule, ServiceType, SocketType, Tracing,
    UnixOptions,
};
