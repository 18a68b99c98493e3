//! A state directory of arbitrary files: a revision or errors, twice the same, and never a panic.
//!
//! The input is cut at NUL bytes into the contents of the files below, in their order.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use xconnect::graph::{self, Presence};
use xconnect::manifest;

const FILES: [&str; 7] = [
    "device.json",
    "web/run.json",
    "web/args.json",
    "web/services.json",
    "srv/run.json",
    "srv/args.json",
    "srv/services.json",
];

fuzz_target!(|data: &[u8]| {
    let files: BTreeMap<String, Vec<u8>> = FILES
        .into_iter()
        .zip(data.split(|byte| *byte == 0))
        .filter(|(_, text)| !text.is_empty())
        .map(|(file, text)| (file.to_owned(), text.to_vec()))
        .collect();
    let loaded = manifest::load(&files);
    assert_eq!(loaded, manifest::load(&files));
    match loaded {
        Ok(revision) => {
            if let Err(errors) = graph::check(&revision) {
                assert!(!errors.0.is_empty());
            }
            let one = graph::resolve(&revision, &|_| Presence::NotRunning);
            let plan = graph::diff(&graph::Graph::default(), &one);
            assert_eq!(plan.apply(&graph::Graph::default()), one);
        }
        Err(errors) => assert!(!errors.0.is_empty()),
    }
});
