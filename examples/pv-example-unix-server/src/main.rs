//! Example container.
fn main() {}
