//! pv-appengine.
fn main() {}
