//! Programs and providers that the process in the container starts.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::files;
use super::protocol::Ran;
use crate::rest::{Plan, Provider, to_lines};
use crate::socket::{Kind, Listener};

/// So much of what a program prints is shown: a packet takes both outputs.
const SHOWN: usize = 24 * 1024;

fn command(program: &[String]) -> io::Result<Command> {
    let (name, arguments) = program.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(name);
    // It is not to depend on who runs the tests.
    command.args(arguments).env("PATH", "/usr/bin:/bin").env("HOME", "/tmp").env("LC_ALL", "C.UTF-8");
    Ok(command)
}

/// Runs a program to its end.
///
/// # Errors
/// Where it cannot be started.
pub fn run(program: &[String], input: &str) -> io::Result<Ran> {
    let mut command = command(program)?;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let input = input.to_owned();
    // It may end without reading all.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    let _ = writer.join();
    let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]).into_owned();
    Ok(Ran { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) })
}

/// Starts a program that runs on.
///
/// # Errors
/// Where it cannot be started.
pub fn start(program: &[String], log: &Path) -> io::Result<()> {
    let log = File::create(log)?;
    let mut child = command(program)?
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    std::thread::spawn(move || child.wait());
    Ok(())
}

/// Those that serve, by their sockets. They do so for as long as the process lives.
static PROVIDERS: Mutex<BTreeMap<PathBuf, Provider>> = Mutex::new(BTreeMap::new());

/// Serves a socket as a provider of a rest link.
///
/// # Errors
/// Those of bind(2).
pub fn rest_provider(path: &Path, plan: Plan) -> io::Result<()> {
    let listener = Listener::from(files::listen(path, Kind::Stream, 4096)?);
    let provider = Provider::start(&listener, plan);
    PROVIDERS.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), provider);
    Ok(())
}

/// Writes down what it has seen.
///
/// # Errors
/// Where there is no provider at this path, or the file cannot be written.
pub fn rest_records(path: &Path, file: &Path) -> io::Result<()> {
    let providers = PROVIDERS.lock().unwrap_or_else(PoisonError::into_inner);
    let provider = providers.get(path).ok_or(io::ErrorKind::NotFound)?;
    fs::write(file, to_lines(&provider.records()))
}
