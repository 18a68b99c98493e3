//! What the mesh needs of its own process before anything else runs.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one, and makes the umask the usual one: what the
/// mesh writes itself is for others to read at the most. (Threads that plant sockets, whose modes are
/// exactly those asked for, have a umask of their own.) Call it before any thread exists.
///
/// # Errors
/// Where the limit cannot be raised (getrlimit(2)).
pub fn prepare_process() -> io::Result<()> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    }
    Ok(())
}
