//! Where connections come from: a link of the mesh, or what a unit test puts in its place.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::conn::{Conn, End, Over};

type Socket<'a> = Box<dyn Fn() -> io::Result<OwnedFd> + Send + 'a>;

/// Makes connections, one at a time.
pub(crate) struct Stage<'a> {
    /// Connects at the consumer.
    pub(crate) connect: Socket<'a>,
    /// Accepts at the provider.
    pub(crate) accept: Socket<'a>,
    /// What marks processes as this test's.
    pub(crate) mark: PathBuf,
}

impl Stage<'_> {
    /// Connects.
    pub(crate) fn open(&self, conn: &Conn) -> Result<(), Over> {
        let socket = (self.connect)().map_err(|error| conn.error(format!("connect: {error}")))?;
        conn.set(End::Consumer, socket)
    }

    /// Accepts the connection that was opened last.
    pub(crate) fn accept(&self, conn: &Conn) -> Result<(), Over> {
        let socket = (self.accept)().map_err(|error| conn.error(format!("accept: {error}")))?;
        conn.set(End::Provider, socket)
    }
}
