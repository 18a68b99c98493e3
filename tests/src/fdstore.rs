//! An fd store as the engine has one (docs/control-api.md), with handles for a test: what it keeps, how
//! long its answers take, and when it loses its connections.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use serde_json::{Value, json};

use crate::socket::{Kind, Listener, Socket};
use crate::wait::{DEADLINE, OrFail, ensure, eventually};

/// The store. Ends when dropped.
#[derive(Debug)]
pub struct FdStore {
    path: PathBuf,
    shared: Arc<Shared>,
    listener: Option<Listener>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    kept: BTreeMap<String, (Value, OwnedFd)>,
    connections: Vec<Socket>,
    /// How many connections there were.
    count: usize,
    silent: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FdStore {
    /// Listens at this path.
    #[track_caller]
    #[must_use]
    pub fn start(path: &Path) -> Self {
        let mut store = Self { path: path.to_owned(), shared: Arc::default(), listener: None, thread: None };
        store.resume();
        store
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of what is kept.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.shared.lock().kept.keys().cloned().collect()
    }

    /// How many connections there were so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.lock().count
    }

    /// Waits until so many listeners are kept; gives their names.
    #[track_caller]
    pub fn wait_kept(&self, count: usize) -> Vec<String> {
        eventually(format_args!("the store keeps {count}"), || {
            let names = self.names();
            ensure(names.len() == count, format_args!("{names:?}"))?;
            Ok::<_, String>(names)
        })
    }

    /// Answers no list from now on, until [`FdStore::answer`].
    pub fn be_silent(&self) {
        self.shared.lock().silent = true;
    }

    /// Answers again, also what was asked meanwhile.
    pub fn answer(&self) {
        self.shared.lock().silent = false;
        self.shared.changed.notify_all();
    }

    /// Closes all connections and takes no more, until [`FdStore::resume`]. What is kept stays.
    pub fn suspend(&mut self) {
        if let Some(listener) = self.listener.take() {
            // Wakes accept(2) with EINVAL (unix_shutdown in net/unix/af_unix.c).
            let _ = rustix::net::shutdown(&listener, rustix::net::Shutdown::Both);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        for connection in self.shared.lock().connections.drain(..) {
            let _ = rustix::net::shutdown(&connection, rustix::net::Shutdown::Both);
        }
        let _ = std::fs::remove_file(&self.path);
    }

    /// Takes connections again.
    #[track_caller]
    pub fn resume(&mut self) {
        let dir = std::fs::File::open(self.path.parent().or_fail("a directory")).or_fail("directory");
        let name = self.path.file_name().or_fail("a name");
        // Short enough for an address, however long the path is.
        let short = Path::new("/proc/self/fd").join(std::os::fd::AsRawFd::as_raw_fd(&dir).to_string());
        let listener = Listener::bind(Kind::Seqpacket, &short.join(name), 16).or_fail("fd store");
        let fd = std::os::fd::AsFd::as_fd(&listener).try_clone_to_owned().or_fail("dup");
        let shared = Arc::clone(&self.shared);
        self.thread = Some(thread::spawn(move || {
            loop {
                match rustix::net::accept_with(&fd, rustix::net::SocketFlags::CLOEXEC) {
                    Ok(connection) => begin(&shared, Socket::from(connection)),
                    Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                    Err(_) => return,
                }
            }
        }));
        self.listener = Some(listener);
    }
}

impl Drop for FdStore {
    fn drop(&mut self) {
        self.suspend();
        self.answer();
    }
}

fn begin(shared: &Arc<Shared>, connection: Socket) {
    let mut state = shared.lock();
    state.count += 1;
    state.connections.push(connection.dup());
    drop(state);
    let shared = Arc::clone(shared);
    thread::spawn(move || serve(&shared, &connection));
}

fn serve(shared: &Shared, connection: &Socket) {
    loop {
        let mut message = match connection.try_recv(16 * 1024) {
            Ok(message) if message.bytes.is_empty() => return,
            Ok(message) => message,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => return,
        };
        let request: Value = serde_json::from_slice(&message.bytes).or_fail("a request");
        let name = request["name"].as_str().unwrap_or_default().to_owned();
        match request["op"].as_str() {
            Some("put") => {
                let fd = message.fds.pop().or_fail("a put without a descriptor");
                shared.lock().kept.insert(name, (request["meta"].clone(), fd));
            }
            Some("del") => drop(shared.lock().kept.remove(&name)),
            Some("list") => list(shared, connection),
            other => panic!("{other:?} of a fd store"),
        }
    }
}

fn list(shared: &Shared, connection: &Socket) {
    let state = shared.lock();
    let (state, _) = shared
        .changed
        .wait_timeout_while(state, DEADLINE * 4, |state| state.silent)
        .unwrap_or_else(PoisonError::into_inner);
    for (name, (meta, fd)) in &state.kept {
        let answer = json!({"name": name, "meta": meta}).to_string();
        // An error: it has gone meanwhile.
        let _ = connection.try_send(answer.as_bytes(), &[std::os::fd::AsFd::as_fd(fd)]);
    }
    let _ = connection.try_send(br#"{"end": true}"#, &[]);
}
