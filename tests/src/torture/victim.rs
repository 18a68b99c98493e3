//! A process that holds one end of a connection, sends without an end, checks what comes, and is killed.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use rustix::net::{RecvFlags, SendFlags};
use serde::{Deserialize, Serialize};

use super::checker::{Checker, Tail};
use super::dice::Dice;
use super::sender::CHUNK;
use super::words::{Source, THREADS, WORD};
use crate::programs;

/// What it shall do.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// Send words of this thread.
    pub(crate) sends: Option<u16>,
    /// Expect words of threads from this one on.
    pub(crate) receives: u16,
    pub(crate) seed: u64,
}

/// Such a process; killed when dropped.
#[derive(Debug)]
pub(crate) struct Victim(Child);

impl Victim {
    /// Starts it; nobody else holds the socket then.
    pub(crate) fn start(order: &Order, socket: OwnedFd, mark: &Path) -> io::Result<Self> {
        let child = Command::new(programs::pod())
            .arg("victim")
            .arg(serde_json::to_string(order)?)
            .env("XCONNECT_SANDBOX", mark)
            .stdin(Stdio::from(socket))
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self(child))
    }

    /// SIGKILL; returns once the process and its descriptors are gone.
    pub(crate) fn kill(mut self) -> io::Result<ExitStatus> {
        self.0.kill()?;
        self.0.wait()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The process: its end of the connection is its standard input.
///
/// # Errors
/// What ended the connection; that it was not a kill is for the test to judge.
pub fn run(order: &Order) -> io::Result<()> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    // Of the timeouts that its test has set, this process wants none.
    for id in [rustix::net::sockopt::Timeout::Recv, rustix::net::sockopt::Timeout::Send] {
        rustix::net::sockopt::set_socket_timeout(&socket, id, None)?;
    }
    let socket = &socket;
    thread::scope(|scope| {
        let sending =
            order.sends.map(|thread| scope.spawn(move || send(socket, Source::new(thread), order.seed)));
        // The reader is not the judge of a broken pipe: it may yet have something to read.
        let received = receive(socket, order.receives);
        if received.is_err() || sending.is_none() {
            return received;
        }
        sending.map_or(Ok(()), |thread| thread.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())))
    })
}

fn send(socket: &OwnedFd, mut source: Source, seed: u64) -> io::Result<()> {
    let mut dice = Dice::new(seed);
    let mut buffer = vec![0; CHUNK as usize * WORD];
    loop {
        let words = dice.log_uniform(1, CHUNK) as usize;
        let mut rest = &mut buffer[..words * WORD];
        source.fill(rest);
        while !rest.is_empty() {
            let sent = rustix::net::send(socket, &*rest, SendFlags::NOSIGNAL)?;
            rest = &mut rest[sent..];
        }
    }
}

fn receive(socket: &OwnedFd, base: u16) -> io::Result<()> {
    let mut checker = Checker::new(base);
    let mut buffer = vec![0; CHUNK as usize * WORD];
    loop {
        let (count, _) = rustix::net::recv(socket, &mut buffer, RecvFlags::empty())?;
        checker.feed(&buffer[..count]);
        if let Some(first) = checker.first().cloned() {
            let found = checker.finish(&[0; THREADS], Tail::Open);
            return Err(io::Error::other(format!("{found:?}, first {first:?}")));
        }
        if count == 0 {
            return Ok(());
        }
    }
}
