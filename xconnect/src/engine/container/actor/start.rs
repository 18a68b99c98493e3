//! Starting a container, and deciding what follows its end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::rand::GetRandomFlags;
use tokio::time::Instant;

use super::{Actor, Created, Next, View};
use crate::engine::container::instance::{Instance, end, outlive};
use crate::engine::container::{Decision, Exit, RuntimeSpec, State, StatusGoal};
use crate::engine::runtime::Request;
use crate::engine::runtime::files::{self, ContainerDir, Ended};
use crate::engine::shim::{self, ShimCommand, Starting};
use crate::engine::supervisor::Event;
use crate::sys::process;

impl Actor {
    /// Begins a new run. That it began is on disk before anything is.
    pub(super) async fn start(&mut self) {
        if self.spec.runtime == RuntimeSpec::External {
            return self.set_state(self.waiting());
        }
        let request = self.request();
        self.next = Next::Recover;
        self.record.run_hash = self.spec.run_hash();
        self.record.run = Some(request.id.clone());
        self.record.ready = false;
        self.record.recovering = false;
        self.record.stop_signal = super::stop::stop_signal(&self.spec).await;
        self.set_state(State::Starting);
        self.record.boot = super::adopt::boot();
        if let Err(error) = self.record.save(&self.dir).and_then(|()| self.make_log_dir()) {
            self.reason = Some(format!("cannot write {}: {error}", self.dir.path().display()));
            return self.on_exit(Exit::NotCreated, SystemTime::now()).await;
        }
        let view = Arc::clone(&self.view);
        self.locked_view().shim = None;
        let create = create(self.context.config.shim.clone(), self.dir.clone(), request, view);
        self.starting = Some(Box::pin(create));
    }

    fn request(&self) -> Request {
        let config = &self.context.config;
        let name = self.spec.name.as_str();
        Request {
            id: new_id(),
            name: name.to_owned(),
            runtime: self.spec.runtime.clone(),
            network: self.spec.network,
            hostname: self.spec.hostname.clone().unwrap_or_else(|| host_name(name).to_owned()),
            cgroup_root: config.cgroup_root.clone(),
            log: config.log_dir().join(format!("{name}.log")),
        }
    }

    fn make_log_dir(&self) -> std::io::Result<()> {
        std::fs::create_dir_all(self.context.config.log_dir())
    }

    /// The container runs, or could not be made.
    pub(super) async fn on_created(&mut self, created: Created) {
        match created {
            Ok(instance) => {
                self.reason = None;
                let stopping = self.state == State::Stopping;
                self.begin_run(instance);
                self.context.report(Event::Started { name: self.spec.name.clone() });
                if stopping {
                    self.stop(self.next).await;
                }
            }
            Err(error) => {
                tracing::warn!(container = %self.spec.name, %error, "cannot start the container");
                self.clean_up().await;
                self.reason = Some(error);
                self.on_exit(Exit::NotCreated, SystemTime::now()).await;
            }
        }
    }

    /// A first process is there.
    pub(super) fn begin_run(&mut self, instance: Instance) {
        let age = instance.process.start.and_then(|start| process::age(start).ok()).unwrap_or(Duration::ZERO);
        self.started = Instant::now().checked_sub(age);
        self.restart_at = None;
        self.ask_at = None;
        self.kill_at = None;
        let ready = self.record.ready && self.spec.status_goal == StatusGoal::Ready;
        self.set_state(match instance.is_running() {
            // Over before it was seen; its shim is still cleaning up.
            false => State::Stopping,
            true if ready => State::Ready,
            true => State::Started,
        });
        self.instance = Some(instance);
    }

    /// How the run ended, as its shim wrote it down.
    pub(super) fn learn_exit(&self, id: &str) -> (Exit, SystemTime) {
        match files::read::<Ended>(&self.dir.exit()) {
            Ok(Some(ended)) if ended.id == id => {
                let since = Duration::try_from_secs_f64(ended.time).unwrap_or_default();
                (ended.exit, SystemTime::UNIX_EPOCH + since)
            }
            Ok(_) => (Exit::Unknown, SystemTime::now()),
            Err(error) => {
                tracing::warn!(container = %self.spec.name, %error, "cannot read how the container ended");
                (Exit::Unknown, SystemTime::now())
            }
        }
    }

    /// The run is over and cleaned up.
    pub(super) async fn on_exit(&mut self, exit: Exit, time: SystemTime) {
        let ran_for = self.started.map_or(Duration::ZERO, |started| started.elapsed());
        self.instance = None;
        self.started = None;
        self.ask_at = None;
        self.kill_at = None;
        self.record.run = None;
        self.record.last_exit = Some((exit, time));
        self.record.ready = false;
        self.context.report(Event::Exited { name: self.spec.name.clone(), exit });
        let next = std::mem::replace(&mut self.next, Next::Recover);
        match next {
            Next::Remove => return self.remove(),
            Next::Restart => return Box::pin(self.start()).await,
            Next::Hold => self.set_state(self.waiting()),
            Next::Rest => self.set_state(State::Stopped),
            Next::Recover => self.recover(exit, ran_for),
        }
        self.save();
        if let Some(process) = self.registered.take() {
            self.on_register(process);
        }
    }

    fn recover(&mut self, exit: Exit, ran_for: Duration) {
        match self.recovery.on_exit(exit, ran_for, random()) {
            Decision::Restart(wait) => {
                self.record.recovering = true;
                self.restart_at = Some(Instant::now() + wait);
                self.set_state(State::Recovering);
            }
            Decision::Rest => self.set_state(State::Stopped),
            Decision::GiveUp { reboot } => {
                self.reason = Some(match self.reason.take() {
                    Some(reason) => format!("retries used up: {reason}"),
                    None => format!("retries used up: {exit}"),
                });
                self.set_state(State::Stopped);
                self.context.report(Event::RecoveryExhausted { name: self.spec.name.clone(), reboot });
            }
        }
    }

    /// Writes the record down.
    pub(super) fn save(&mut self) {
        self.record.boot = super::adopt::boot();
        self.record.retries = self.recovery.retries;
        self.record.failed = self.recovery.failed;
        if let Err(error) = self.record.save(&self.dir) {
            tracing::error!(container = %self.spec.name, %error, "cannot write the container's state");
        }
    }
}

async fn create(
    command: ShimCommand,
    dir: ContainerDir,
    request: Request,
    view: Arc<Mutex<View>>,
) -> Created {
    let id = request.id.clone();
    // A process of the container may ask for something before its shim told of it.
    let known = move |pid| view.lock().unwrap_or_else(PoisonError::into_inner).shim = Some(pid);
    let spawn = tokio::task::spawn_blocking(move || shim::spawn(&command, &dir, &request, known));
    let mut starting = spawn.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let result = starting.wait().await;
    let Starting { shim, child, .. } = starting;
    match result {
        Ok((pid, start)) => match Instance::open(id, pid, start, Some((child.id(), shim))) {
            Ok(instance) => Ok(instance),
            Err(error) => {
                end(child).await;
                Err(format!("cannot watch the container: {error}"))
            }
        },
        Err(error) => {
            outlive(shim, child).await;
            Err(error.to_string())
        }
    }
}

/// The longest name of a host (`__NEW_UTS_LEN`, uname(2)), in bytes.
const HOST_NAME_MAX: usize = 64;

/// A container's name as far as a host can have it.
fn host_name(name: &str) -> &str {
    &name[..name.floor_char_boundary(HOST_NAME_MAX)]
}

fn random() -> f64 {
    f64::from(u16::from_le_bytes(random_bytes())) / f64::from(u16::MAX)
}

fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Neither an identifier nor a spread needs more than the kernel has at hand.
    let _ = rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty());
    bytes
}

fn new_id() -> String {
    format!("{:032x}", u128::from_le_bytes(random_bytes()))
}

#[cfg(test)]
mod tests {
    use super::host_name;

    #[test]
    fn a_host_name_has_64_bytes_at_most() {
        assert_eq!(host_name("web"), "web");
        assert_eq!(host_name(&"x".repeat(80)).len(), 64);
        let wide = "ä".repeat(33) + "x";
        assert_eq!(host_name(&wide), "ä".repeat(32));
        assert_eq!(host_name(&format!("x{wide}")).len(), 63);
    }
}
