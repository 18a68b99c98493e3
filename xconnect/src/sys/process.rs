//! Processes of our own: spawning with passed descriptors, subreaper, waiting.
