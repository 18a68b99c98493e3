use super::gate::AtomicGate;
use super::slots::Slots;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Mutex;
use xconnect_common::{Flow, Marker, Traced};
#[derive(Debug)]
pub struct KernelPath {
    s: Mutex<Slots>,
    g: Vec<AtomicGate>,
}
#[derive(Debug, Clone, Copy)]
pub struct Features {
    pub refuses_rights: bool,
    pub traced: bool,
}
impl KernelPath {
    pub(crate) fn features(&self) -> Features {
        Features { refuses_rights: false, traced: false }
    }
    pub(super) fn slots(&self) -> &Mutex<Slots> {
        &self.s
    }
    pub(super) fn gate(&self, slot: u32) -> &AtomicGate {
        &self.g[slot as usize]
    }
    pub(crate) fn add_target(&self, _c: u64, _s: BorrowedFd<'_>) -> io::Result<()> {
        Ok(())
    }
    pub(crate) fn add_source(&self, _c: u64, _s: BorrowedFd<'_>) -> io::Result<()> {
        Ok(())
    }
    pub(crate) fn add_flow(&self, _c: u64, _f: &Flow) -> io::Result<()> {
        Ok(())
    }
    pub(crate) fn remove_flow(&self, _c: u64) {}
    pub(crate) fn trace(&self, _c: u64, _t: &Traced) -> io::Result<()> {
        Ok(())
    }
    pub(crate) fn forget(&self, _c: u64) {}
    pub(crate) fn fence(&self, _s: u64) -> io::Result<Marker> {
        Err(io::ErrorKind::Other.into())
    }
    pub(crate) fn take_marker(&self, _s: BorrowedFd<'_>, _m: &Marker) -> io::Result<bool> {
        Ok(false)
    }
}
