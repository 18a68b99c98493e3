//! Waiting for the state of another process: one polling loop with a deadline, and no other.

use std::fmt::{Debug, Display};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take. Generous: tests assert what happens, never how fast.
pub const DEADLINE: Duration = Duration::from_secs(15);

/// Polls until `probe` gives a value.
///
/// # Panics
/// After [`DEADLINE`], with `what` and the probe's last complaint.
#[track_caller]
pub fn eventually<T, E: Debug>(what: impl Display, probe: impl FnMut() -> Result<T, E>) -> T {
    eventually_within(DEADLINE, what, probe)
}

/// [`eventually`] with a deadline of its own.
///
/// # Panics
/// After the deadline.
#[track_caller]
pub fn eventually_within<T, E: Debug>(
    deadline: Duration,
    what: impl Display,
    mut probe: impl FnMut() -> Result<T, E>,
) -> T {
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
