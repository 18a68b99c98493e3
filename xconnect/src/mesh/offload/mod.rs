//! The path through the kernel: the eBPF programs that this build carries.

mod object;
