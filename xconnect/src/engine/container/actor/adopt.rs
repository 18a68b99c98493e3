//! What a former engine left: runs that go on, exits that nobody learned of, halves of containers.

use std::fs;
use std::io;

use super::{Actor, Next};
use crate::engine::container::instance::Instance;
use crate::engine::container::{Policy, Record, RuntimeSpec, State};
use crate::engine::runtime::files::{self, Running};
use crate::sys::process;

/// What is left of a run.
enum Found {
    /// It goes on, or its shim is still cleaning up.
    Run(Instance),
    /// It is over.
    Ended,
    /// It had not begun.
    Half,
}

impl Actor {
    /// Takes over what the record says.
    pub(super) async fn adopt(&mut self) {
        self.record = match Record::load(&self.dir) {
            Ok(record) => record,
            Err(error) => {
                tracing::warn!(container = %self.spec.name, %error, "cannot read the container's state; starting anew");
                self.clean_up().await;
                Record::default()
            }
        };
        if self.record.run_hash.is_empty() && self.record.external.is_none() {
            return;
        }
        if self.record.boot != boot() {
            // No process and no cgroup of then is left, whatever the numbers say.
            self.dir.remove_run();
            self.record = Record::default();
            return;
        }
        let same = self.record.run_hash == self.spec.run_hash();
        if same {
            (self.recovery.retries, self.recovery.failed) = (self.record.retries, self.record.failed);
        } else {
            self.record.user_stopped = false;
        }
        if let Some(process) = self.record.external() {
            if self.spec.runtime != RuntimeSpec::External {
                // From now on ours to run; what the other runtime makes of its process is not.
                self.record = Record::default();
                self.save();
                return;
            }
            self.on_register(process);
            if self.instance.is_none() {
                self.forget_external("its process ended while nobody watched");
            }
            return;
        }
        match self.record.run.clone() {
            Some(id) => self.adopt_run(id, same).await,
            None => self.adopt_rest(same),
        }
    }

    async fn adopt_run(&mut self, id: String, same: bool) {
        match self.look_for(&id) {
            Found::Run(instance) => {
                tracing::info!(container = %self.spec.name, pid = instance.process.pid, "adopted a running container");
                self.begin_run(instance);
                if !same {
                    self.stop(Next::Hold).await;
                } else if self.record.user_stopped {
                    self.stop(Next::Rest).await;
                }
            }
            Found::Ended => {
                let (exit, time) = self.learn_exit(&id);
                self.clean_up().await;
                self.next = match (same, self.record.user_stopped) {
                    (false, _) => Next::Hold,
                    (true, true) => Next::Rest,
                    (true, false) => Next::Recover,
                };
                self.on_exit(exit, time).await;
            }
            Found::Half => {
                tracing::warn!(container = %self.spec.name, "cleaning up a container that was half made");
                self.clean_up().await;
                self.record.run = None;
                self.save();
                self.set_state(self.waiting());
            }
        }
    }

    /// It was not running when the former engine ended.
    fn adopt_rest(&mut self, same: bool) {
        if !same {
            return;
        }
        let always = self.spec.recovery.policy == Policy::Always;
        let rests = if self.record.user_stopped {
            self.record.user_stopped = !always;
            !always
        } else {
            self.record.last_exit.is_some() && !self.record.recovering
        };
        if rests {
            self.set_state(State::Stopped);
        }
    }

    fn look_for(&self, id: &str) -> Found {
        let running = match files::read::<Running>(&self.dir.running()) {
            Ok(running) => running.filter(|running| running.id == id),
            Err(error) => {
                tracing::warn!(container = %self.spec.name, %error, "cannot read where the container is");
                None
            }
        };
        let Some(running) = running else { return Found::Half };
        let (Some(pid), Some(start)) = (running.pid, running.start) else { return Found::Half };
        if !running.executed {
            return Found::Half;
        }
        let shim = process::open_verified(running.shim_pid, running.shim_start).ok();
        let shim = shim.map(|shim| (running.shim_pid, shim));
        match Instance::open(id.to_owned(), pid, start, shim) {
            Ok(instance) => Found::Run(instance),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(container = %self.spec.name, %error, "cannot watch the container");
                }
                Found::Ended
            }
        }
    }
}

/// Names this boot of the kernel (random(4)).
pub(super) fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_boot_has_a_name() {
        assert_eq!(super::boot().len(), 36);
        assert_eq!(super::boot(), super::boot());
    }
}
