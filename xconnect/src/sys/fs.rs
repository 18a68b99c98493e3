//! Files below a root that somebody hostile controls: openat2, inode identity, rename without replacing.
