//! The process inside a test's container. Started by the harness, never by hand.

use std::io;
use std::path::Path;

use xconnect_tests::pod::{files, namespaces, server};
use xconnect_tests::socket::{Kind, Socket};
use xconnect_tests::torture::victim;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["outer", setup] => std::process::exit(namespaces::outer(&serde_json::from_str(setup)?)?),
        ["inner", setup] => namespaces::inner(&serde_json::from_str(setup)?),
        // A process of an engine's container; further arguments only mark it.
        ["serve", path, ..] => serve(Path::new(path)),
        // One end of a connection, which the test will kill.
        ["victim", order] => victim::run(&serde_json::from_str(order)?),
        ["exit", code, ..] => std::process::exit(code.parse().map_err(io::Error::other)?),
        ["kill", pid] => {
            let pid = pid.parse().ok().and_then(rustix::process::Pid::from_raw);
            let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
            let errno = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            std::process::exit(errno.err().map_or(0, rustix::io::Errno::raw_os_error));
        }
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn serve(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = files::listen(path, Kind::Seqpacket, 16)?;
    println!("serving");
    loop {
        let channel = rustix::net::accept_with(&listener, rustix::net::SocketFlags::CLOEXEC)?;
        std::thread::spawn(move || server::serve(&Socket::from(channel)));
    }
}
