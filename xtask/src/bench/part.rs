//! The processes that benches start: this program again, inside a mount namespace or as a relay.

use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use rustix::mount::{MountFlags, mount};

use super::{load, rest};

/// The reference relay's buffer, per direction.
const BUFFER: usize = 256 * 1024;

/// Options of the hidden verb `bench-part`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// A container's process: mounts an empty /run where asked, serves sockets, and stays.
    Pod {
        /// Mount a tmpfs over /run: for pods in a mount namespace of their own.
        #[arg(long)]
        private_run: bool,
        /// Sockets to serve.
        sockets: Vec<PathBuf>,
    },
    /// A container's process that serves HTTP on this socket, and stays.
    Origin { socket: PathBuf },
    /// The frozen reference: a plain copying relay with two threads a connection.
    Relay { listen: PathBuf, connect: PathBuf },
}

pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    match options.part {
        Part::Pod { private_run, sockets } => pod(private_run, &sockets),
        Part::Origin { socket } => origin(&socket),
        Part::Relay { listen, connect } => relay(&listen, &connect),
    }
}

/// Says `ready` on standard output once it serves, and ends with its standard input.
fn pod(private_run: bool, sockets: &[PathBuf]) -> anyhow::Result<()> {
    if private_run {
        mount("tmpfs", "/run", "tmpfs", MountFlags::NODEV | MountFlags::NOSUID, None)
            .context("tmpfs on /run")?;
    }
    for path in sockets {
        let listener = listen(path)?;
        thread::Builder::new().spawn(move || load::serve(&listener))?;
    }
    ready_until_the_end()
}

/// As a pod, with the origin of `bench rest`.
fn origin(socket: &Path) -> anyhow::Result<()> {
    let listener = listen(socket)?;
    thread::Builder::new().spawn(move || rest::origin::serve(&listener))?;
    ready_until_the_end()
}

fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    let listener = UnixListener::bind(path).with_context(|| path.display().to_string())?;
    // Any role may connect: what the mesh lets through is its own decision.
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    Ok(listener)
}

fn ready_until_the_end() -> anyhow::Result<()> {
    println!("ready");
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

fn relay(listen: &Path, connect: &Path) -> anyhow::Result<()> {
    let listener = UnixListener::bind(listen).with_context(|| listen.display().to_string())?;
    println!("ready");
    for stream in listener.incoming() {
        let (stream, connect) = (stream?, connect.to_owned());
        thread::Builder::new().spawn(move || pass(&stream, &connect))?;
    }
    Ok(())
}

fn pass(consumer: &UnixStream, provider: &Path) -> io::Result<()> {
    let provider = UnixStream::connect(provider)?;
    thread::scope(|scope| {
        scope.spawn(|| copy(consumer, &provider));
        copy(&provider, consumer)
    })
}

fn copy(mut from: &UnixStream, mut to: &UnixStream) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer)? {
            0 => return to.shutdown(Shutdown::Write),
            count => to.write_all(&buffer[..count])?,
        }
    }
}
