//! The path through the kernel: whether there is one, and which links take it.
//!
//! The programs are loaded and tried once, before anything is carried. Where that fails the mesh works all the
//! same, in user space, and says why: at start, in `/status`, and for each link that asked for more.

mod btf;
mod gate;
mod kernel;
mod object;
mod peers;
mod reports;
mod share;
mod slots;
mod unavailable;

use std::borrow::Cow;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use self::kernel::{Features, KernelPath};
#[cfg(test)]
pub(in crate::mesh) use self::object::for_tests;
pub(in crate::mesh) use self::peers::Peers;
pub(crate) use self::reports::Reports;
pub(crate) use self::share::KernelShare;
pub(in crate::mesh) use self::share::Limits;
pub(in crate::mesh) use self::slots::Gate;
use self::unavailable::Unavailable;
use crate::graph::{Forward, Link, SocketType, UnixOptions};

/// Longest object that is read from a file: some 130 KB are usual.
const OBJECT_LIMIT: u64 = 16 << 20;

/// What the operator may choose.
#[derive(Debug, Clone)]
pub struct KernelOptions {
    /// Another object than the one that is part of the program.
    pub object: Option<PathBuf>,
    /// How many flows there can be; 0: no path through the kernel.
    pub flows: u32,
    /// MiB that the send buffers of all connections in the kernel may hold; `None`: by the machine's memory.
    pub send_buffers: Option<u32>,
}

/// The path through the kernel, or why there is none.
#[derive(Debug)]
pub(crate) struct Offload {
    path: Result<Arc<KernelPath>, String>,
    limits: Limits,
}

impl Offload {
    /// Loads and tries the programs. It takes some tenths of a second, and logs what came of it.
    pub(crate) fn start(options: &KernelOptions) -> Self {
        let path = match load(options) {
            Ok(path) => {
                let Features { refuses_rights, traced } = path.features();
                let flows = path.flows();
                tracing::info!(flows, refuses_rights, traced, "streams can go through the kernel");
                Ok(Arc::new(path))
            }
            Err(unavailable) => {
                let reason = unavailable.reason();
                match unavailable {
                    // Somebody's choice, not trouble.
                    Unavailable::SwitchedOff | Unavailable::NotBuilt => {
                        tracing::info!(reason, "everything goes through user space");
                    }
                    _ => tracing::warn!(reason, "everything goes through user space"),
                }
                Err(reason)
            }
        };
        // Reading the object and the kernel's types took much more than is kept of them.
        crate::sys::process::trim_memory();
        Self { path, limits: Limits::new(options) }
    }

    /// The path, or why there is none.
    pub(crate) fn path(&self) -> Result<&Arc<KernelPath>, &str> {
        self.path.as_ref().map_err(String::as_str)
    }

    /// What the programs report, to be followed; once.
    pub(crate) fn reports(&self) -> Option<Reports> {
        self.path.as_ref().ok().and_then(|path| path.reports())
    }

    /// What all links share of it.
    pub(in crate::mesh) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether a link's connections go through the kernel. `Err`: through user space, and why, where something
    /// else was asked for.
    pub(crate) fn decide(&self, link: &Link) -> Result<&Arc<KernelPath>, Option<String>> {
        let features = self.path().map(|path| path.features());
        admit(link.unix, features).map_err(|reason| reason.map(str::to_owned))?;
        self.path.as_ref().map_err(|reason| Some(reason.clone()))
    }

    /// What the link may have of the kernel, where it goes through there at all.
    pub(in crate::mesh) fn share(&self, link: &Link) -> Option<Arc<KernelShare>> {
        let path = self.decide(link).ok()?;
        Some(Arc::new(self.limits.share(path, link.unix.forward)))
    }
}

/// Whether a link with these options may go through a kernel with these features.
fn admit(unix: UnixOptions, kernel: Result<Features, &str>) -> Result<(), Option<&str>> {
    match unix.forward {
        Forward::User => return Err(None),
        Forward::Kernel | Forward::Auto => {}
    }
    let Features { refuses_rights, .. } = kernel.map_err(Some)?;
    if unix.socket_type == SocketType::Seqpacket {
        return Err(Some("seqpacket: only streams can go through the kernel"));
    }
    if !refuses_rights && !unix.lossy_fds {
        return Err(Some(
            "this kernel cannot refuse descriptors (it needs 6.16): set lossy_fds to \"accepted\" in the manifest, \
             or forward to user",
        ));
    }
    Ok(())
}

fn load(options: &KernelOptions) -> Result<KernelPath, Unavailable> {
    if options.flows == 0 {
        return Err(Unavailable::SwitchedOff);
    }
    let object: Cow<'static, [u8]> = match &options.object {
        Some(path) => Cow::Owned(read(path)?),
        None => Cow::Borrowed(object::embedded().ok_or(Unavailable::NotBuilt)?),
    };
    KernelPath::load(&object, options.flows)
}

fn read(path: &Path) -> Result<Vec<u8>, Unavailable> {
    let failed = |source| Unavailable::NoObject { path: path.to_owned(), source };
    let mut object = Vec::new();
    let mut file = std::fs::File::open(path).map_err(failed)?.take(OBJECT_LIMIT + 1);
    file.read_to_end(&mut object).map_err(failed)?;
    if object.len() as u64 > OBJECT_LIMIT {
        return Err(failed(std::io::ErrorKind::FileTooLarge.into()));
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Features = Features { refuses_rights: false, traced: true };
    const NEW: Features = Features { refuses_rights: true, traced: true };

    fn unix(forward: Forward, socket_type: SocketType, lossy_fds: bool) -> UnixOptions {
        UnixOptions { forward, socket_type, lossy_fds }
    }

    #[test]
    fn who_asks_for_user_space_needs_no_reason() {
        let unix = unix(Forward::User, SocketType::Stream, false);
        assert_eq!(admit(unix, Ok(NEW)), Err(None));
        assert_eq!(admit(unix, Err("no")), Err(None));
    }

    #[test]
    fn without_a_path_its_reason_is_told() {
        for forward in [Forward::Kernel, Forward::Auto] {
            assert_eq!(admit(unix(forward, SocketType::Stream, true), Err("no")), Err(Some("no")));
        }
    }

    #[test]
    fn descriptors_are_lost_by_consent_only() {
        let stream = |lossy_fds| unix(Forward::Kernel, SocketType::Stream, lossy_fds);
        assert_eq!(admit(stream(false), Ok(NEW)), Ok(()));
        assert_eq!(admit(stream(true), Ok(OLD)), Ok(()));
        assert!(admit(stream(false), Ok(OLD)).unwrap_err().unwrap().contains("6.16"));
    }

    #[test]
    fn messages_stay_in_user_space() {
        let seqpacket = unix(Forward::Kernel, SocketType::Seqpacket, true);
        assert!(admit(seqpacket, Ok(NEW)).unwrap_err().unwrap().starts_with("seqpacket"));
    }

    #[test]
    fn a_switched_off_path_is_not_even_loaded() {
        let off =
            Offload::start(&KernelOptions { object: Some("/nowhere".into()), flows: 0, send_buffers: None });
        assert_eq!(off.path().unwrap_err(), "switched off (--kernel-flows 0)");
        let gone =
            Offload::start(&KernelOptions { object: Some("/nowhere".into()), flows: 1, send_buffers: None });
        assert!(gone.path().unwrap_err().starts_with("cannot read the eBPF object /nowhere: No such file"));
    }
}
