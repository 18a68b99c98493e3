//! Children that belong to a session of their own (setsid(2)).
#![expect(unsafe_code, reason = "Command runs code between fork and exec only through an unsafe call")]

use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Lets the child lead a session of its own: no terminal's signals reach it, and it outlives us.
pub fn own_session(command: &mut Command) -> &mut Command {
    // SAFETY: the closure makes one async-signal-safe system call and touches no memory but its result.
    unsafe { command.pre_exec(|| rustix::process::setsid().map(drop).map_err(Into::into)) }
}
