//! The client against a store that the test plays.

use rustix::net::SocketType as RawType;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinSet;

use super::wire::Connection;
use super::*;
use crate::api::server::Bound;
use crate::graph::SocketType;
use crate::ids::{ContainerName, InsidePath, LinkKey, ServiceName};
use crate::mesh::ledger::Place;
use crate::sys::fs::InodeId;
use crate::sys::register::register;
use crate::sys::{scm, socket};

/// A store's listening socket.
struct Store {
    bound: Bound,
    listener: AsyncFd<OwnedFd>,
    _dir: tempfile::TempDir,
}

impl Store {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bound = Bound::new(&dir.path().join("fdstore"), RawType::SEQPACKET, 0o600).unwrap();
        let listener = register(bound.listener().try_clone().unwrap(), Interest::READABLE).unwrap();
        Self { bound, listener, _dir: dir }
    }

    async fn accept(&self) -> Accepted {
        let accepted = self.listener.async_io(Interest::READABLE, |listener| socket::accept(listener)).await;
        Accepted(Connection::accepted(accepted.unwrap()))
    }
}

/// A connection, from the store's side.
struct Accepted(Connection);

impl Accepted {
    async fn expect(&self, op: &str, name: Option<&str>) {
        let (bytes, _fd) = self.0.receive().await.unwrap();
        let request: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((request["op"].as_str(), request["name"].as_str()), (Some(op), name));
    }

    fn answer(&self, answer: &serde_json::Value, fds: &[OwnedFd]) {
        scm::send(self.0.as_fd(), answer.to_string().as_bytes(), fds, None).unwrap();
    }

    /// Answers a list: these names, all with the same data.
    async fn list(&self, names: &[&str]) {
        self.expect("list", None).await;
        for name in names {
            self.answer(&serde_json::json!({"name": name, "meta": meta()}), &[null()]);
        }
        self.answer(&serde_json::json!({"end": true}), &[]);
    }
}

fn key(service: &str) -> LinkKey {
    LinkKey {
        consumer: ContainerName::new("web").unwrap(),
        service: ServiceName::new(service).unwrap(),
        target: InsidePath::new("/a").unwrap(),
    }
}

fn meta() -> Meta {
    let place = Place { pid: 1, start: 2, mnt_ns: 3, target: InsidePath::new("/a").unwrap() };
    let inode = InodeId { dev_major: 0, dev_minor: 1, ino: 2, btime_ns: 3 };
    Meta { place, inode, socket_type: SocketType::Stream }
}

fn null() -> OwnedFd {
    std::fs::File::open("/dev/null").unwrap().into()
}

#[tokio::test]
async fn one_connection_to_the_store_serves_as_long_as_the_engine_lives() {
    let server = Store::new();
    let (store, keeper, listed) = FdStore::at(server.bound.path());
    let mut tasks = JoinSet::new();
    tasks.spawn(keeper.run());
    let first = server.accept().await;
    first.list(&[]).await;
    listed.wait().await;
    // Put only when the keeper has had its turns.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let id = key("a").id();
    store.put(id, meta(), null());
    first.expect("put", Some(&id.to_string())).await;
    assert!(socket::accept(server.bound.listener()).is_err(), "nobody connects a second time");
}

#[tokio::test]
async fn a_store_that_comes_back_is_made_to_agree() {
    let server = Store::new();
    let (store, keeper, listed) = FdStore::at(server.bound.path());
    let mut tasks = JoinSet::new();
    tasks.spawn(keeper.run());
    let first = server.accept().await;
    let (saved, lost, left) = (key("saved").id(), key("lost").id(), key("left").id());
    let (saved_name, lost_name, left_name) = (saved.to_string(), lost.to_string(), left.to_string());
    first.list(&[&left_name]).await;
    listed.wait().await;
    store.put(saved, meta(), null());
    store.put(lost, meta(), null());
    first.expect("put", Some(&saved_name)).await;
    first.expect("put", Some(&lost_name)).await;
    drop(first);
    // There is no connection that could tell this.
    store.drop_unwanted(HashSet::from([saved_name.clone(), lost_name.clone(), left_name.clone()]));
    store.del(lost);
    let second = server.accept().await;
    second.list(&[&left_name, &lost_name, &saved_name, "nobody's"]).await;
    second.expect("del", Some(&lost_name)).await;
    second.expect("del", Some("nobody's")).await;
    second.expect("put", Some(&saved_name)).await;
    assert!(store.adopt(left).is_some(), "it is still there for its link");
}

#[tokio::test]
async fn a_list_that_comes_late_is_taken_over_by_those_who_have_nothing_yet() {
    let server = Store::new();
    let (store, keeper, listed) = FdStore::at(server.bound.path());
    let mut tasks = JoinSet::new();
    tasks.spawn(keeper.run());
    let late = server.accept().await;
    listed.wait().await;
    let (waiting, planted, unwanted) = (key("waiting").id(), key("planted").id(), key("unwanted").id());
    store.drop_unwanted(HashSet::from([waiting.to_string(), planted.to_string()]));
    assert!(store.adopt(planted).is_none() && store.adopt(waiting).is_none());
    store.put(planted, meta(), null());
    late.list(&[&unwanted.to_string(), &waiting.to_string(), &planted.to_string()]).await;
    late.expect("del", Some(&unwanted.to_string())).await;
    late.expect("put", Some(&planted.to_string())).await;
    assert!(store.adopt(waiting).is_some());
    assert!(store.adopt(planted).is_none());
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_tried_again() {
    let server = Store::new();
    let (store, keeper, listed) = FdStore::at(server.bound.path());
    let mut tasks = JoinSet::new();
    tasks.spawn(keeper.run());
    let _silent = server.accept().await;
    listed.wait().await;
    let id = key("a").id();
    store.put(id, meta(), null());
    let second = server.accept().await;
    second.list(&[]).await;
    second.expect("put", Some(&id.to_string())).await;
}

#[tokio::test]
async fn a_store_at_a_long_path_is_reached() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("deep-directory/".repeat(14));
    std::fs::create_dir_all(&deep).unwrap();
    let bound = Bound::new(&deep.join("fdstore"), RawType::SEQPACKET, 0o600).unwrap();
    assert!(bound.path().as_os_str().len() > 200);
    let (_store, keeper, _listed) = FdStore::at(bound.path());
    let mut tasks = JoinSet::new();
    tasks.spawn(keeper.run());
    let listener = register(bound.listener().try_clone().unwrap(), Interest::READABLE).unwrap();
    listener.async_io(Interest::READABLE, |listener| socket::accept(listener)).await.unwrap();
}
