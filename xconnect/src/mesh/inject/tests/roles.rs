//! What a provider sees of a connection, and what its user can do to us.

use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::net::sockopt::socket_peercred;

use super::*;
use crate::graph::Identity;
use crate::sys::fs::sandbox::peer_groups;
use role::Blocking;

struct Provider {
    _dir: tempfile::TempDir,
    listener: UnixListener,
    file: OwnedFd,
}

/// A socket of root's that only root may connect to, in a directory that only root may enter.
fn provider(backlog: i32) -> Provider {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    rustix::net::listen(&listener, backlog).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, rustix::fs::Mode::empty()).unwrap();
    Provider { _dir: dir, listener, file }
}

/// Runs something on a thread that may connect as roles.
fn prepared<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            role::prepare_thread().unwrap();
            act()
        });
        thread.join().unwrap()
    })
}

fn as_role(provider: &Provider, uid: u32, gid: u32, blocking: Blocking) -> std::io::Result<OwnedFd> {
    role::connect(provider.file.as_fd(), SocketType::Stream, Identity { uid, gid }, blocking)
}

#[test]
fn the_provider_sees_the_role_and_no_groups() {
    if !privileged() {
        return;
    }
    let provider = provider(8);
    prepared(|| {
        for (uid, gid) in [(65534, 65534), (1001, 1002), (1001, 1002), (0, 0), (1001, 7)] {
            let ours = as_role(&provider, uid, gid, Blocking::No).unwrap();
            let (theirs, _) = provider.listener.accept().unwrap();
            let seen = socket_peercred(&theirs).unwrap();
            assert_eq!((seen.uid.as_raw(), seen.gid.as_raw()), (uid, gid));
            assert_eq!(peer_groups(&theirs).unwrap(), 0);
            let flags = rustix::fs::fcntl_getfl(&ours).unwrap();
            assert!(flags.contains(rustix::fs::OFlags::NONBLOCK));
            assert!(rustix::io::fcntl_getfd(&ours).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        }
        assert_eq!(rustix::process::getuid().as_raw(), 0);
    });
    // Other threads are what they were.
    assert!(rustix::process::geteuid().is_root());
}

#[test]
fn a_full_backlog_is_told_or_waited_for() {
    if !privileged() {
        return;
    }
    let provider = provider(0);
    prepared(|| {
        let _first = as_role(&provider, 5, 5, Blocking::No).unwrap();
        let full = as_role(&provider, 5, 5, Blocking::No).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::WouldBlock);
        let short = Blocking::Timeout(Duration::from_millis(20));
        assert_eq!(as_role(&provider, 5, 5, short).unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        std::thread::scope(|scope| {
            let accepts =
                scope.spawn(|| (provider.listener.accept().unwrap(), provider.listener.accept().unwrap()));
            let waited = as_role(&provider, 5, 5, Blocking::Timeout(SOON)).unwrap();
            assert!(rustix::fs::fcntl_getfl(&waited).unwrap().contains(rustix::fs::OFlags::NONBLOCK));
            accepts.join().unwrap();
        });
    });
}

#[test]
fn nobody_listening_is_a_refusal() {
    if !privileged() {
        return;
    }
    let Provider { _dir, listener, file } = provider(1);
    drop(listener);
    let refused = connect(file).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::ECONNREFUSED));
}

#[test]
fn a_thread_must_be_prepared() {
    let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let refused = role::connect(one.as_fd(), SocketType::Stream, Identity::NOBODY, Blocking::No).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
}

#[test]
fn a_process_of_the_roles_user_cannot_signal_us() {
    if !privileged() {
        return;
    }
    let provider = provider(8);
    let (uid, gid) = (4_000_123, 4_000_123);
    prepared(|| {
        let _open = as_role(&provider, uid, gid, Blocking::No).unwrap();
        assert_eq!(rustix::process::geteuid().as_raw(), uid);
        let thread = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
        for target in [thread, std::process::id()] {
            // Spawned elsewhere: its parent's ids are root's.
            let output = std::thread::scope(|scope| {
                let kill = scope.spawn(move || {
                    crate::sys::cred::reset_effective().unwrap();
                    let mut sh = Command::new("sh");
                    sh.args(["-c", &format!("kill -0 {target}")]).uid(uid).gid(gid).stdin(Stdio::null());
                    sh.env("LC_ALL", "C").output().unwrap()
                });
                kill.join().unwrap()
            });
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && text.contains("not permitted"), "{text}");
        }
    });
}
