//! Arbitrary graph JSON: links or errors, never a panic; what was understood survives a second trip.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xconnect::graph::wire;

fuzz_target!(|data: &[u8]| {
    let Ok(first) = wire::parse(data) else { return };
    let text = serde_json::to_vec(&wire::desired(&first)).expect("entries are plain data");
    let mut second = wire::parse(&text).expect("our own graph is understood");
    // The revision stands in the entries: an empty graph cannot tell it.
    if first.links.is_empty() {
        second.revision.clone_from(&first.revision);
    }
    assert_eq!(first, second);
});
