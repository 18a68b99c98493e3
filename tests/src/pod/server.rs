//! Carries out requests, one after the other on each channel.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{files, programs};
use super::protocol::{Reply, Request, SERVER_TIMEOUT, receive, send};
use crate::socket::{Kind, Listener, Socket};
use crate::wait::{DEADLINE, patient};

/// Serves one channel until the test closes it.
pub fn serve(channel: &Socket) {
    channel.set_timeout(SERVER_TIMEOUT);
    while let Ok((request, fd)) = receive(channel) {
        let (reply, fd) = match carry_out(request, fd) {
            Ok(done) => done,
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(libc::EPROTO);
                (Reply::Failed { errno, text: error.to_string() }, None)
            }
        };
        if answer(channel, &reply, fd.as_ref()).is_err() {
            return;
        }
    }
}

/// Descriptors on their way are counted for all processes of a user together, and without `CAP_SYS_RESOURCE`
/// there is a limit (`too_many_unix_fds` in net/unix/scm.c): another test may use it up for a while.
fn answer(channel: &Socket, reply: &Reply, fd: Option<&OwnedFd>) -> io::Result<()> {
    let end = Instant::now() + patient(DEADLINE);
    loop {
        match send(channel, reply, fd) {
            Err(error) if error.raw_os_error() == Some(libc::ETOOMANYREFS) && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(1));
            }
            sent => return sent,
        }
    }
}

fn carry_out(request: Request, fd: Option<OwnedFd>) -> io::Result<(Reply, Option<OwnedFd>)> {
    let done = (Reply::Done, None);
    Ok(match request {
        Request::Channel => {
            let channel = Socket::from(fd.ok_or(io::ErrorKind::InvalidInput)?);
            std::thread::spawn(move || serve(&channel));
            done
        }
        Request::Listen { path, kind, backlog } => {
            (Reply::Done, Some(files::listen(Path::new(&path), kind, backlog)?))
        }
        Request::Echo { path } => {
            let listener = files::listen(Path::new(&path), Kind::Stream, 4096)?;
            // It is to serve for as long as the process lives.
            std::mem::forget(Listener::from(listener).echo());
            done
        }
        Request::Connect { path, kind } => (Reply::Done, Some(files::connect(Path::new(&path), kind)?)),
        Request::Churn { path, rounds } => {
            files::churn(Path::new(&path), rounds)?;
            done
        }
        Request::Mkdir { path } => {
            fs::create_dir_all(path)?;
            done
        }
        Request::Remove { path } => {
            files::remove(Path::new(&path))?;
            done
        }
        Request::Symlink { to, path } => {
            std::os::unix::fs::symlink(to, path)?;
            done
        }
        Request::Rename { from, to } => {
            fs::rename(from, to)?;
            done
        }
        Request::Exchange { one, other } => {
            files::exchange(Path::new(&one), Path::new(&other))?;
            done
        }
        Request::Write { path, text } => {
            fs::write(path, text)?;
            done
        }
        Request::Read { path } => (Reply::Text(fs::read_to_string(path)?), None),
        Request::Stat { path } => (Reply::Stat(files::stat(Path::new(&path))?), None),
        Request::List { path } => (Reply::Names(files::list(Path::new(&path))?), None),
        Request::MountTmpfs { path } => {
            files::mount_tmpfs(Path::new(&path))?;
            done
        }
        Request::Race { target, elsewhere, swaps } => {
            files::race(Path::new(&target), Path::new(&elsewhere), swaps)?;
            done
        }
        Request::Run { program, input } => (Reply::Ran(programs::run(&program, &input)?), None),
        Request::Start { program, log } => {
            programs::start(&program, Path::new(&log))?;
            done
        }
        Request::RestProvider { path, plan } => {
            programs::rest_provider(Path::new(&path), plan)?;
            done
        }
        Request::RestRecords { path, file } => {
            programs::rest_records(Path::new(&path), Path::new(&file))?;
            done
        }
        Request::Exit { code } => std::process::exit(code),
    })
}
