//! The fields that mean something here.

use super::chars::{Spelling, token_prefix};
use super::variants;

/// What a field is to this proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    ContentLength,
    TransferEncoding,
    Host,
    Connection,
    Te,
    Upgrade,
    Expect,
    Traceparent,
    Tracestate,
    /// `Forwarded`, `X-Forwarded-*`: who sent it on, which only a trusted sender may say.
    Forwarded,
    /// For this hop only: never sent on.
    Hop,
    /// Says that the request is another than its first line says, which some providers believe.
    Override,
    /// Says who the consumer is, which only the mesh may; or is some other spelling of a field of this list.
    Banned,
    /// Goes on as it is.
    Other,
}

/// Fields that change a request's method or path for providers that look at them.
pub(super) const OVERRIDES: [&str; 5] =
    ["x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url"];

/// What a field of this name is.
pub(super) fn classify(name: &[u8], spelling: Spelling) -> Name {
    if spelling == Spelling::Odd {
        return variants::classify(name);
    }
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    let begins = |prefix: &str| {
        name.len() >= prefix.len() && name[..prefix.len()].eq_ignore_ascii_case(prefix.as_bytes())
    };
    match name.first().map_or(0, |first| first | 0x20) {
        b'c' if is("content-length") => Name::ContentLength,
        b'c' if is("connection") => Name::Connection,
        b'e' if is("expect") => Name::Expect,
        b'f' if is("forwarded") => Name::Forwarded,
        b'h' if is("host") => Name::Host,
        b'h' if is("http2-settings") => Name::Hop,
        b'k' if is("keep-alive") => Name::Hop,
        // Some turn it into a variable that means something else (httpoxy).
        b'p' if is("proxy") => Name::Hop,
        b'p' if is("proxy-connection") || is("proxy-authorization") => Name::Hop,
        b't' if is("transfer-encoding") => Name::TransferEncoding,
        b't' if is("te") => Name::Te,
        b't' if is("traceparent") => Name::Traceparent,
        b't' if is("tracestate") => Name::Tracestate,
        b'u' if is("upgrade") => Name::Upgrade,
        b'x' if begins("x-pv-") || is("x-pv") => Name::Banned,
        b'x' if begins("x-forwarded") => Name::Forwarded,
        b'x' if OVERRIDES.iter().any(|known| is(known)) => Name::Override,
        _ => Name::Other,
    }
}

/// Fields that frame, route or authorize a message, and so are never taken from a trailer section
/// (RFC 9110 section 6.5.1), beside those of [`Name`].
pub(super) fn forbidden_in_trailers(name: &[u8], kind: Name) -> bool {
    const OTHERS: [&str; 12] = [
        "authorization",
        "cookie",
        "set-cookie",
        "trailer",
        "cache-control",
        "max-forwards",
        "range",
        "age",
        "date",
        "location",
        "vary",
        "www-authenticate",
    ];
    kind != Name::Other
        || name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"content-"))
        || name.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(b"if-"))
        || name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case(b"proxy-"))
        || OTHERS.iter().any(|other| name.eq_ignore_ascii_case(other.as_bytes()))
}

/// What becomes of a field of a request that HTTP/2 has brought, where there are no fields for one hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    GoesOn,
    /// Goes on where the link keeps these.
    Forwarded,
    /// Goes on where the role has no rules.
    Override,
    /// Never goes on.
    Dropped,
}

/// What becomes of a field of this name.
pub(crate) fn kind_of(name: &[u8]) -> Kind {
    match classify(name, token_prefix(name).1) {
        Name::Forwarded => Kind::Forwarded,
        Name::Override => Kind::Override,
        Name::TransferEncoding
        | Name::Connection
        | Name::Upgrade
        | Name::Expect
        | Name::Hop
        | Name::Banned => Kind::Dropped,
        _ => Kind::GoesOn,
    }
}

/// Whether a field may be in a trailer section; `keep`: the link keeps `Forwarded` and the like.
pub(crate) fn may_be_trailer(name: &[u8], keep: bool) -> bool {
    let kind = classify(name, token_prefix(name).1);
    (kind == Name::Forwarded && keep) || !forbidden_in_trailers(name, kind)
}
