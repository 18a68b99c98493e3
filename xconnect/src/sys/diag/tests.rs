//! On the kernel that runs; other namespaces need root.

use std::os::unix::net::{UnixListener, UnixStream};

use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::*;
use crate::sys::socket::cookie;

#[test]
fn the_peer_of_a_pair_is_found() {
    let (a, b) = UnixStream::pair().unwrap();
    let diag = DiagSocket::open().unwrap();
    assert_eq!(diag.peer_cookie(a.as_fd()).unwrap(), Some(cookie(b.as_fd()).unwrap()));
    assert_eq!(diag.peer_cookie(b.as_fd()).unwrap(), Some(cookie(a.as_fd()).unwrap()));
    drop(b);
    assert_eq!(diag.peer_cookie(a.as_fd()).unwrap(), None);
}

#[test]
fn a_listener_has_no_peer_and_another_file_no_socket() {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("socket")).unwrap();
    let diag = DiagSocket::open().unwrap();
    assert_eq!(diag.peer_cookie(listener.as_fd()).unwrap(), None);
    assert!(diag.peer_cookie(std::fs::File::open("/dev/null").unwrap().as_fd()).is_err());
}

#[test]
fn an_unread_answer_is_skipped() {
    let (a, b) = UnixStream::pair().unwrap();
    let diag = DiagSocket::open().unwrap();
    for _ in 0..3 {
        rustix::net::send(&diag.netlink, &wire::request(u32::MAX, 1), SendFlags::empty()).unwrap();
    }
    assert_eq!(diag.peer_cookie(a.as_fd()).unwrap(), Some(cookie(b.as_fd()).unwrap()));
}

#[test]
fn many_threads_get_their_own_answers() {
    let diag = DiagSocket::open().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let (a, b) = UnixStream::pair().unwrap();
                    assert_eq!(diag.peer_cookie(a.as_fd()).unwrap(), Some(cookie(b.as_fd()).unwrap()));
                }
            });
        }
    });
}

#[test]
fn a_socket_is_found_in_the_namespace_it_was_made_in() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "needs root");
        eprintln!("SKIP: another network namespace needs root");
        return;
    }
    let pair = || UnixStream::pair().unwrap();
    let there = std::thread::spawn(move || {
        unshare_network();
        [pair(), pair()]
    });
    let [(a, b), (c, d)] = there.join().unwrap();
    let (e, f) = pair();
    let sockets = DiagSockets::default();
    let [other, same, own] = [&a, &c, &e].map(|socket| sockets.of(socket.as_fd()).unwrap());
    assert!(Arc::ptr_eq(&other, &same) && !Arc::ptr_eq(&other, &own));
    for (diag, one, peer) in [(&other, &a, &b), (&same, &c, &d), (&own, &e, &f)] {
        assert_eq!(diag.peer_cookie(one.as_fd()).unwrap(), Some(cookie(peer.as_fd()).unwrap()));
    }
    assert_eq!(own.peer_cookie(a.as_fd()).unwrap_err().kind(), ErrorKind::NotFound);
    drop((other, same));
    drop(sockets.of(a.as_fd()).unwrap());
    assert_eq!(sockets.0.lock().unwrap().values().filter(|socket| socket.strong_count() > 0).count(), 1);
}

#[expect(unsafe_code, reason = "unshare(2) has no safe wrapper")]
fn unshare_network() {
    // SAFETY: NEWNET does not touch the descriptor table, which is what makes unshare unsafe.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
}
