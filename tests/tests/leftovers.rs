//! What a mesh leaves when it is killed: its successor goes on with it, or removes it with the listener
//! that the fd store kept, for a listener that nobody serves holds its consumers for ever.

use std::os::unix::fs::MetadataExt;

use serde_json::json;
use xconnect_tests::fuse::Hung;
use xconnect_tests::mesh::{Pair, Setup};
use xconnect_tests::{Container, FdStore, Kind, OrFail, Sandbox, ensure, eventually, process, run};

/// A link that is up, and a store that keeps its listener.
fn kept(sandbox: &Sandbox) -> (FdStore, Pair) {
    let store = FdStore::start(&sandbox.run_dir().join("store"));
    let setup = Setup { fdstore: Some(store.path().to_owned()), ..Setup::default() };
    let pair = Pair::start_as(sandbox, setup);
    store.wait_kept(1);
    (store, pair)
}

/// Connects are refused, or there is nothing to connect to.
#[track_caller]
fn assert_refused(pair: &Pair, path: &str) {
    eventually(format_args!("a connect to {path} is refused"), || {
        ensure(pair.consumer.try_connect(path, Kind::Stream).is_err(), "somebody took it")
    });
}

#[test]
fn a_listener_is_taken_over_with_those_who_wait_in_it() {
    run(|sandbox| {
        let (store, mut pair) = kept(sandbox);
        let inode = pair.consumer.stat(pair.link.target()).unwrap().inode;
        pair.mesh.kill();
        let early = pair.consumer.connect(pair.link.target());
        early.send(b"early");
        pair.mesh.start_again();
        assert_eq!(pair.listener.accept().recv_exact(5).bytes, b"early");
        assert_eq!(pair.consumer.stat(pair.link.target()).unwrap().inode, inode);
        store.wait_kept(1);
    });
}

#[test]
fn a_socket_whose_grant_was_taken_away_while_no_mesh_ran_is_removed() {
    run(|sandbox| {
        let (store, mut pair) = kept(sandbox);
        pair.mesh.kill();
        let held = pair.consumer.connect(pair.link.target());
        let refused = pair.link.clone().option("refused", "the role is gone");
        pair.mesh.apply(std::slice::from_ref(&refused));
        pair.mesh.start_again();
        pair.mesh.wait_reason(&refused, "failed", "the role is gone");
        assert_refused(&pair, pair.link.target());
        store.wait_kept(0);
        assert!(held.ends());
        eventually("the socket is removed", || ensure(!pair.consumer.exists(pair.link.target()), "there"));
    });
}

#[test]
fn a_socket_whose_link_never_comes_up_again_is_given_up_with_its_listener() {
    run(|sandbox| {
        let (store, mut pair) = kept(sandbox);
        pair.mesh.kill();
        pair.consumer.rename("/run/pv", "/run/away");
        pair.consumer.write("/run/pv", "a file");
        pair.mesh.start_again();
        pair.mesh.wait_reason(&pair.link, "failed", "a parent is not a directory");
        // Nobody can find it by its own path.
        store.wait_kept(0);
        assert_refused(&pair, "/run/away/services/raw.sock");
    });
}

#[test]
fn a_link_that_is_removed_before_it_came_up_again_leaves_nothing() {
    run(|sandbox| {
        let (store, mut pair) = kept(sandbox);
        pair.mesh.kill();
        // The graph says that the consumer does not run, and a moment later that it does not exist.
        let absent = pair.link.clone().with("consumer_pid", -1);
        pair.mesh.apply(std::slice::from_ref(&absent));
        pair.mesh.start_again();
        pair.mesh.wait_reason(&absent, "waiting", "not running");
        pair.mesh.apply(&[]);
        pair.mesh.wait_gone(&absent);
        store.wait_kept(0);
        assert_refused(&pair, pair.link.target());
    });
}

#[test]
fn a_mesh_that_is_stopped_before_it_has_a_graph_leaves_nothing() {
    run(|sandbox| {
        let (store, mut pair) = kept(sandbox);
        pair.mesh.kill();
        pair.mesh.apply_text("no graph");
        pair.mesh.start_again();
        store.wait_kept(1);
        assert_eq!(pair.mesh.stop(), Some(0));
        assert_eq!(store.names(), [""; 0]);
        assert!(!pair.consumer.exists(pair.link.target()));
    });
}

#[test]
fn what_leaves_the_graph_while_the_store_is_away_is_not_kept_when_it_is_back() {
    run(|sandbox| {
        let (mut store, pair) = kept(sandbox);
        store.suspend();
        pair.mesh.apply(&[]);
        pair.mesh.wait_gone(&pair.link);
        store.resume();
        store.wait_kept(0);
    });
}

#[test]
fn a_list_that_comes_late_is_taken_over_all_the_same() {
    run(|sandbox| {
        let (store, mut pair) = kept(sandbox);
        pair.mesh.kill();
        let early = pair.consumer.connect(pair.link.target());
        early.send(b"early");
        pair.mesh.apply_text("no graph yet");
        store.be_silent();
        pair.mesh.start_again();
        assert!(pair.mesh.log().contains("the fd store does not answer"), "it did not wait for it");
        store.answer();
        eventually("the list has come", || {
            ensure(pair.mesh.log().matches("connected to the fd store").count() == 2, "not yet")
        });
        pair.mesh.apply(std::slice::from_ref(&pair.link));
        assert_eq!(pair.listener.accept().recv_exact(5).bytes, b"early");
    });
}

#[test]
fn what_a_late_list_has_for_nobody_is_not_kept() {
    run(|sandbox| {
        let (store, mut pair) = kept(sandbox);
        pair.mesh.kill();
        pair.mesh.apply(&[]);
        store.be_silent();
        pair.mesh.start_again();
        store.answer();
        store.wait_kept(0);
        assert_refused(&pair, pair.link.target());
    });
}

#[test]
fn a_listener_is_taken_over_after_a_passing_error() {
    run(|sandbox| {
        let (_store, mut pair) = kept(sandbox);
        pair.mesh.kill();
        let early = pair.consumer.connect(pair.link.target());
        early.send(b"early");
        // A path that cannot even be asked about.
        pair.consumer.rename("/run/pv", "/run/away");
        pair.consumer.symlink(&format!("/{}", "n".repeat(300)), "/run/pv");
        pair.mesh.start_again();
        pair.mesh.wait_reason(&pair.link, "failed", "openat2");
        pair.consumer.remove("/run/pv");
        pair.consumer.rename("/run/away", "/run/pv");
        pair.mesh.wait(&pair.link, "up");
        assert_eq!(pair.listener.accept().recv_exact(5).bytes, b"early");
    });
}

/// Notes in the record that a former mesh put sockets of these names below a directory of a container.
fn record(sandbox: &Sandbox, container: &Container, dir: &str, names: &[&str]) {
    let namespace = std::fs::metadata(format!("/proc/{}/ns/mnt", container.pid())).or_fail("ns/mnt");
    let mnt_ns = namespace.ino();
    let line = |name: &&str| {
        let place = json!({
            "pid": container.pid(), "start": process::start_time(container.pid()), "mnt_ns": mnt_ns,
            "target": format!("{dir}/{name}"),
        });
        let inode = json!({"dev_major": 0, "dev_minor": 1, "ino": 2, "btime_ns": 3});
        format!("{}\n", json!({"op": "put", "place": place, "inode": inode}))
    };
    let text: String = names.iter().map(line).collect();
    std::fs::write(sandbox.run_dir().join("xconnect-state.json"), text).or_fail("record");
}

#[test]
fn a_file_system_that_hangs_holds_up_no_link_and_no_end() {
    run(|sandbox| {
        let dir = sandbox.new_dir("hung");
        let _hung = Hung::mount(&dir);
        let stuck = Container::start_with(sandbox, false, &[(&dir, "/stuck")]);
        record(sandbox, &stuck, "/stuck/dir", &["a", "b", "c", "d", "e", "f"]);
        let Pair { mut mesh, consumer, link, listener, provider: _provider } = Pair::start(sandbox);
        let _server = listener.echo();
        consumer.connect(link.target()).echo(b"x");
        assert_eq!(mesh.stop(), Some(0));
        assert!(!consumer.exists(link.target()));
        // What could not be removed is for the next one.
        let left = std::fs::read_to_string(sandbox.run_dir().join("xconnect-state.json")).unwrap();
        assert!(left.contains("/stuck/dir/f"), "{left}");
    });
}
