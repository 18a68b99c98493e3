//! A provider: serves a listening socket in threads, does what its plan says and records what comes.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::net::sockopt::{self, Timeout};
use rustix::net::{Shutdown, SocketFlags};

use super::record::{Connection, Records, Seen};
use super::serve::{Exchange, serve};
use super::steps::{Plan, Step};
use crate::socket::{Listener, Socket};
use crate::wait::{DEADLINE, OrFail, ensure, eventually, patient};

/// What all threads of a provider share.
#[derive(Debug, Default)]
pub struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    plan: Plan,
    records: Vec<Connection>,
    /// Their sockets, to cut them; `None` once they have ended.
    sockets: Vec<Option<Socket>>,
    opened: BTreeSet<String>,
    requests: u64,
    over: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, socket: &Socket) -> u64 {
        let who = socket.peer();
        let mut state = self.lock();
        let id = state.records.len() as u64 + 1;
        let (uid, gid) = (who.uid.as_raw(), who.gid.as_raw());
        state.records.push(Connection { id, uid, gid, ..Connection::default() });
        let socket = socket.dup();
        state.sockets.push(Some(socket));
        id
    }

    fn end(&self, id: u64) {
        self.record(id, |record| record.ended = true);
        if let Some(socket) = self.lock().sockets.get_mut(index(id)) {
            *socket = None;
        }
    }

    /// Takes down a new request.
    pub(super) fn request(&self, id: u64, seen: Seen) {
        let mut state = self.lock();
        state.requests += 1;
        let order = state.requests;
        if let Some(record) = state.records.get_mut(index(id)) {
            record.requests.push(Seen { order, ..seen });
        }
    }

    /// Changes the record of a connection.
    pub(super) fn record(&self, id: u64, change: impl FnOnce(&mut Connection)) {
        if let Some(record) = self.lock().records.get_mut(index(id)) {
            change(record);
        }
    }

    /// What is to be done for a path.
    pub(super) fn steps(&self, path: &str) -> Vec<Step> {
        self.lock().plan.get(path).cloned().unwrap_or_else(|| vec![Step::Body, Step::Report])
    }

    /// Waits for a gate; false where it stays closed.
    pub(super) fn wait_gate(&self, gate: &str) -> bool {
        let closed = |state: &mut State| !state.opened.contains(gate) && !state.over;
        let (state, _) = self
            .changed
            .wait_timeout_while(self.lock(), patient(DEADLINE) * 4, closed)
            .unwrap_or_else(PoisonError::into_inner);
        state.opened.contains(gate)
    }
}

fn index(id: u64) -> usize {
    usize::try_from(id).unwrap_or_default().wrapping_sub(1)
}

/// A running provider. Ends when dropped, with its connections.
#[derive(Debug)]
pub struct Provider {
    shared: Arc<Shared>,
    listener: OwnedFd,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Provider {
    /// None: a place for one that is to come.
    #[track_caller]
    #[must_use]
    pub fn nowhere() -> Self {
        let listener = crate::socket::Kind::Stream.socket().or_fail("socket");
        Self { shared: Arc::default(), listener, thread: None }
    }

    /// Serves this socket.
    #[track_caller]
    #[must_use]
    pub fn start(listener: &Listener, plan: Plan) -> Self {
        let shared = Arc::new(Shared { state: Mutex::new(State { plan, ..State::default() }), ..Shared::default() });
        let dup = || listener.as_fd().try_clone_to_owned().or_fail("dup");
        let (ours, theirs) = (dup(), dup());
        sockopt::set_socket_timeout(&theirs, Timeout::Recv, None).or_fail("no accept timeout");
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || accept(&theirs, &of_thread));
        Self { shared, listener: ours, thread: Some(thread) }
    }

    /// What shall be done for a path from now on.
    pub fn on(&self, path: &str, steps: Vec<Step>) {
        self.shared.lock().plan.insert(path.to_owned(), steps);
    }

    /// Opens a gate.
    pub fn open(&self, gate: &str) {
        self.shared.lock().opened.insert(gate.to_owned());
        self.shared.changed.notify_all();
    }

    /// What it has seen so far.
    #[must_use]
    pub fn records(&self) -> Records {
        Records(self.shared.lock().records.clone())
    }

    /// How many connections there were.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.lock().records.len()
    }

    /// How many there are.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.shared.lock().records.iter().filter(|record| !record.ended).count()
    }

    /// Waits until what it has seen is as wanted.
    #[track_caller]
    pub fn wait(&self, what: &str, wanted: impl Fn(&Records) -> bool) -> Records {
        eventually(format_args!("the provider has seen {what}"), || {
            let records = self.records();
            ensure(wanted(&records), format_args!("{records:#?}"))?;
            Ok::<_, String>(records)
        })
    }

    /// Waits until the head of a request for this path has come.
    #[track_caller]
    pub fn wait_for(&self, path: &str) -> Records {
        self.wait(path, |records| records.requests().any(|seen| seen.path() == path))
    }

    /// Closes all connections that are there, and listens on.
    pub fn cut(&self) {
        for socket in self.shared.lock().sockets.iter().flatten() {
            let _ = rustix::net::shutdown(socket, Shutdown::Both);
        }
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        // Wakes accept(2) with EINVAL (unix_shutdown in net/unix/af_unix.c).
        let _ = rustix::net::shutdown(&self.listener, Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.shared.lock().over = true;
        self.shared.changed.notify_all();
        self.cut();
    }
}

fn accept(listener: &OwnedFd, shared: &Arc<Shared>) {
    while let Ok(connection) = rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
        let socket = Socket::from(connection);
        for timeout in [Timeout::Recv, Timeout::Send] {
            let _ = sockopt::set_socket_timeout(&socket, timeout, None);
        }
        let id = shared.begin(&socket);
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            serve(Exchange::new(id, socket, Arc::clone(&shared)));
            shared.end(id);
        });
    }
}
