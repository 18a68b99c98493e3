//! Real containers. All of this needs root.

mod crash;
mod host;
mod lifecycle;
mod runtime;

use std::path::Path;

use host::{Host, desired, eventually, name, until, until_one};

use crate::engine::shim;

/// Not a test: this test binary as the shim (see `host::alone`).
#[test]
#[ignore = "is the shim, which other tests start"]
fn shim_process() {
    let args: Vec<_> = std::env::args().collect();
    if let [.., dir, id] = args.as_slice()
        && Path::new(dir).join("request.json").exists()
    {
        shim::main(Path::new(dir), id);
    }
}
