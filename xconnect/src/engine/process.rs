//! What the engine needs of its own process.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The soft limit that programs expect which still use select(2): more would be no favour to them.
const CONTAINER_NOFILE: u64 = 1024;

/// Raises the soft limit of open files to the hard one: pidfds of all containers, and the mesh's
/// listeners. Call it before any thread exists.
///
/// # Errors
/// setrlimit(2)'s.
pub fn prepare_process() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    }
    Ok(())
}

/// Gives a container's processes the usual soft limit again; they may raise it themselves.
pub(super) fn usual_limits() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|soft| soft > CONTAINER_NOFILE) {
        // A container with a higher limit is better than none.
        let _ =
            setrlimit(Resource::Nofile, Rlimit { current: Some(CONTAINER_NOFILE), maximum: limit.maximum });
    }
}
