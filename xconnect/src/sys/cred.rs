//! Credentials of one thread: effective ids, supplementary groups, securebits (credentials(7)).
//!
//! The kernel keeps credentials per thread. The C library's wrappers change all threads at once, so
//! nothing here goes through them where they do that.
#![expect(unsafe_code, reason = "setfsuid, setfsgid and unshare have no safe wrapper")]

use std::io;

use rustix::process::{Gid, Uid, getgid, getuid};
use rustix::thread::{
    CapabilitiesSecureBits, UnshareFlags, capabilities_secure_bits, set_capabilities_secure_bits,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid, unshare_unsafe,
};

/// The largest id; the one above means "unchanged" to the kernel.
const LARGEST: u32 = u32::MAX - 1;

/// Keeps the calling thread's capabilities when its effective or file system ids leave 0
/// (`SECBIT_NO_SETUID_FIXUP`, capabilities(7)).
///
/// # Errors
/// `EPERM` without `CAP_SETPCAP`.
pub fn keep_capabilities() -> io::Result<()> {
    let bits = capabilities_secure_bits()?;
    if !bits.contains(CapabilitiesSecureBits::NO_SETUID_FIXUP) {
        set_capabilities_secure_bits(bits | CapabilitiesSecureBits::NO_SETUID_FIXUP)?;
    }
    Ok(())
}

/// Takes all supplementary groups from the calling thread.
///
/// # Errors
/// `EPERM` without `CAP_SETGID`.
pub fn drop_groups() -> io::Result<()> {
    Ok(set_thread_groups(&[])?)
}

/// Switches the **effective** ids of the calling thread (its file system ids follow).
///
/// The real and the saved ids stay: with one of them switched too, every process of that user could
/// signal the whole program (kill(2) compares with those two).
///
/// # Errors
/// `EINVAL` for ids that the kernel reserves, `EPERM` without the capabilities. The group may have
/// been switched when the user was not.
pub fn set_effective(uid: u32, gid: u32) -> io::Result<()> {
    if uid > LARGEST || gid > LARGEST {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    set_thread_res_gid(None::<Gid>, Gid::from_raw(gid), None::<Gid>)?;
    set_thread_res_uid(None::<Uid>, Uid::from_raw(uid), None::<Uid>)?;
    Ok(())
}

/// Switches the effective ids of the calling thread back to the real ones. A new thread inherits the
/// ids of the one that started it, which may be one that connects as some role.
///
/// # Errors
/// `EPERM` without the capabilities.
pub fn reset_effective() -> io::Result<()> {
    let (uid, gid) = (getuid(), getgid());
    if rustix::process::getegid() != gid {
        set_thread_res_gid(None::<Gid>, gid, None::<Gid>)?;
    }
    if rustix::process::geteuid() != uid {
        set_thread_res_uid(None::<Uid>, uid, None::<Uid>)?;
    }
    Ok(())
}

/// Sets the ids that own what the calling thread creates (setfsuid(2), setfsgid(2)).
///
/// # Errors
/// `EPERM` where the kernel did not take them; the calls themselves cannot tell.
pub fn set_file_system_ids(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: both take and return plain numbers. The C libraries make them for the calling thread
    // only, and know the system call's 32-bit number on old architectures. All ones is no id: the
    // second call of each changes nothing and returns the current one.
    let taken = unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
        (libc::setfsuid(u32::MAX).cast_unsigned(), libc::setfsgid(u32::MAX).cast_unsigned())
    };
    if taken == (uid, gid) { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EPERM)) }
}

/// Gives the calling thread a umask, root and working directory of its own, and a umask of 0: modes
/// given to mkdir(2) and to sockets hold as they are, whatever the program was started with.
///
/// # Errors
/// Those of unshare(2).
pub fn own_umask() -> io::Result<()> {
    // SAFETY: CLONE_FS concerns umask, root and working directory only: no memory, no descriptors.
    unsafe { unshare_unsafe(UnshareFlags::FS) }?;
    rustix::process::umask(rustix::fs::Mode::empty());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_umask_of_one_thread_is_its_own() {
        std::thread::spawn(|| own_umask().unwrap()).join().unwrap();
        // Reading the umask means writing it: do so on a thread with a copy.
        let mask = std::thread::spawn(|| {
            // SAFETY: as in `own_umask`.
            unsafe { unshare_unsafe(UnshareFlags::FS) }.unwrap();
            rustix::process::umask(rustix::fs::Mode::empty())
        });
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let umask = status.lines().find_map(|line| line.strip_prefix("Umask:")).unwrap().trim();
        assert_eq!(mask.join().unwrap().bits(), u32::from_str_radix(umask, 8).unwrap());
    }

    #[test]
    fn reserved_ids_are_refused() {
        assert_eq!(set_effective(u32::MAX, 0).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(set_effective(0, u32::MAX).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
