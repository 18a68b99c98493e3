//! Facts from /proc: start times, namespaces, id maps (proc(5)).
