//! Credentials of one thread: effective ids, supplementary groups, securebits (credentials(7)).
