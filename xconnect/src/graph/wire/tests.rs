//! Tests of the graph JSON.
