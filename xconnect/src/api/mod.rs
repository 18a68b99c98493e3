//! The control API over Unix sockets.

pub mod client;
