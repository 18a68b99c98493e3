//! pv-xconnect.
fn main() {}
