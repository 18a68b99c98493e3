//! The edge between real sockets.

mod ends;
