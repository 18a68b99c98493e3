//! Maps of eBPF programs: changed with bpf(2) by any thread at any time, without a lock of ours.
#![expect(unsafe_code, reason = "bpf(2) takes raw pointers")]

use std::io::{self, Error};
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use aya::Pod;

/// `BPF_MAP_UPDATE_ELEM`, `BPF_MAP_DELETE_ELEM` (include/uapi/linux/bpf.h).
const UPDATE: libc::c_long = 2;
const DELETE: libc::c_long = 3;
/// `BPF_ANY`: a new entry or a replaced one.
const ANY: u64 = 0;

/// The part of `union bpf_attr` for single entries of maps.
#[repr(C)]
struct Entry {
    map: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// A map with keys `K` and values `V`.
#[derive(Debug)]
pub struct Map<K, V> {
    fd: OwnedFd,
    types: PhantomData<fn(K, V)>,
}

impl<K: Pod, V: Pod> Map<K, V> {
    /// Takes a map whose keys and values have these sizes, in bytes, as the kernel says
    /// (`BPF_OBJ_GET_INFO_BY_FD`).
    ///
    /// # Errors
    /// `InvalidData` where they are not those of `K` and `V`.
    pub fn new(fd: OwnedFd, key_size: u32, value_size: u32) -> io::Result<Self> {
        if key_size as usize != size_of::<K>() || value_size as usize != size_of::<V>() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Self { fd, types: PhantomData })
    }

    /// Puts an entry in, or in place of the one that is there.
    ///
    /// # Errors
    /// `E2BIG` where the map is full, `ENOMEM`; for a map of sockets also `EOPNOTSUPP` for a socket of
    /// another kind, `EBUSY`, `EINVAL` and others (`sock_map_update_common`, net/core/sock_map.c).
    pub fn put(&self, key: &K, value: &V) -> io::Result<()> {
        let value: *const V = value;
        self.call(UPDATE, key, value.expose_provenance() as u64)
    }

    /// Takes an entry out.
    ///
    /// # Errors
    /// `ENOENT` where there is none.
    pub fn remove(&self, key: &K) -> io::Result<()> {
        self.call(DELETE, key, 0)
    }

    fn call(&self, command: libc::c_long, key: &K, value: u64) -> io::Result<()> {
        let key: *const K = key;
        let mut entry = Entry {
            map: self.fd.as_raw_fd().cast_unsigned(),
            reserved: 0,
            key: key.expose_provenance() as u64,
            value,
            flags: ANY,
        };
        // SAFETY: the kernel reads one key and at most one value, whose sizes are those of the map's (checked by
        // `new`, which got them from the kernel); all outlive the call, and none has padding (`Pod`).
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut entry, size_of::<Entry>()) };
        if result == 0 { Ok(()) } else { Err(Error::last_os_error()) }
    }
}

impl<K> Map<K, i32> {
    /// Puts a socket in (a map of sockets has descriptors as values).
    ///
    /// # Errors
    /// As [`Map::put`].
    pub fn put_socket(&self, key: &K, socket: BorrowedFd<'_>) -> io::Result<()>
    where
        K: Pod,
    {
        self.put(key, &socket.as_raw_fd())
    }
}

impl<K, V> AsFd for Map<K, V> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
