//! Why there is no path through the kernel.

use std::io;
use std::path::PathBuf;

/// Why there is no path through the kernel, for the operator.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unavailable {
    /// By option.
    #[error("switched off (--kernel-flows 0)")]
    SwitchedOff,
    /// The program carries no object.
    #[error("built without eBPF")]
    NotBuilt,
    /// The object of `--bpf-object`.
    #[error("cannot read the eBPF object {path}")]
    NoObject {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// What is in the object.
    #[error("the eBPF object is broken: {0}")]
    BrokenObject(String),
    /// `EPERM` or `EACCES`, or `ENOSYS` as of a seccomp filter.
    #[error("not permitted to {what} ({cause}): it takes CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN, and bpf(2)")]
    NotPermitted {
        /// What was refused.
        what: String,
        /// The kernel's word.
        cause: io::Error,
    },
    /// The kernel's BTF is not there, or not as expected.
    #[error("the kernel's types cannot be read from {path}, which takes CONFIG_DEBUG_INFO_BTF: {why}")]
    NoTypes {
        /// Where they should be.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The verifier's, or of another check of a program.
    #[error("the kernel refused the program {program}: {why}")]
    Refused {
        /// The program's name.
        program: &'static str,
        /// One line.
        why: String,
    },
    /// Another call failed.
    #[error("cannot {what}")]
    Failed {
        /// What could not be done.
        what: String,
        /// The cause.
        source: io::Error,
    },
    /// The kernel took everything, and does not do what it is there for.
    #[error("this kernel does not forward Unix streams: {0}")]
    NotForwarding(String),
}

impl Unavailable {
    /// For a call of the kernel's that failed.
    pub(super) fn call(what: impl Into<String>, source: io::Error) -> Self {
        let what = what.into();
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => Self::NotPermitted { what, cause: source },
            _ => Self::Failed { what, source },
        }
    }

    /// All of it in one line.
    pub(crate) fn reason(&self) -> String {
        crate::api::error::chain(self)
    }
}
