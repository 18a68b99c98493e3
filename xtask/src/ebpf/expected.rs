//! What the object must hold, no less and no more: the one list that `xconnect-ebpf` is checked against.

/// Programs, as section and function.
pub(super) const PROGRAMS: [(&str, &str); 4] = [
    ("sk_skb/stream_verdict", "verdict"),
    ("raw_tp/sk_data_ready", "data_ready"),
    ("raw_tp/sock_send_length", "sent"),
    ("raw_tp/sock_recv_length", "received"),
];

/// Maps.
pub(super) const MAPS: [&str; 6] = ["AYA_LOGS", "FLOWS", "GATES", "SOURCES", "TARGETS", "TRACED"];
