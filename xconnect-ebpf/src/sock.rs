//! The kernel's `struct sock`, as far as it is looked into; at the offsets that user space has found in BTF.

use aya_ebpf::helpers::bpf_probe_read_kernel;

use crate::maps::offsets;

/// A `struct sock *`.
#[derive(Clone, Copy)]
pub(crate) struct Sock(pub(crate) *const u8);

impl Sock {
    /// `None` for an address that cannot be read.
    #[inline(always)]
    fn read<T>(self, offset: u64) -> Option<T> {
        // SAFETY: the helper fails for an address that cannot be read.
        unsafe { bpf_probe_read_kernel(self.0.add(offset as usize).cast::<T>()) }.ok()
    }

    /// 0: nobody has asked for it.
    #[inline(always)]
    pub(crate) fn cookie(self) -> Option<u64> {
        self.read(offsets().cookie)
    }

    /// The address of the handler of `sk_data_ready`.
    #[inline(always)]
    pub(crate) fn data_ready(self) -> Option<u64> {
        self.read(offsets().data_ready)
    }

    /// The other end. For Unix sockets only.
    #[inline(always)]
    pub(crate) fn peer(self) -> Option<Sock> {
        self.read(offsets().peer).filter(|peer: &*const u8| !peer.is_null()).map(Sock)
    }

    /// Whether an out-of-band byte waits. For Unix sockets only.
    #[inline(always)]
    pub(crate) fn has_urgent(self) -> bool {
        let offset = offsets().urgent;
        offset != 0 && self.read::<u64>(offset).unwrap_or(0) != 0
    }

    /// Whether each message tells who has sent it (`unix_may_passcred`, net/unix/af_unix.c).
    #[inline(always)]
    pub(crate) fn is_told_who_sends(self) -> bool {
        let offsets = offsets();
        let holder = match offsets.flags_in {
            0 => Some(self),
            pointer => self.read(pointer).filter(|holder: &*const u8| !holder.is_null()).map(Sock),
        };
        let flags: Option<u8> = holder.and_then(|holder| holder.read(offsets.flags));
        u64::from(flags.unwrap_or(0)) & offsets.flags_mask != 0
    }
}
