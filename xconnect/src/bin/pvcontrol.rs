//! pvcontrol.
fn main() {}
