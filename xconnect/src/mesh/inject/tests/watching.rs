//! Every way in which a path comes to lead elsewhere.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use super::*;

/// Waits, by the watch alone, until a socket is found at the path or is not.
async fn until(watch: &Watch, container: &Arc<Container>, path: &str, found: bool) {
    let waited = tokio::time::timeout(SOON, async {
        loop {
            watch.changed().await;
            match container.find_socket(&inside(path)).await {
                Ok(_) if found => return,
                Err(Error::Missing { .. } | Error::NotADirectory { .. }) if !found => return,
                _ => {}
            }
        }
    });
    waited.await.unwrap_or_else(|_| panic!("no change told for {path}, wanted found = {found}"));
}

fn bind(sandbox: &Sandbox, path: &str) -> UnixListener {
    sandbox.enter(|| UnixListener::bind(path).unwrap())
}

#[tokio::test]
async fn made_and_removed() {
    let Some((sandbox, container)) = container(Users::Own).await else { return };
    std::fs::create_dir(sandbox.path("/run")).unwrap();
    let watcher = Watcher::new().unwrap();
    let watch = watcher.watch(&container, &inside("/run/x"));
    until(&watch, &container, "/run/x", false).await;
    for _ in 0..3 {
        let _provider = bind(&sandbox, "/run/x");
        until(&watch, &container, "/run/x", true).await;
        std::fs::remove_file(sandbox.path("/run/x")).unwrap();
        until(&watch, &container, "/run/x", false).await;
    }
    let _provider = bind(&sandbox, "/run/new");
    std::fs::rename(sandbox.path("/run/new"), sandbox.path("/run/x")).unwrap();
    until(&watch, &container, "/run/x", true).await;
}

#[tokio::test]
async fn parents_that_come_later() {
    let Some((sandbox, container)) = container(Users::Own).await else { return };
    let watcher = Watcher::new().unwrap();
    let watch = watcher.watch(&container, &inside("/a/b/c/x"));
    until(&watch, &container, "/a/b/c/x", false).await;
    for _ in 0..20 {
        std::fs::create_dir_all(sandbox.path("/a/b/c")).unwrap();
        let _provider = bind(&sandbox, "/a/b/c/x");
        until(&watch, &container, "/a/b/c/x", true).await;
        std::fs::remove_dir_all(sandbox.path("/a")).unwrap();
        until(&watch, &container, "/a/b/c/x", false).await;
    }
}

#[tokio::test]
async fn a_link_that_is_switched() {
    let Some((sandbox, container)) = container(Users::Own).await else { return };
    for directory in ["/one", "/two/deep"] {
        std::fs::create_dir_all(sandbox.path(directory)).unwrap();
    }
    let _provider = bind(&sandbox, "/two/deep/x");
    symlink("/one", sandbox.path("/link")).unwrap();
    let watcher = Watcher::new().unwrap();
    let watch = watcher.watch(&container, &inside("/link/x"));
    until(&watch, &container, "/link/x", false).await;
    symlink("one/../two/./deep", sandbox.path("/new")).unwrap();
    std::fs::rename(sandbox.path("/new"), sandbox.path("/link")).unwrap();
    until(&watch, &container, "/link/x", true).await;
    // Through the link, where the socket is.
    std::fs::rename(sandbox.path("/two/deep"), sandbox.path("/two/away")).unwrap();
    until(&watch, &container, "/link/x", false).await;
    std::fs::rename(sandbox.path("/two/away"), sandbox.path("/two/deep")).unwrap();
    until(&watch, &container, "/link/x", true).await;
}

#[tokio::test]
async fn a_socket_that_is_a_link() {
    let Some((sandbox, container)) = container(Users::Own).await else { return };
    std::fs::create_dir(sandbox.path("/var")).unwrap();
    symlink("/var/real", sandbox.path("/x")).unwrap();
    let watcher = Watcher::new().unwrap();
    let watch = watcher.watch(&container, &inside("/x"));
    until(&watch, &container, "/x", false).await;
    let _provider = bind(&sandbox, "/var/real");
    until(&watch, &container, "/x", true).await;
}

#[tokio::test]
async fn a_mount_over_it() {
    let Some((sandbox, container)) = container(Users::Own).await else { return };
    std::fs::create_dir_all(sandbox.path("/run/sub")).unwrap();
    let _provider = bind(&sandbox, "/run/sub/x");
    let watcher = Watcher::new().unwrap();
    let watch = watcher.watch(&container, &inside("/run/sub/x"));
    until(&watch, &container, "/run/sub/x", true).await;
    sandbox.mount_tmpfs("/run");
    until(&watch, &container, "/run/sub/x", false).await;
    std::fs::create_dir(sandbox.path("/run/sub")).unwrap();
    let _other = bind(&sandbox, "/run/sub/x");
    until(&watch, &container, "/run/sub/x", true).await;
    sandbox.enter(|| {
        rustix::mount::unmount("/run", rustix::mount::UnmountFlags::DETACH).unwrap();
        std::fs::remove_file("/run/sub/x").unwrap();
    });
    until(&watch, &container, "/run/sub/x", false).await;
}

#[tokio::test]
async fn a_grandparent_that_is_renamed() {
    let Some((sandbox, container)) = container(Users::Own).await else { return };
    std::fs::create_dir_all(sandbox.path("/a/b/c")).unwrap();
    let _provider = bind(&sandbox, "/a/b/c/x");
    let watcher = Watcher::new().unwrap();
    let watch = watcher.watch(&container, &inside("/a/b/c/x"));
    until(&watch, &container, "/a/b/c/x", true).await;
    std::fs::rename(sandbox.path("/a"), sandbox.path("/z")).unwrap();
    until(&watch, &container, "/a/b/c/x", false).await;
    std::fs::rename(sandbox.path("/z"), sandbox.path("/a")).unwrap();
    until(&watch, &container, "/a/b/c/x", true).await;
}

#[tokio::test]
async fn many_watches_share_directories_and_give_them_back() {
    let Some((sandbox, container)) = container(Users::Own).await else { return };
    std::fs::create_dir(sandbox.path("/run")).unwrap();
    let watcher = Watcher::new().unwrap();
    let paths: Vec<_> = (0..2000).map(|n| inside(&format!("/run/{n}"))).collect();
    let watches: Vec<_> = paths.iter().map(|path| watcher.watch(&container, path)).collect();
    for watch in &watches {
        tokio::time::timeout(SOON, watch.changed()).await.unwrap();
    }
    assert_eq!(watcher.descriptors(), 2);
    let _provider = bind(&sandbox, "/run/1234");
    tokio::time::timeout(SOON, watches[1234].changed()).await.unwrap();
    drop(watches);
    assert_eq!(watcher.descriptors(), 0);
}

#[tokio::test]
async fn a_watch_ends_with_its_container_without_spinning() {
    let Some((sandbox, container)) = container(Users::Own).await else { return };
    let watcher = Watcher::new().unwrap();
    let watch = watcher.watch(&container, &inside("/x"));
    tokio::time::timeout(SOON, watch.changed()).await.unwrap();
    sandbox.kill();
    drop(sandbox);
    drop(watch);
    assert_eq!(watcher.descriptors(), 0);
}

#[tokio::test]
async fn a_queue_that_overflows_fires_every_watch() {
    let Some((sandbox, container)) = container(Users::Own).await else { return };
    let limit = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    std::fs::create_dir(sandbox.path("/busy")).unwrap();
    let watcher = Watcher::new().unwrap();
    let busy = watcher.watch(&container, &inside("/busy/y"));
    let watch = watcher.watch(&container, &inside("/x"));
    until(&busy, &container, "/busy/y", false).await;
    until(&watch, &container, "/x", false).await;
    // The task has no chance to read meanwhile: it is on this very thread.
    for n in 0..=limit / 2 {
        let path = sandbox.path(&format!("/busy/{n}"));
        std::fs::write(&path, "").unwrap();
        std::fs::remove_file(&path).unwrap();
    }
    let _provider = bind(&sandbox, "/x");
    until(&watch, &container, "/x", true).await;
}

#[tokio::test]
async fn where_nothing_can_be_watched_it_is_looked_at_from_time_to_time() {
    let Some((sandbox, container)) = container(Users::Own).await else { return };
    // Takes no watches: EINVAL instead of the ENOSPC of a kernel that has no more.
    let nothing = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
    let watcher = Watcher::on(nothing).unwrap();
    let watch = watcher.watch(&container, &inside("/x"));
    until(&watch, &container, "/x", false).await;
    let _provider = bind(&sandbox, "/x");
    until(&watch, &container, "/x", true).await;
}
