//! What the object must hold, no less and no more: the one list that `xconnect-ebpf` is checked against.

/// Programs, as section and function.
pub(super) const PROGRAMS: [(&str, &str); 1] = [("sk_skb/stream_verdict", "verdict")];

/// Maps; `AYA_LOGS` is the logger's.
pub(super) const MAPS: [&str; 3] = ["AYA_LOGS", "FLOWS", "SOCKETS"];
