//! A container that changes its directories while the mesh works in them.

use std::collections::VecDeque;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::*;

/// How often the container swaps, at least.
const SWAPS: usize = 10_000;
/// How often the mesh plants meanwhile, at least.
const PLANTS: usize = 1_000;

/// Plants and removes until both sides have done enough; what it did itself it may replace.
async fn plant_until(enough: &AtomicBool, container: &Arc<Container>, target: &InsidePath) -> usize {
    let mut known = VecDeque::new();
    let (mut planted, mut tried) = (0, 0);
    while !enough.load(Ordering::Relaxed) || tried < PLANTS {
        tried += 1;
        known.truncate(64);
        match container.plant(target, &spec(), known.make_contiguous()).await {
            Ok(made) => {
                planted += 1;
                known.push_front(made.inode);
                match container.unplant(target, &made.inode).await {
                    Ok(_) | Err(Error::Racing { .. }) => {}
                    Err(e) => panic!("{e:?}"),
                }
            }
            Err(Error::Racing { .. } | Error::Occupied { .. }) => {}
            Err(e) => panic!("{e:?}"),
        }
    }
    planted
}

/// Runs `swap` on a thread while planting goes on.
async fn race(
    container: &Arc<Container>,
    target: &str,
    mut swap: impl FnMut(usize) + Send + 'static,
) -> usize {
    let (enough, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let thread = std::thread::spawn({
        let (enough, over) = (Arc::clone(&enough), Arc::clone(&over));
        move || {
            for turn in 0.. {
                swap(turn);
                if turn == SWAPS {
                    enough.store(true, Ordering::Relaxed);
                }
                if over.load(Ordering::Relaxed) {
                    return;
                }
            }
        }
    });
    let planted = plant_until(&enough, container, &inside(target)).await;
    over.store(true, Ordering::Relaxed);
    thread.join().unwrap();
    planted
}

#[tokio::test]
async fn a_directory_swapped_with_a_link_never_leads_outside() {
    let Some((sandbox, container)) = container(Users::Own).await else { return };
    let outside = tempfile::tempdir().unwrap();
    let elsewhere = outside.path().to_str().unwrap().to_owned();
    for directory in ["/a/target", "/a/other", elsewhere.as_str()] {
        std::fs::create_dir_all(sandbox.path(directory)).unwrap();
    }
    symlink(format!("../../../../../..{elsewhere}"), sandbox.path("/a/link")).unwrap();
    let (target, link, other) =
        (sandbox.path("/a/target"), sandbox.path("/a/link"), sandbox.path("/a/other"));
    let planted = race(&container, "/a/target/x.sock", move |turn| {
        let with = if turn % 3 == 0 { &other } else { &link };
        renameat_with(CWD, &target, CWD, with, RenameFlags::EXCHANGE).unwrap();
    })
    .await;
    assert!(planted > 0);
    assert_eq!(names(outside.path()), Vec::<String>::new());
    let mut left = names(&sandbox.path("/"));
    left.retain(|name| name != "x.sock");
    let mut expected: Vec<_> =
        elsewhere.split('/').skip(1).chain(["a", "target", "other", "link"]).map(str::to_owned).collect();
    expected.sort();
    assert_eq!(left, expected);
}

#[tokio::test]
async fn an_entry_swapped_underneath_costs_only_that_name() {
    let Some((sandbox, container)) = container(Users::Own).await else { return };
    std::fs::create_dir(sandbox.path("/a")).unwrap();
    std::fs::write(sandbox.path("/a/precious"), "theirs").unwrap();
    let (name, spare) = (sandbox.path("/a/x.sock"), sandbox.path("/a/spare"));
    race(&container, "/a/x.sock", move |turn| match turn % 4 {
        0 => std::fs::write(&spare, "mine").unwrap(),
        1 => drop(std::fs::rename(&spare, &name)),
        2 => drop(renameat_with(CWD, &spare, CWD, &name, RenameFlags::EXCHANGE)),
        _ => drop(std::fs::remove_file(&name)),
    })
    .await;
    let mut left = names(&sandbox.path("/"));
    left.retain(|name| name != "x.sock" && name != "spare");
    assert_eq!(left, ["a", "precious"]);
    assert_eq!(std::fs::read_to_string(sandbox.path("/a/precious")).unwrap(), "theirs");
}
