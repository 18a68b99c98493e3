//! Which container is meant, and file systems that hang.

use super::*;
use crate::sys::procfs::ProcDir;

#[tokio::test]
async fn a_recycled_number_is_another_container() {
    let Some((sandbox, container)) = container(Users::Own).await else { return };
    let start = container.identity().start;
    let meant = ProcessId { pid: sandbox.pid(), start: Some(start) };
    assert_eq!(Container::open(meant).await.unwrap().identity(), container.identity());
    let other = ProcessId { start: Some(start - 1), ..meant };
    let refused = Container::open(other).await;
    assert!(matches!(refused, Err(Error::Recycled { .. })), "{refused:?}");
    assert_ne!(container.identity().mnt_ns, ProcDir::own().unwrap().namespace("mnt").unwrap().1);
}

#[tokio::test]
async fn an_exit_is_told_and_ends_every_act() {
    let Some((sandbox, container)) = container(Users::Own).await else { return };
    assert!(!container.has_exited());
    let waits = tokio::spawn({
        let container = Arc::clone(&container);
        async move { container.exited().await }
    });
    sandbox.kill();
    tokio::time::timeout(SOON, waits).await.unwrap().unwrap();
    assert!(container.has_exited());
    let refused = container.plant(&inside("/x"), &spec(), &[]).await;
    assert!(matches!(refused, Err(Error::Exited { .. })), "{refused:?}");
    let gone = Container::open(ProcessId { pid: sandbox.pid(), start: None }).await;
    assert!(matches!(gone, Err(Error::Exited { .. })), "{gone:?}");
}

#[tokio::test]
async fn a_process_that_hangs_costs_only_its_own_container() {
    if !privileged() {
        return;
    }
    let (one, two) = (Sandbox::new(Users::Own).unwrap(), Sandbox::new(Users::Own).unwrap());
    let process = ProcessId { pid: one.pid(), start: None };
    let hung = Container::open_with(process, Duration::from_millis(80)).await.unwrap();
    let fine = open(&two).await;
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let gate = Arc::new(std::sync::Mutex::new(gate));
    for _ in 0..2 {
        let gate = Arc::clone(&gate);
        hung.detach(move || gate.lock().unwrap().recv().unwrap_or_default());
    }
    for _ in 0..3 {
        let stuck = hung.plant(&inside("/run/x"), &spec(), &[]).await;
        assert!(matches!(stuck, Err(Error::Stuck { .. })), "{stuck:?}");
    }
    fine.plant(&inside("/run/x"), &spec(), &[]).await.unwrap();
    // What was given up before it began never happens, not even when the file system comes back.
    drop(release);
    let answers = async { while hung.find_socket(&inside("/other")).await.is_err_and(|e| is_stuck(&e)) {} };
    tokio::time::timeout(SOON, answers).await.unwrap();
    assert!(names(&one.path("/")).is_empty());
}

fn is_stuck(error: &Error) -> bool {
    matches!(error, Error::Stuck { .. })
}

#[tokio::test]
async fn a_plant_that_nobody_waits_for_leaves_nothing() {
    let Some((sandbox, container)) = container(Users::Own).await else { return };
    let (target, spec) = (inside("/x"), spec());
    for turn in 0..200 {
        let mut plant = Box::pin(container.plant(&target, &spec, &[]));
        // Given up before it begins, while it runs or when it is done, as it happens.
        for _ in 0..turn {
            if let Some(made) = poll_once(&mut plant).await {
                container.unplant(&target, &made.unwrap().inode).await.unwrap();
                break;
            }
            std::thread::yield_now();
        }
        drop(plant);
    }
    // What is given up is undone by a job of its own.
    let undone = async {
        while !names(&sandbox.path("/")).is_empty() {
            container.find_socket(&target).await.ok();
        }
    };
    tokio::time::timeout(SOON, undone).await.unwrap();
}

async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    use std::task::Poll;
    let once = std::future::poll_fn(|context| match std::pin::Pin::new(&mut *future).poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    });
    once.await
}

#[tokio::test]
async fn the_host_is_a_container_too() {
    let host = Container::host().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert!(host.find_socket(&inside(path.to_str().unwrap())).await.is_ok());
    assert!(!host.has_exited());
}
