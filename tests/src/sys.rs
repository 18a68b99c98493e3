//! The system calls that no safe wrapper offers: unshare(2), `SO_PEERGROUPS` and `SIOCOUTQ` (unix(7)), and bpf(2).
#![expect(unsafe_code, reason = "unshare(2), getsockopt(SO_PEERGROUPS), ioctl(SIOCOUTQ) and bpf(2) have no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::thread::UnshareFlags;

/// Moves the calling, single-threaded process into namespaces of its own.
///
/// # Errors
/// Those of unshare(2).
pub fn unshare(namespaces: UnshareFlags) -> io::Result<()> {
    // SAFETY: unshare is unsafe for CLONE_FILES, which makes descriptors of other threads stale; the
    // callers ask for namespaces only.
    unsafe { rustix::thread::unshare_unsafe(namespaces.difference(UnshareFlags::FILES))? };
    Ok(())
}

/// The supplementary groups of the process at the other end, as they were when it connected.
///
/// # Errors
/// Those of getsockopt(2).
pub fn peer_groups(socket: impl AsFd) -> io::Result<Vec<u32>> {
    let mut groups = [0u32; 64];
    let mut length = libc::socklen_t::try_from(size_of_val(&groups)).map_err(io::Error::other)?;
    // SAFETY: the kernel writes at most `length` bytes into `groups`, which has that many, and the
    // number it wrote into `length`; both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let count = length as usize / size_of::<u32>();
    Ok(groups.iter().copied().take(count).collect())
}

/// The first fields of `union bpf_attr` for `BPF_MAP_CREATE`.
#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

/// The first fields of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct ProgramLoad {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
}

/// A BPF map with one entry.
///
/// # Errors
/// Those of bpf(2).
pub fn bpf_map(map_type: u32, key_size: u32, value_size: u32) -> io::Result<OwnedFd> {
    const BPF_MAP_CREATE: libc::c_int = 0;
    bpf(BPF_MAP_CREATE, &MapCreate { map_type, key_size, value_size, max_entries: 1 })
}

/// The smallest program of the type that decides about skbs of a SOCKHASH: `return SK_PASS`.
///
/// # Errors
/// Those of bpf(2).
pub fn bpf_verdict() -> io::Result<OwnedFd> {
    const BPF_PROG_LOAD: libc::c_int = 5;
    const BPF_PROG_TYPE_SK_SKB: u32 = 14;
    // r0 = 1 (SK_PASS); exit.
    let instructions: [u64; 2] = [0x0000_0001_0000_00b7, 0x0000_0000_0000_0095];
    let attributes = ProgramLoad {
        program_type: BPF_PROG_TYPE_SK_SKB,
        instruction_count: 2,
        instructions: instructions.as_ptr().expose_provenance() as u64,
        license: c"GPL".as_ptr().expose_provenance() as u64,
    };
    bpf(BPF_PROG_LOAD, &attributes)
}

fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of the attributes, which are plain integers without
    // padding, and what they point to, which outlives the call; what is left out counts as zero.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    let fd = i32::try_from(result).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: both commands return a new descriptor, which belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Bytes (or more, as buffers count whole) that were sent and that the other side has not read yet.
///
/// # Errors
/// Those of ioctl(2).
pub fn unread(socket: impl AsFd) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: TIOCOUTQ (SIOCOUTQ, unix(7)) writes one int to where the pointer shows; it outlives the call.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(count).unwrap_or(0))
}
