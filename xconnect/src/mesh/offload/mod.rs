//! The path through the kernel: the eBPF programs that this build carries.

mod object;

mod gate;
mod kernel;
mod peers;
mod slots;
pub use kernel::KernelPath;
pub(crate) use kernel::global;
pub(in crate::mesh) use peers::Peers;
pub(in crate::mesh) use slots::Gate;
