//! What the operator may choose about the mesh daemon.

use std::path::PathBuf;
use std::time::Duration;

use super::offload::KernelOptions;

/// Where the graph comes from.
#[derive(Debug, Clone)]
pub enum GraphFrom {
    /// A control socket: streamed where the server can, else polled.
    ControlSocket {
        /// The socket's path.
        socket: PathBuf,
        /// Time between two polls of a server that cannot stream.
        poll_interval: Duration,
    },
    /// A file with the graph's JSON, read again on every change.
    File(PathBuf),
}

/// Options of the mesh daemon.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory for the lock, the status socket and the record of injected sockets.
    pub run_dir: PathBuf,
    /// Where the graph comes from.
    pub graph: GraphFrom,
    /// The status socket.
    pub status_socket: PathBuf,
    /// The engine's fd store, if any.
    pub fdstore: Option<PathBuf>,
    /// How long open connections may go on after a request to stop.
    pub drain: Duration,
    /// Relay threads; `None`: one per processor, four at most.
    pub workers: Option<usize>,
    /// The path through the kernel.
    pub kernel: KernelOptions,
}
