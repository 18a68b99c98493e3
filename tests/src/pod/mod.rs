//! The process inside a test's container: it does what it is told over a seqpacket socket and hands
//! the sockets that it opens to the test, which then uses real in-container sockets directly.

pub mod client;
pub mod files;
pub mod namespaces;
pub mod programs;
pub mod protocol;
pub mod server;
