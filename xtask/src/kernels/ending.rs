//! How a guest ended, told from the exit status of QEMU.

use std::process::ExitStatus;

/// The device isa-debug-exit ends QEMU with `code × 2 + 1`. The codes of the scripts are far from those that
/// QEMU has for its own errors, which are 1 and 2.
const fn of_code(code: i32) -> i32 {
    code * 2 + 1
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Every test passed.
    Passed,
    /// All ran, and some failed.
    Failed,
    /// The guest did not come as far as the tests, and said why.
    Broken,
    /// It restarted, which QEMU takes for the end: the kernel's answer to a panic.
    Panicked,
    /// QEMU gave up, or was ended by another: what it said of it.
    Qemu(String),
}

impl Ending {
    /// Reads the status.
    pub(super) fn of(status: ExitStatus) -> Self {
        const PASSED: i32 = of_code(32);
        const FAILED: i32 = of_code(33);
        const BROKEN: i32 = of_code(34);
        match status.code() {
            Some(PASSED) => Self::Passed,
            Some(FAILED) => Self::Failed,
            Some(BROKEN) => Self::Broken,
            Some(0) => Self::Panicked,
            _ => Self::Qemu(status.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn a_guests_code_is_told_from_qemus() {
        let exited = |code: i32| Ending::of(ExitStatus::from_raw(code << 8));
        assert_eq!(exited(65), Ending::Passed);
        assert_eq!(exited(67), Ending::Failed);
        assert_eq!(exited(69), Ending::Broken);
        assert_eq!(exited(0), Ending::Panicked);
        assert_eq!(exited(1), Ending::Qemu("exit status: 1".to_owned()));
        assert!(matches!(Ending::of(ExitStatus::from_raw(9)), Ending::Qemu(_)));
    }
}
