//! A process with a mount namespace and an empty tmpfs root of its own, for tests. It is killed when
//! dropped, and its namespaces with it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Gid, Signal, Uid, WaitId, WaitIdOptions, waitid};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use crate::sys::cred;
use crate::sys::pidfd::PidFd;

/// In which user namespace the process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Users {
    /// The test's.
    Own,
    /// One of its own, whose id 0 is this one outside, and 999 more.
    From(u32),
}

pub(crate) struct Sandbox {
    pid: u32,
    pidfd: PidFd,
    /// The process ends when this is closed, should the test be killed.
    _hold: OwnedFd,
}

/// True where namespaces can be made. Says so where not, and fails where that must not be (`CI`).
pub(crate) fn privileged() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "this test needs root");
    eprintln!("SKIP: needs root to make namespaces");
    false
}

impl Sandbox {
    pub(crate) fn new(users: Users) -> io::Result<Self> {
        let (hold_reader, hold) = pipe_with(PipeFlags::CLOEXEC)?;
        let (ready, ready_writer) = pipe_with(PipeFlags::CLOEXEC)?;
        // SAFETY: the child of a process with threads makes system calls only (`child`): it takes no
        // lock and allocates nothing.
        let forked = unsafe { libc::fork() };
        if forked < 0 {
            return Err(io::Error::last_os_error());
        }
        if forked == 0 {
            // SAFETY: as above; it does not return.
            unsafe { child(users, hold_reader.as_raw_fd(), ready_writer.as_raw_fd()) };
        }
        let pid = forked.cast_unsigned();
        let sandbox = Self { pid, pidfd: PidFd::open(pid)?, _hold: hold };
        drop((hold_reader, ready_writer));
        answer(&ready)?;
        if let Users::From(first) = users {
            for map in ["uid_map", "gid_map"] {
                std::fs::write(format!("/proc/{pid}/{map}"), format!("0 {first} 1000\n"))?;
            }
        }
        rustix::io::write(&sandbox._hold, b"g")?;
        answer(&ready)?;
        Ok(sandbox)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Where the host finds a path of the sandbox, as long as it has no links.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.pid))
    }

    /// Runs something in the sandbox's mount namespace, with its root.
    pub(crate) fn enter<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let namespace = std::fs::File::open(format!("/proc/{}/ns/mnt", self.pid)).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                cred::own_umask().unwrap();
                let kind = Some(LinkNameSpaceType::Mount);
                rustix::thread::move_into_link_name_space(namespace.as_fd(), kind).unwrap();
                act()
            });
            thread.join().unwrap()
        })
    }

    pub(crate) fn mount_tmpfs(&self, at: &str) {
        self.enter(|| rustix::mount::mount("tmpfs", at, "tmpfs", MountFlags::empty(), None).unwrap());
    }

    /// Ends the process and waits for that.
    pub(crate) fn kill(&self) {
        let _ = self.pidfd.signal(Signal::KILL);
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Reads one answer of the child's: 0, or an error number.
fn answer(ready: &OwnedFd) -> io::Result<()> {
    let mut byte = [0];
    match rustix::io::read(ready, &mut byte)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ if byte[0] != 0 => Err(io::Error::from_raw_os_error(i32::from(byte[0]))),
        _ => Ok(()),
    }
}

/// The child's whole life.
///
/// # Safety
/// Only right after fork: it closes all other descriptors.
unsafe fn child(users: Users, hold: RawFd, ready: RawFd) -> ! {
    // SAFETY: plain system calls on numbers; nothing of the parent's is used afterwards.
    unsafe {
        let hold = libc::fcntl(hold, libc::F_DUPFD, 900);
        let ready = libc::fcntl(ready, libc::F_DUPFD, 900);
        libc::syscall(libc::SYS_close_range, 0, 899, 0);
        libc::syscall(libc::SYS_close_range, ready.max(hold) + 1, u32::MAX, 0);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        let mut byte = 0_u8;
        let say = |result: rustix::io::Result<()>| {
            let answer = result.err().map_or(0, |e| e.raw_os_error().to_le_bytes()[0]);
            libc::write(ready, (&raw const answer).cast(), 1);
        };
        let namespaces = match users {
            Users::Own => UnshareFlags::NEWNS,
            Users::From(_) => UnshareFlags::NEWNS | UnshareFlags::NEWUSER,
        };
        say(rustix::thread::unshare_unsafe(namespaces));
        libc::read(hold, (&raw mut byte).cast(), 1);
        say(new_root(users));
        libc::read(hold, (&raw mut byte).cast(), 1);
        libc::_exit(0)
    }
}

fn new_root(users: Users) -> rustix::io::Result<()> {
    if users != Users::Own {
        rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
        rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?;
    }
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change(c"/", private)?;
    rustix::mount::mount(c"tmpfs", c"/tmp", c"tmpfs", MountFlags::empty(), c"mode=0755")?;
    rustix::process::chdir(c"/tmp")?;
    rustix::process::pivot_root(c".", c".")?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")
}

/// How many supplementary groups the peer of a socket has (`SO_PEERGROUPS`, unix(7)).
pub(crate) fn peer_groups(socket: impl AsFd) -> io::Result<usize> {
    let mut groups = [0_u32; 64];
    let mut length = libc::socklen_t::try_from(size_of_val(&groups)).unwrap();
    // SAFETY: the buffer is as long as `length` says, and both outlive the call.
    let got = unsafe {
        let fd = socket.as_fd().as_raw_fd();
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if got < 0 { Err(io::Error::last_os_error()) } else { Ok(length as usize / size_of::<u32>()) }
}
