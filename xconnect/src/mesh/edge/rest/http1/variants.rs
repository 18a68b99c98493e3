//! Other spellings of the fields that mean something here.
//!
//! A provider that turns names into variables (CGI, WSGI: RFC 3875 section 4.1.18) takes `X_PV_Role` for
//! `X-PV-Role`, and some take any character that is not a letter or a digit for `_`. What would become one of
//! these fields there must not get by as something else here.

use super::names::{Name, OVERRIDES};

/// Fields of which no other spelling goes on.
const GUARDED: [&str; 17] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What a name is that has more than letters, digits and `-` in it.
pub(super) fn classify(name: &[u8]) -> Name {
    let begins = |prefix: &str| name.len() >= prefix.len() && same(&name[..prefix.len()], prefix);
    if begins("x-pv-") || same(name, "x-pv") {
        return Name::Banned;
    }
    if begins("x-forwarded") {
        return Name::Forwarded;
    }
    if begins("proxy-") {
        return Name::Banned;
    }
    if OVERRIDES.iter().any(|known| same(name, known)) {
        return Name::Override;
    }
    // What is added at the end is taken for a character of the name by some, and for nothing by others.
    let bare = name.iter().rposition(u8::is_ascii_alphanumeric).map_or(name, |last| &name[..=last]);
    if GUARDED.iter().any(|known| same(name, known) || same(bare, known)) {
        return if same(bare, "forwarded") { Name::Forwarded } else { Name::Banned };
    }
    Name::Other
}

/// Whether both are the same to who takes every odd character for `-`.
fn same(name: &[u8], known: &str) -> bool {
    name.len() == known.len()
        && name.iter().zip(known.bytes()).all(|(byte, known)| {
            let byte = if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' };
            byte == known
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spelling_gets_by() {
        for name in [
            "x_pv_role",
            "X.PV.Client",
            "X_PV-Link_Id",
            "x-pv_anything",
            "X_PV",
            "Content_Length",
            "HOST_",
            "Transfer_Encoding",
            "transfer.encoding",
            "Host_",
            "Connection~",
            "Proxy~Authenticate",
            "trace_parent",
        ] {
            let expected = if name == "trace_parent" { Name::Other } else { Name::Banned };
            assert_eq!(classify(name.as_bytes()), expected, "{name}");
        }
        assert_eq!(classify(b"X_Forwarded_For"), Name::Forwarded);
        assert_eq!(classify(b"Forwarded_"), Name::Forwarded);
        assert_eq!(classify(b"my_own_field"), Name::Other);
    }
}
