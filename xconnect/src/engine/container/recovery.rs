//! What happens when a container ends: restart, wait how long, or give up. Pure: no clock, no dice.

use std::time::Duration;

use super::{BackoffPolicy, Exit, Policy};
use crate::manifest::AutoRecovery;

/// The rules of recovery of one container.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RecoveryPolicy {
    /// When to restart.
    pub policy: Policy,
    /// How often; 0: without limit.
    pub max_retries: u32,
    /// The first wait.
    pub retry_delay: Duration,
    /// Each further wait is so many times longer.
    pub backoff_factor: f64,
    /// The longest wait.
    pub max_delay: Duration,
    /// A run longer than this resets the retries; zero: never.
    pub reset_window: Duration,
    /// So long at its goal, and it counts as stable.
    pub stable_timeout: Duration,
    /// When the retries are used up.
    pub backoff_policy: BackoffPolicy,
}

impl Default for RecoveryPolicy {
    fn default() -> Self {
        Self {
            policy: Policy::No,
            max_retries: 0,
            retry_delay: Duration::ZERO,
            backoff_factor: 1.0,
            max_delay: Duration::from_secs(300),
            reset_window: Duration::ZERO,
            stable_timeout: Duration::ZERO,
            backoff_policy: BackoffPolicy::Reboot,
        }
    }
}

impl From<&AutoRecovery> for RecoveryPolicy {
    fn from(manifest: &AutoRecovery) -> Self {
        Self {
            policy: manifest.policy(),
            max_retries: manifest.max_retries(),
            retry_delay: manifest.retry_delay(),
            backoff_factor: manifest.backoff_factor(),
            max_delay: manifest.max_delay(),
            reset_window: manifest.reset_window(),
            stable_timeout: manifest.stable_timeout(),
            backoff_policy: manifest.backoff_policy(),
        }
    }
}

/// From this retry on, a wait of nothing becomes [`FLOOR`]: a container that cannot run must not keep
/// a processor busy.
const FLOOR_FROM: u32 = 4;
const FLOOR: Duration = Duration::from_millis(100);

impl RecoveryPolicy {
    /// The wait before retry `n` (from 1), before jitter.
    fn delay(&self, n: u32) -> Duration {
        let factor = if self.backoff_factor.is_finite() { self.backoff_factor.max(0.0) } else { 1.0 };
        let power = i32::try_from(n.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.retry_delay.as_secs_f64() * factor.powi(power);
        let delay = Duration::try_from_secs_f64(seconds).unwrap_or(self.max_delay).min(self.max_delay);
        if n >= FLOOR_FROM { delay.max(FLOOR) } else { delay }
    }
}

/// What is to be done after an exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It stays stopped, and that is fine.
    Rest,
    /// It is started again after a wait.
    Restart(Duration),
    /// It stays stopped, because the retries are used up.
    GiveUp {
        /// True: the manifest asks for a reboot of the host.
        reboot: bool,
    },
}

/// Counts retries and decides. The caller passes what it measured and a random number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Recovery {
    pub(crate) policy: RecoveryPolicy,
    pub(crate) retries: u32,
    pub(crate) failed: bool,
}

impl Recovery {
    pub(crate) fn new(policy: RecoveryPolicy) -> Self {
        Self { policy, retries: 0, failed: false }
    }

    /// Forgets earlier failures: an operator's start, a new revision.
    pub(crate) fn reset(&mut self) {
        self.retries = 0;
        self.failed = false;
    }

    /// Decides after a run of `ran_for` ended with `exit`. `random` in 0..=1 spreads restarts by ±10 %.
    pub(crate) fn on_exit(&mut self, exit: Exit, ran_for: Duration, random: f64) -> Decision {
        let wanted = match self.policy.policy {
            Policy::No => false,
            Policy::Always | Policy::UnlessStopped => true,
            Policy::OnFailure => !exit.is_success(),
        };
        if !wanted {
            return Decision::Rest;
        }
        if !self.policy.reset_window.is_zero() && ran_for >= self.policy.reset_window {
            self.retries = 0;
        }
        if self.policy.max_retries > 0 && self.retries >= self.policy.max_retries {
            return match self.policy.backoff_policy {
                BackoffPolicy::Reboot => self.give_up(true),
                BackoffPolicy::Never => self.give_up(false),
                BackoffPolicy::After(wait) => {
                    self.retries = 0;
                    Decision::Restart(wait)
                }
            };
        }
        self.retries = self.retries.saturating_add(1);
        let jitter = 0.9 + 0.2 * random.clamp(0.0, 1.0);
        Decision::Restart(self.policy.delay(self.retries).mul_f64(jitter))
    }

    fn give_up(&mut self, reboot: bool) -> Decision {
        self.failed = true;
        Decision::GiveUp { reboot }
    }
}

#[cfg(test)]
mod tests;
