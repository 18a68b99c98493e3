//! Sockets planted, checked, removed and found.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};

use super::*;
use crate::sys::fs::FileKind;

async fn provider(container: &Arc<Container>, path: &str) -> OwnedFd {
    container.find_socket(&inside(path)).await.unwrap().fd
}

#[tokio::test]
async fn a_socket_is_planted_with_its_parents_and_removed() {
    let Some((sandbox, container)) = container(Users::Own).await else { return };
    let target = inside("/run/deep/er/x.sock");
    let planted = container.plant(&target, &spec(), &[]).await.unwrap();
    let stat = std::fs::symlink_metadata(sandbox.path("/run/deep/er/x.sock")).unwrap();
    assert_eq!((stat.permissions().mode() & 0o7777, stat.uid(), stat.gid()), (0o666, 0, 0));
    let parent = std::fs::metadata(sandbox.path("/run/deep")).unwrap();
    assert_eq!(parent.permissions().mode() & 0o7777, 0o755);
    assert_eq!(container.check(&target, &planted.inode).await.unwrap(), Placed::Ours);
    sandbox.enter(|| UnixStream::connect("/run/deep/er/x.sock").map(drop).unwrap());
    assert_eq!(container.unplant(&target, &planted.inode).await.unwrap(), Removed::Yes);
    assert_eq!(container.unplant(&target, &planted.inode).await.unwrap(), Removed::Missing);
    assert_eq!(container.check(&target, &planted.inode).await.unwrap(), Placed::Missing);
    assert_eq!(names(&sandbox.path("/")), ["deep", "er", "run"]);
}

#[tokio::test]
async fn mode_and_owner_are_the_specs() {
    let Some((sandbox, container)) = container(Users::Own).await else { return };
    let spec = SocketSpec { mode: 0o620, uid: Some(7), gid: Some(8), ..spec() };
    container.plant(&inside("/x"), &spec, &[]).await.unwrap();
    let stat = std::fs::symlink_metadata(sandbox.path("/x")).unwrap();
    assert_eq!((stat.permissions().mode() & 0o7777, stat.uid(), stat.gid()), (0o620, 7, 8));
}

#[tokio::test]
async fn what_somebody_else_made_is_left_as_it_is() {
    let Some((sandbox, container)) = container(Users::Own).await else { return };
    std::fs::write(sandbox.path("/file"), "theirs").unwrap();
    std::fs::create_dir(sandbox.path("/directory")).unwrap();
    symlink("/nowhere", sandbox.path("/link")).unwrap();
    let _theirs = sandbox.enter(|| UnixListener::bind("/socket").unwrap());
    let before = names(&sandbox.path("/"));
    for (path, kind) in [
        ("/file", FileKind::File),
        ("/directory", FileKind::Directory),
        ("/link", FileKind::Symlink),
        ("/socket", FileKind::Socket),
    ] {
        let refused = container.plant(&inside(path), &spec(), &[]).await;
        assert!(matches!(refused, Err(Error::Occupied { what, .. }) if what == kind), "{path}: {refused:?}");
        let other = InodeId { dev_major: 0, dev_minor: 0, ino: 1, btime_ns: 1 };
        assert_eq!(container.unplant(&inside(path), &other).await.unwrap(), Removed::NotOurs);
        assert_eq!(container.check(&inside(path), &other).await.unwrap(), Placed::Other);
    }
    assert_eq!(names(&sandbox.path("/")), before);
    assert_eq!(std::fs::read_to_string(sandbox.path("/file")).unwrap(), "theirs");
}

#[tokio::test]
async fn our_own_socket_is_replaced_where_it_is_known() {
    let Some((_sandbox, container)) = container(Users::Own).await else { return };
    let target = inside("/x");
    let first = container.plant(&target, &spec(), &[]).await.unwrap();
    assert!(matches!(container.plant(&target, &spec(), &[]).await, Err(Error::Occupied { .. })));
    let second = container.plant(&target, &spec(), &[first.inode]).await.unwrap();
    assert_ne!(first.inode, second.inode);
    assert_eq!(container.check(&target, &first.inode).await.unwrap(), Placed::Other);
    assert_eq!(container.unplant(&target, &first.inode).await.unwrap(), Removed::NotOurs);
    assert_eq!(container.check(&target, &second.inode).await.unwrap(), Placed::Ours);
}

#[tokio::test]
async fn absolute_links_lead_where_they_lead_inside() {
    let Some((sandbox, container)) = container(Users::Own).await else { return };
    let outside = tempfile::tempdir().unwrap();
    let path = outside.path().to_str().unwrap();
    let _host = UnixListener::bind(outside.path().join("host.sock")).unwrap();
    symlink(path, sandbox.path("/run")).unwrap();
    symlink(format!("../../../..{path}/host.sock"), sandbox.path("/up.sock")).unwrap();
    let dangling = container.plant(&inside("/run/x"), &spec(), &[]).await;
    assert!(matches!(&dangling, Err(Error::DanglingLink { parent, .. }) if parent == "/run"), "{dangling:?}");
    for path in ["/run/host.sock", "/up.sock"] {
        let found = container.find_socket(&inside(path)).await;
        assert!(matches!(found, Err(Error::Missing { .. })), "{found:?}");
    }
    std::fs::create_dir_all(sandbox.path(path)).unwrap();
    container.plant(&inside("/run/sub/x"), &spec(), &[]).await.unwrap();
    assert_eq!(names(outside.path()), ["host.sock"]);
    assert!(sandbox.path(&format!("{path}/sub/x")).exists());
    assert!(container.find_socket(&inside("/run/sub/x")).await.is_ok());
}

#[tokio::test]
async fn parents_that_cannot_be_passed_are_named() {
    let Some((sandbox, container)) = container(Users::Own).await else { return };
    std::fs::write(sandbox.path("/file"), "").unwrap();
    symlink("loop", sandbox.path("/loop")).unwrap();
    let refused = container.plant(&inside("/file/x"), &spec(), &[]).await;
    assert!(matches!(refused, Err(Error::NotADirectory { .. })), "{refused:?}");
    let refused = container.plant(&inside("/loop/x"), &spec(), &[]).await;
    assert!(matches!(refused, Err(Error::LinkLoop { .. })), "{refused:?}");
    let refused = container.find_socket(&inside("/file")).await;
    assert!(matches!(refused, Err(Error::NotASocket { what: FileKind::File, .. })), "{refused:?}");
    let text = refused.unwrap_err().to_string();
    assert_eq!(text, format!("process {}: /file: is a file, not a socket", sandbox.pid()));
}

#[tokio::test]
async fn magic_links_lead_nowhere() {
    let Some((sandbox, container)) = container(Users::Own).await else { return };
    std::fs::create_dir(sandbox.path("/proc")).unwrap();
    sandbox.enter(|| {
        use rustix::mount::{MountFlags, mount};
        mount("proc", "/proc", "proc", MountFlags::empty(), None).unwrap();
    });
    let path = format!("/proc/{}/root/x", std::process::id());
    let refused = container.plant(&inside(&path), &spec(), &[]).await;
    assert!(matches!(refused, Err(Error::LinkLoop { .. })), "{refused:?}");
}

#[tokio::test]
async fn long_paths_and_names_work() {
    let Some((_sandbox, container)) = container(Users::Own).await else { return };
    let long_path = format!("/{}/{}/x", "d".repeat(99), "e".repeat(99));
    let long_name = format!("/{}", "n".repeat(255));
    for path in [long_path, long_name] {
        let planted = container.plant(&inside(&path), &spec(), &[]).await.unwrap();
        connect(provider(&container, &path).await).unwrap();
        rustix::net::accept(&planted.listener).unwrap();
        assert_eq!(container.unplant(&inside(&path), &planted.inode).await.unwrap(), Removed::Yes);
    }
}

#[tokio::test]
async fn a_container_in_a_user_namespace_owns_what_is_planted() {
    let Some((sandbox, container)) = container(Users::From(100_000)).await else { return };
    let planted = container.plant(&inside("/run/x"), &spec(), &[]).await.unwrap();
    for path in ["/run", "/run/x"] {
        let stat = std::fs::symlink_metadata(sandbox.path(path)).unwrap();
        assert_eq!((stat.uid(), stat.gid()), (100_000, 100_000), "{path}");
    }
    let owned = SocketSpec { uid: Some(5), gid: Some(6), mode: 0o600, ..spec() };
    let _held = container.plant(&inside("/run/y"), &owned, &[]).await.unwrap();
    let stat = std::fs::symlink_metadata(sandbox.path("/run/y")).unwrap();
    assert_eq!((stat.uid(), stat.gid(), stat.mode() & 0o777), (100_005, 100_006, 0o600));
    connect(provider(&container, "/run/x").await).unwrap();
    rustix::net::accept(&planted.listener).unwrap();
    connect(provider(&container, "/run/y").await).unwrap();
    let unmapped = SocketSpec { uid: Some(1000), ..spec() };
    let refused = container.plant(&inside("/run/z"), &unmapped, &[]).await;
    assert!(matches!(refused, Err(Error::UnmappedOwner { id: 1000, .. })), "{refused:?}");
    assert_eq!(container.unplant(&inside("/run/x"), &planted.inode).await.unwrap(), Removed::Yes);
    assert_eq!(names(&sandbox.path("/")), ["run", "y"]);
}

#[tokio::test]
async fn sequenced_packets_are_planted_as_such() {
    let Some((_sandbox, container)) = container(Users::Own).await else { return };
    let spec = SocketSpec::new(SocketType::Seqpacket);
    let planted = container.plant(&inside("/x"), &spec, &[]).await.unwrap();
    assert_eq!(
        rustix::net::sockopt::socket_type(&planted.listener).unwrap(),
        rustix::net::SocketType::SEQPACKET
    );
    let refused = connect(provider(&container, "/x").await).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EPROTOTYPE));
}
