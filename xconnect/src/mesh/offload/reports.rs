//! What the programs in the kernel report themselves (aya-log): events that should never be. The connection that
//! one belongs to is cut for it by its relay, which knows the link.

use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::mesh::limiter::{Limiter, limited};
use crate::sys::register::register;
use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Level, Log, Metadata, Record};
use tokio::io::Interest;

/// The ring buffer with the reports. It is read by [`Reports::follow`].
pub(crate) struct Reports(EbpfLogger<ToTracing>);

impl std::fmt::Debug for Reports {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Reports")
    }
}

impl Reports {
    /// `None` for an object that makes none, or where there is no memory for the ring.
    pub(super) fn of(ebpf: &mut Ebpf) -> Option<Self> {
        EbpfLogger::init_with_logger(ebpf, ToTracing::default())
            .map(Self)
            .inspect_err(|error| tracing::debug!("nothing is told by the programs in the kernel: {error}"))
            .ok()
    }

    /// Logs what comes, for ever.
    pub(crate) async fn follow(mut self) {
        let ring = self.0.as_fd().try_clone_to_owned().and_then(|ring| register(ring, Interest::READABLE));
        let Ok(ring) = ring else { return };
        while let Ok(mut ready) = ring.readable().await {
            ready.clear_ready();
            // Another object (`--bpf-object`) may write what cannot be read.
            if catch_unwind(AssertUnwindSafe(|| self.0.flush())).is_err() {
                tracing::warn!("the programs in the kernel report what cannot be read; no more of it");
                return;
            }
        }
    }
}

/// From the one facade of logging to the other.
#[derive(Default)]
struct ToTracing {
    limiter: Limiter,
}

impl Log for ToTracing {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let report = record.args();
        match record.level() {
            Level::Error | Level::Warn => limited!(warn, self.limiter, "report", "in the kernel: {report}"),
            Level::Info | Level::Debug | Level::Trace => tracing::debug!("in the kernel: {report}"),
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_without_reports_is_fine() {
        // Any level is a line of ours, none a panic.
        for level in [Level::Error, Level::Trace] {
            ToTracing::default()
                .log(&Record::builder().level(level).args(format_args!("flow {}", 7)).build());
        }
        assert!(ToTracing::default().enabled(&Metadata::builder().build()));
    }
}
