//! What the mesh needs of its own process before anything else runs.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Clears the umask, so that the modes of injected sockets are exactly those asked for, and raises the
/// soft limit of open files to the hard one. Call it before any thread exists.
///
/// # Errors
/// Where the limit cannot be raised (getrlimit(2)).
pub fn prepare_process() -> io::Result<()> {
    rustix::process::umask(rustix::fs::Mode::empty());
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    }
    Ok(())
}
