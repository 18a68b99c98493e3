//! `pv-xconnect`: where the graph comes from, what is done about it, and the edges.

pub mod edge;
pub mod inject;
