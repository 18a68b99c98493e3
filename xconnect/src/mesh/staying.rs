//! Connections that stay in user space on a link that goes through the kernel: how many, and why, for the operator.

use crate::graph::wire::{Counters, Stay};

/// Why some stay.
pub(super) struct Reason {
    /// As a metric's label.
    pub(super) label: &'static str,
    text: &'static str,
}

/// Each reason with its connections.
pub(super) fn reasons(stay: &Stay) -> [(Reason, u64); 5] {
    let reason = |label, text| Reason { label, text };
    [
        (
            reason(
                "one_processor",
                "both ends share one processor (\"forward\": \"auto\" has picked user space)",
            ),
            stay.picked,
        ),
        (
            reason("flows", "as many flows are in the kernel as the link may have (--kernel-flows)"),
            stay.flows,
        ),
        (
            reason(
                "send_buffers",
                "as much memory is given to send buffers as the link may have (--kernel-send-buffers)",
            ),
            stay.send_buffers,
        ),
        (reason("descriptors", "the other links need the descriptors that are left"), stay.descriptors),
        (reason("refused", "the kernel refused them (see the log)"), stay.refused),
    ]
}

/// All that apply, in one line; `None` where no open connection stays.
pub(super) fn text(counters: &Counters) -> Option<String> {
    let open = counters.connections.open;
    let parts: Vec<String> = reasons(&counters.kernel.stay)
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(reason, count)| format!("{count} of {open} connections: {}", reason.text))
        .collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_number() {
        let mut counters = Counters::default();
        assert_eq!(text(&counters), None);
        counters.connections.open = 9;
        counters.kernel.stay = Stay { picked: 2, flows: 1, ..Stay::default() };
        assert_eq!(
            text(&counters).unwrap(),
            "2 of 9 connections: both ends share one processor (\"forward\": \"auto\" has picked user space); \
             1 of 9 connections: as many flows are in the kernel as the link may have (--kernel-flows)"
        );
    }
}
