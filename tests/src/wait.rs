//! Waiting for the state of another process: one polling loop with a deadline, and no other.

use std::fmt::{Debug, Display};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take. Generous: tests assert what happens, never how fast.
pub const DEADLINE: Duration = Duration::from_secs(15);
/// The variable that multiplies every deadline: an emulated processor is ten times as slow.
const PATIENCE: &str = "XCONNECT_TEST_PATIENCE";

/// A time limit on this machine: that many times as long as the variable says, by default once.
#[track_caller]
#[must_use]
pub fn patient(limit: Duration) -> Duration {
    static FACTOR: OnceLock<u32> = OnceLock::new();
    limit * *FACTOR.get_or_init(|| factor(std::env::var(PATIENCE).ok().as_deref()))
}

#[track_caller]
fn factor(text: Option<&str>) -> u32 {
    let Some(text) = text else { return 1 };
    match text.parse() {
        Ok(factor @ 1..=1000) => factor,
        _ => panic!("{PATIENCE} must be a number from 1 to 1000, and is {text:?}"),
    }
}

/// Polls until `probe` gives a value.
///
/// # Panics
/// After [`DEADLINE`] ([`patient`]), with `what` and the probe's last complaint.
#[track_caller]
pub fn eventually<T, E: Debug>(what: impl Display, probe: impl FnMut() -> Result<T, E>) -> T {
    eventually_within(DEADLINE, what, probe)
}

/// [`eventually`] with a deadline of its own, which [`patient`] stretches too.
///
/// # Panics
/// After the deadline.
#[track_caller]
pub fn eventually_within<T, E: Debug>(
    deadline: Duration,
    what: impl Display,
    mut probe: impl FnMut() -> Result<T, E>,
) -> T {
    let deadline = patient(deadline);
    let end = Instant::now() + deadline;
    let mut pause = Duration::from_millis(1);
    loop {
        match probe() {
            Ok(value) => return value,
            Err(why) if Instant::now() >= end => panic!("not within {deadline:?}: {what}: {why:?}"),
            Err(_) => std::thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Raises a flag when it is dropped, also by a failing test: the threads of a scope that wait for it end,
/// and the failure is seen instead of a hang.
#[derive(Debug)]
pub struct Raise<'a>(pub &'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Turns a condition into a probe's result.
///
/// # Errors
/// The text, where the condition does not hold.
pub fn ensure(condition: bool, why: impl Display) -> Result<(), String> {
    if condition { Ok(()) } else { Err(why.to_string()) }
}

/// Failing a test with a text, at the caller's line.
pub trait OrFail<T> {
    /// The value.
    ///
    /// # Panics
    /// With `what` and the error, where there is none.
    #[track_caller]
    fn or_fail(self, what: impl Display) -> T;
}

impl<T, E: Debug> OrFail<T> for Result<T, E> {
    #[track_caller]
    fn or_fail(self, what: impl Display) -> T {
        match self {
            Ok(value) => value,
            Err(error) => panic!("{what}: {error:?}"),
        }
    }
}

impl<T> OrFail<T> for Option<T> {
    #[track_caller]
    fn or_fail(self, what: impl Display) -> T {
        match self {
            Some(value) => value,
            None => panic!("{what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_a_whole_factor() {
        assert_eq!((factor(None), factor(Some("10"))), (1, 10));
        for wrong in ["", "0", "-1", "1.5", "1001"] {
            assert!(std::panic::catch_unwind(|| factor(Some(wrong))).is_err(), "{wrong:?}");
        }
    }
}
