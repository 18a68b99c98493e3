//! Example container: checks from inside what its `rest` link does and what it refuses, every few seconds.
//!
//! Each check has a line, `check ok: …` or `check failed: …`; after a round a line that starts with `ok:` says
//! that all went well, one with `failed:` that the link did what it must not do. Runs as PID 1 of a container that
//! holds this one static program. It waits for the socket to appear.

mod checks;
mod http;
mod steady;

use std::io;
use std::path::Path;
use std::time::Duration;
use std::{env, process, thread};

use checks::{CHECKS, Failure};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// The `target` of the service in `args.json`.
const SOCKET: &str = "/run/pv/services/network-manager.sock";
/// Between two rounds.
const INTERVAL: Duration = Duration::from_secs(3);
/// Before a round that could not be made is tried again.
const AGAIN: Duration = Duration::from_millis(100);

fn main() {
    let socket = env::args().nth(1).unwrap_or_else(|| SOCKET.to_owned());
    if let Err(error) = run(Path::new(&socket)) {
        eprintln!("pv-example-rest-client: {error}");
        process::exit(1);
    }
}

fn run(socket: &Path) -> io::Result<()> {
    stop_on_signal()?;
    println!("waiting for {}", socket.display());
    let steady = socket.to_owned();
    thread::Builder::new().spawn(move || ask_steadily(&steady))?;
    let mut told = None;
    loop {
        match round(socket) {
            Ok(()) => {
                println!("ok: all {} checks", CHECKS.len());
                told = None;
                thread::sleep(INTERVAL);
            }
            Err(Failure::Wrong(names)) => {
                println!("failed: {names}");
                thread::sleep(INTERVAL);
            }
            Err(Failure::NotYet(why)) => {
                if told.as_ref() != Some(&why) {
                    println!("not there yet: {why}");
                    told = Some(why);
                }
                thread::sleep(AGAIN);
            }
        }
    }
}

/// Every check once, with a line for each.
fn round(socket: &Path) -> Result<(), Failure> {
    let mut wrong = Vec::new();
    for (name, check) in CHECKS {
        match check(socket) {
            Ok(seen) => println!("check ok: {name}: {seen}"),
            Err(Failure::Wrong(why)) => {
                println!("check failed: {name}: {why}");
                wrong.push(name);
            }
            Err(Failure::NotYet(why)) => return Err(Failure::NotYet(format!("{name}: {why}"))),
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failure::Wrong(wrong.join(", "))) }
}

/// A second connection, over which requests go all the time.
fn ask_steadily(socket: &Path) {
    let mut number = 0;
    loop {
        if let Failure::Wrong(why) = steady::talk(socket, &mut number) {
            println!("failed: steady requests, after {number}: {why}");
        }
        thread::sleep(AGAIN);
    }
}

/// PID 1 has no default action for SIGTERM (pid_namespaces(7)).
fn stop_on_signal() -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    thread::Builder::new().spawn(move || {
        if let Some(signal) = signals.forever().next() {
            println!("stopping on signal {signal}");
            process::exit(0);
        }
    })?;
    Ok(())
}
