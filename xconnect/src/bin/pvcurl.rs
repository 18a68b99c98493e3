//! pvcurl.
fn main() {}
