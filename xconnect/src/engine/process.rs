//! What the engine's programs need of their own process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The soft limit that programs expect which still use select(2): more would be no favour to them.
const CONTAINER_NOFILE: u64 = 1024;

/// Gives a container's processes the usual soft limit again; they may raise it themselves.
pub(super) fn usual_limits() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|soft| soft > CONTAINER_NOFILE) {
        // A container with a higher limit is better than none.
        let _ =
            setrlimit(Resource::Nofile, Rlimit { current: Some(CONTAINER_NOFILE), maximum: limit.maximum });
    }
}
