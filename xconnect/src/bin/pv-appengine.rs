//! `pv-appengine`, the control plane. This build has its container shims, not yet its control socket: it
//! says so and ends.

use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all: a shim must be single-threaded, with nothing set up before it.
    xconnect::engine::shim::run_if_asked();
    eprintln!(
        "pv-appengine: the control socket is not part of this build; \
         run `pv-xconnect --graph FILE` with a graph file, or beside a Pantavisor"
    );
    ExitCode::FAILURE
}
