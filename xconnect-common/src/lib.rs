//! The structures that the mesh and its eBPF programs share through maps.
//!
//! Both sides are compiled apart: every structure is `repr(C)`, has no padding, and its size is asserted.
#![no_std]

#[cfg(feature = "user")]
mod pod;

/// Where the bytes of one direction of a connection go. The key is the socket cookie of the sender.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// Key, in the map of sockets, of the socket that the bytes leave through.
    pub target: u64,
}

const _: () = assert!(size_of::<Flow>() == 8);
