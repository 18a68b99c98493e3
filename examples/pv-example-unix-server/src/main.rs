//! Example container: echoes every byte it gets on a Unix socket, and logs who connected.
//!
//! The container's root file system is this one static program, which runs as PID 1: the kernel gives
//! that process no default action for SIGTERM (pid_namespaces(7)), so it installs a handler.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::{env, fs, process, thread};

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Where `services.json` says the service is.
const SOCKET: &str = "/run/example/raw.sock";

fn main() {
    let socket = env::args().nth(1).unwrap_or_else(|| SOCKET.to_owned());
    if let Err(error) = run(Path::new(&socket)) {
        eprintln!("pv-example-unix-server: {socket}: {error}");
        process::exit(1);
    }
}

fn run(socket: &Path) -> io::Result<()> {
    stop_on_signal()?;
    let listener = listen(socket)?;
    println!("listening on {}", socket.display());
    for (number, stream) in (1_u64..).zip(listener.incoming()) {
        let stream = stream?;
        println!("connection {number}: open, peer is {}", peer(&stream));
        thread::Builder::new().spawn(move || match echo(&stream) {
            Ok(bytes) => println!("connection {number}: closed, {bytes} bytes echoed"),
            Err(error) => println!("connection {number}: {error}"),
        })?;
    }
    Ok(())
}

/// Binds, also where a former run of this container left its socket.
fn listen(socket: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = socket.parent() {
        fs::create_dir_all(directory)?;
    }
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => UnixListener::bind(socket),
    }
}

/// The identity that the mesh gave the connection: the role's, not the mesh's own.
fn peer(stream: &UnixStream) -> String {
    match getsockopt(stream, PeerCredentials) {
        Ok(peer) => format!("uid {} gid {}", peer.uid(), peer.gid()),
        Err(error) => format!("unknown ({error})"),
    }
}

/// Echoes until the peer ends its direction, and says how many bytes there were.
fn echo(mut stream: &UnixStream) -> io::Result<u64> {
    let mut buffer = vec![0; 64 * 1024];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(length) => {
                stream.write_all(&buffer[..length])?;
                total += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

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

#[cfg(test)]
mod tests {
    use std::net::Shutdown;

    use super::*;

    #[test]
    fn echoes_all_bytes_and_the_end() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let server = thread::spawn(move || echo(&theirs).unwrap());
        (&ours).write_all(b"one two").unwrap();
        ours.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        (&ours).read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"one two");
        assert_eq!(server.join().unwrap(), 7);
    }

    #[test]
    fn binds_over_a_socket_left_behind() {
        let directory = env::temp_dir().join(format!("pv-example-unix-server-{}", process::id()));
        let socket = directory.join("deep/raw.sock");
        drop(listen(&socket).unwrap());
        assert!(socket.exists());
        drop(listen(&socket).unwrap());
        fs::remove_dir_all(directory).unwrap();
    }
}
