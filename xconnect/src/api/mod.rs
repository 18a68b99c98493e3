//! The control API: its JSON types, the HTTP server and the client over Unix sockets.

pub mod client;
pub mod error;
pub mod server;
pub mod time;
pub mod types;
