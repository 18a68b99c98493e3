//! The edge between real sockets.
