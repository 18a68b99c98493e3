//! The graph of links: made from containers and their manifests (resolve), compared (diff), and written
//! as JSON (wire). Pure: no clock, no file, no socket.

mod link;

pub use link::{
    End, Forward, Grant, Graph, Identity, Limits, Link, Presence, ProcessId, Refusal, ServiceType,
    SocketType, UnixOptions,
};
