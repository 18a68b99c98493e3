//! Unix sockets: listening below a directory descriptor, accepting, connecting through /proc/self/fd.
