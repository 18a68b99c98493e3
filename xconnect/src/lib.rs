//! xconnect: a service mesh for the containers of one Linux host.
//!
//! Containers declare what they provide and what they need; the mesh owns the graph of links, plants
//! sockets into the right namespaces, gives every connection an identity and mediates its bytes.
//!
//! | module | what it holds | may import |
//! | --- | --- | --- |
//! | [`ids`] | names, paths and keys as validated types (pure) | nothing |
//! | [`manifest`] | bytes → validated manifests, all errors at once (pure) | `ids` |
//! | [`graph`] | containers + manifests → links, authorization, wire JSON, plan (pure) | `ids`, `manifest` |
//! | [`api`] | types of the control API, HTTP server and client over Unix sockets | `ids`, `graph` |
//! | [`instance`] | the lock that makes each daemon the only one of its kind | `sys` |
//! | [`program`] | what the daemons' command lines share | nothing |
//! | [`sys`] | thin wrappers of system calls, the only unsafe code | nothing |
//! | [`mesh`] | `pv-xconnect`: graph source, reconciler, injection, edges | all above |
//! | [`engine`] | `pv-appengine`: state directory, runtime, lifecycle, control socket | all above, not `mesh` |
//! | [`cli`] | `pvcontrol` and `pvcurl` | `api`, `graph`, `ids` |
//!
//! The programs under `bin/` parse arguments, set up logging and make one call into this library.

pub mod api;
pub mod cli;
#[cfg(feature = "engine")]
pub mod engine;
pub mod graph;
pub mod ids;
pub mod instance;
pub mod manifest;
#[cfg(feature = "mesh")]
pub mod mesh;
pub mod program;
pub mod sys;
