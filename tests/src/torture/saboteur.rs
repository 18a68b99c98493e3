//! A relay in the place of the mesh that breaks one thing on purpose.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags, Shutdown};

use super::conn::{Conn, Cuts, Patience};
use super::scenario::{ALL, Play};
use super::stage::Stage;
use super::stats::{Stats, settle};
use super::words::WORD;
use crate::socket::{Kind, Socket};

/// What it does wrong, once in each direction, as soon as this many bytes have passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Nothing,
    /// Drops a word.
    Lose,
    /// Sends a word twice.
    Double,
    /// Swaps two words.
    Swap,
    /// Holds back the last word that has come, and all that follow.
    Hold,
    /// Drops the last bytes before the end.
    Truncate,
    /// Ends both sides.
    Cut,
}

/// Reads all at once, so that whole words come; what came last is kept for a moment, so that something
/// can be done to it.
fn relay(from: &OwnedFd, to: &OwnedFd, fault: Fault) {
    let mut passed = 0;
    let mut done = fault == Fault::Nothing;
    let mut buffer = vec![0; 1 << 16];
    let mut kept = Vec::new();
    loop {
        let count = match rustix::net::recv(from, &mut buffer, RecvFlags::empty()) {
            Ok((count, _)) => count,
            Err(_) => 0,
        };
        if count == 0 {
            break;
        }
        let mut bytes = [kept.as_slice(), &buffer[..count]].concat();
        kept.clear();
        passed += count;
        let words = bytes.len() / WORD;
        if !done && words >= 3 && passed >= 512 {
            done = true;
            match fault {
                Fault::Nothing => {}
                Fault::Lose => drop(bytes.drain(WORD..2 * WORD)),
                Fault::Double => {
                    let word = bytes[WORD..2 * WORD].to_vec();
                    bytes.splice(WORD..WORD, word);
                }
                Fault::Swap => bytes[..2 * WORD].rotate_left(WORD),
                Fault::Hold => {
                    bytes.truncate(bytes.len() - WORD);
                    send(to, &bytes);
                    // Until an end gives up.
                    while matches!(rustix::net::recv(from, &mut buffer, RecvFlags::empty()), Ok((1.., _))) {}
                    break;
                }
                Fault::Cut => {
                    for socket in [from, to] {
                        let _ = rustix::net::shutdown(socket, Shutdown::Both);
                    }
                    return;
                }
                Fault::Truncate => done = false,
            }
        }
        if fault == Fault::Truncate {
            // The last word is sent only once another one has come.
            kept = bytes.split_off(bytes.len() - WORD.min(bytes.len()));
        }
        send(to, &bytes);
    }
    let _ = rustix::net::shutdown(to, Shutdown::Write);
}

fn send(to: &OwnedFd, mut bytes: &[u8]) {
    while let Ok(count) = rustix::net::send(to, bytes, SendFlags::NOSIGNAL) {
        bytes = &bytes[count..];
        if bytes.is_empty() {
            return;
        }
    }
}

/// A stage whose connections go through such a relay.
fn stage(fault: Fault) -> Stage<'static> {
    let (ready, accepts) = mpsc::channel();
    Stage {
        connect: Box::new(move || {
            let (consumer, ours) = Socket::pair(Kind::Stream);
            let (theirs, provider) = Socket::pair(Kind::Stream);
            let ours = std::sync::Arc::new((OwnedFd::from(ours), OwnedFd::from(theirs)));
            for (up, pair) in [(true, ours.clone()), (false, ours)] {
                thread::spawn(move || {
                    let (consumer, provider) = &*pair;
                    if up { relay(consumer, provider, fault) } else { relay(provider, consumer, fault) }
                });
            }
            ready.send(provider).map_err(std::io::Error::other)?;
            Ok(consumer.into())
        }),
        accept: Box::new(move || accepts.recv().map(OwnedFd::from).map_err(std::io::Error::other)),
        mark: PathBuf::new(),
    }
}

/// Plays some connections of a scenario through such a relay.
pub(super) fn play(name: &str, fault: Fault, cuts: Cuts, count: u64) -> (Stats, Vec<String>) {
    let patience = Patience { tick: Duration::from_millis(20), stall: Duration::from_millis(400) };
    let scenario = ALL.iter().find(|scenario| scenario.name == name).expect("a scenario of that name");
    let stage = stage(fault);
    let conns: Vec<_> = (0..count).map(|number| Conn::new(number, number * 7 + 1, cuts, patience)).collect();
    match scenario.play {
        Play::One(play) => {
            for conn in &conns {
                if stage.open(conn).is_ok() {
                    let _ = play(conn, &stage);
                }
            }
        }
        Play::Many(_, play) => play(&conns, &stage),
    }
    let mut stats = Stats::default();
    let mut faults = Vec::new();
    for conn in &conns {
        let (one, fault) = settle(conn);
        stats += one;
        faults.extend(fault);
    }
    (stats, faults)
}
