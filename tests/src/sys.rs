//! The two system calls that no safe wrapper offers: unshare(2) and `SO_PEERGROUPS` (unix(7)).
#![expect(unsafe_code, reason = "unshare(2) and getsockopt(SO_PEERGROUPS) have no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

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
