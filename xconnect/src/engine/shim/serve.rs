//! The life of a shim: take the lock, make the container, report, pump its output, keep its status.

use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{WaitId, WaitIdOptions};
use tracing_subscriber::filter::LevelFilter;

use super::Report;
use super::create::{Created, create};
use super::log::Log;
use crate::engine::container::Exit;
use crate::engine::process::usual_limits;
use crate::engine::runtime::files::{self, ContainerDir, Ended, Running};
use crate::engine::runtime::{Error, Request, cgroup, root};
use crate::instance::{InstanceLock, LockError};
use crate::sys::process;

/// Runs one container and exits.
pub(super) fn main(dir: &Path, id: &str) -> ! {
    process::close_from(3);
    usual_limits();
    let report = match io::stderr().as_fd().try_clone_to_owned() {
        Ok(report) => Arc::new(File::from(report)),
        Err(_) => std::process::exit(2),
    };
    // What the runtime says about an error goes to the engine too, also from the container's side,
    // where only this descriptor is left.
    let log = tracing_subscriber::fmt().with_max_level(LevelFilter::ERROR).without_time().with_ansi(false);
    let log = log.with_target(false).with_level(false).with_writer(Arc::clone(&report)).finish();
    let _ = tracing::subscriber::set_global_default(log);
    let code = match run(&ContainerDir::new(dir), id, &report) {
        Ok(()) => 0,
        Err(error) => {
            tell(&report, &Report::Error(error.to_string()));
            1
        }
    };
    std::process::exit(code)
}

/// Removes all that this run made.
fn clean_up(dir: &ContainerDir, request: &Request) {
    let folder = cgroup::folder(&request.cgroup_root, &request.name);
    // Whatever is left over is found by the engine, before the next run or at its own start.
    let _ = cgroup::remove(&folder);
    root::unstack(&dir.layers());
    dir.remove_run();
}

fn tell(mut report: &File, what: &Report) {
    if let Ok(mut line) = serde_json::to_vec(what) {
        line.push(b'\n');
        // An engine that is gone learns it from the files.
        let _ = report.write_all(&line);
    }
}

fn run(dir: &ContainerDir, id: &str, report: &File) -> Result<(), Error> {
    if process::thread_count().map_err(Error::call("count threads"))? != 1 {
        return Err(Error::Refused("the shim must be single-threaded".to_owned()));
    }
    // Fails only for the leader of a group, which this process may be when started by hand.
    let _ = rustix::process::setsid();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(Error::call("prctl"))?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let shim_pid = std::process::id();
    let shim_start = process::start_time(shim_pid).map_err(Error::call("read the own start time"))?;
    let _lock = be_the_only_one(&dir.lock())?;
    let request: Option<Request> = files::read(&dir.request()).map_err(Error::path("read", dir.request()))?;
    let request = request.filter(|request| request.id == id);
    let request = request.ok_or_else(|| Error::Refused("this run is no longer wanted".to_owned()))?;
    let mut running =
        Running { id: id.to_owned(), shim_pid, shim_start, pid: None, start: None, executed: false };
    let note = |running: &Running| {
        files::write_atomic(&dir.running(), running).map_err(Error::path("write", dir.running()))
    };
    note(&running)?;
    cgroup::join_shims(&request.cgroup_root).map_err(Error::call("join the shims' cgroup"))?;
    let mut log = Log::open(&request.log).map_err(Error::path("open", &request.log))?;

    let result = create(dir, &request).and_then(|mut container| {
        (running.pid, running.start) = (Some(container.pid), Some(container.start));
        note(&running)?;
        match container.execute() {
            Ok(()) => Ok(container),
            Err(error) => {
                container.delete();
                Err(error)
            }
        }
    });
    let mut container = match result {
        Ok(container) => container,
        Err(error) => {
            clean_up(dir, &request);
            return Err(error);
        }
    };
    running.executed = true;
    note(&running)?;
    process::ignore_polite_signals();
    // Better the container than who keeps its exit status; not allowed everywhere.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-900");
    tell(report, &Report::Started { pid: container.pid, start: container.start });
    leave_engine(report);
    let exit = watch(&mut container, &mut log)?;
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let ended = Ended { id: id.to_owned(), exit, pid: container.pid, start: container.start, time };
    files::write_atomic(&dir.exit(), &ended).map_err(Error::path("write", dir.exit()))?;
    container.delete();
    clean_up(dir, &request);
    Ok(())
}

/// Takes the lock that a shim holds for its life; waits a little for a predecessor that is going.
fn be_the_only_one(path: &Path) -> Result<InstanceLock, Error> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match InstanceLock::acquire(path) {
            Ok(lock) => return Ok(lock),
            Err(LockError::File { path, source }) => return Err(Error::path("lock", path)(source)),
            Err(LockError::Held { .. }) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(LockError::Held { .. }) => {
                return Err(Error::Refused("another shim of this container is running".to_owned()));
            }
        }
    }
}

/// Gives up what ties this process to the engine: its pipe. What is said from then on is lost.
fn leave_engine(report: &File) {
    let null = File::options().read(true).write(true).open("/dev/null");
    if let Ok(null) = null {
        let _ = process::replace(io::stderr(), &null);
        // The descriptor number stays in use, so that the logger's writes go nowhere.
        let _ = process::replace(report, &null);
    }
    process::trim_memory();
}

/// Pumps the container's output until its first process ended, and reaps it.
fn watch(container: &mut Created, log: &mut Log) -> Result<Exit, Error> {
    let pidfd = process::open_child(container.pid).map_err(Error::call("pidfd_open"))?;
    let mut open = [true, true];
    for pipe in &container.output {
        rustix::io::ioctl_fionbio(pipe, true).map_err(Error::call("make a pipe non-blocking"))?;
    }
    loop {
        let ended = wait_for_event(&pidfd, &container.output, open).map_err(Error::call("poll"))?;
        for (pipe, open) in container.output.iter_mut().zip(&mut open) {
            *open = *open && drain(pipe, log);
        }
        if ended {
            return reap(&pidfd);
        }
    }
}

fn wait_for_event(pidfd: &OwnedFd, output: &[PipeReader; 2], open: [bool; 2]) -> rustix::io::Result<bool> {
    let mut fds = vec![PollFd::new(pidfd, PollFlags::IN)];
    fds.extend(
        output.iter().zip(open).filter(|(_, open)| *open).map(|(pipe, _)| PollFd::new(pipe, PollFlags::IN)),
    );
    match rustix::event::poll(&mut fds, None) {
        Ok(_) => Ok(!fds[0].revents().is_empty()),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads what is there; false at the end.
fn drain(pipe: &mut PipeReader, log: &mut Log) -> bool {
    let mut buffer = [0; 16 * 1024];
    // A container that writes without end must not keep us from noticing its end: a pipe's worth.
    for _ in 0..64 {
        match pipe.read(&mut buffer) {
            Ok(0) => return false,
            Ok(n) => log.write(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
    true
}

fn reap(pidfd: &OwnedFd) -> Result<Exit, Error> {
    loop {
        match rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
            Ok(Some(status)) => {
                let code = status.exit_status().map(Exit::Code);
                return Ok(code.or(status.terminating_signal().map(Exit::Signal)).unwrap_or(Exit::Unknown));
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::call("waitid")(error)),
        }
    }
}
