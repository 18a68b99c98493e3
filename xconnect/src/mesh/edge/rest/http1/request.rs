//! A request's head: judged, and written anew for the provider.

use super::chars::{is_target, is_token};
use super::fields::{Field, Fields, HeadLimit, line_at, members};
use super::length;
use super::names::Name;
use super::refusal::Refusal;
use super::trace::{self, Seed};
use crate::graph::{Forwarded, Tracing};

/// Bytes of the longest method that goes on.
const METHOD_MAX: usize = 32;

/// Options of the Connection field: each field of the head is compared with them.
pub(super) const OPTIONS_MAX: usize = 16;

/// The version that a message says it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// The body that follows a request's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// None.
    None,
    /// So many bytes, at least one.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// Whether an option was given.
#[derive(Debug, Clone, Copy, Default)]
struct Options {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    /// It names fields that are dropped.
    names: bool,
}

/// A request's head that may go on.
#[derive(Debug)]
pub struct Request<'a> {
    head: &'a [u8],
    fields: &'a Fields,
    /// The method.
    pub method: &'a str,
    /// The target, in origin form, or `*`.
    pub target: &'a str,
    /// The version of the consumer.
    pub version: Version,
    /// What follows.
    pub body: Body,
    /// The consumer waits for `100 Continue` before it sends its body.
    pub expects: bool,
    /// The connection may become one of another protocol, if the provider agrees.
    pub upgrade: bool,
    /// The consumer wants to go on using the connection.
    pub keep_alive: bool,
    options: Options,
    host: bool,
    trailers: bool,
}

/// How a request is written for the provider.
#[derive(Debug, Clone, Copy)]
pub struct Rewrite<'a> {
    /// The fields that say who the consumer is, each with its CRLF.
    pub identity: &'a [u8],
    /// What becomes of `Forwarded` and `X-Forwarded-*`.
    pub forwarded: Forwarded,
    /// What becomes of `traceparent`.
    pub tracing: Tracing,
    /// The role has rules, so that the first line has to be what the provider goes by.
    pub ruled: bool,
}

impl<'a> Request<'a> {
    /// Judges a whole head, with its empty line, as [`HeadScan`](super::HeadScan) has found it.
    ///
    /// # Errors
    /// Why it does not go on.
    pub fn read(head: &'a [u8], fields: &'a mut Fields, limit: HeadLimit) -> Result<Self, Refusal> {
        if head.len() > limit.0 {
            return Err(Refusal::too_large("its head is too long"));
        }
        let at = if head.starts_with(b"\r\n") { 2 } else { 0 };
        let line = line_at(head, at)?;
        let (method, target, version) = request_line(line)?;
        fields.read(head, at + line.len() + 2)?;
        let fields = &*fields;
        let host = read_host(head, fields, version)?;
        let options = read_connection(head, fields)?;
        let body = read_framing(head, fields, version)?;
        let trailers = read_te(head, fields)?;
        let expects = read_expect(head, fields, version)?;
        let upgrade = options.upgrade
            && version == Version::Http11
            && body == Body::None
            && upgrades_elsewhere(head, fields);
        let keep_alive = !options.close && (version == Version::Http11 || options.keep_alive);
        let request = Self {
            head,
            fields,
            method,
            target,
            version,
            body,
            expects: expects && body != Body::None,
            upgrade,
            keep_alive,
            options,
            host,
            trailers,
        };
        Ok(request)
    }

    /// Writes the head for the provider, as HTTP/1.1, with its empty line.
    pub fn write(&self, rewrite: &Rewrite<'_>, seed: &mut Seed, out: &mut Vec<u8>) {
        out.reserve(self.head.len() + rewrite.identity.len() + 128);
        for part in [self.method, " ", self.target, " HTTP/1.1\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
        if !self.host {
            out.extend_from_slice(b"Host: localhost\r\n");
        }
        let new_trace = rewrite.tracing == Tracing::Make && !self.has_trace();
        for field in self.fields.iter() {
            let goes_on = match field.name {
                Name::Host | Name::ContentLength => true,
                Name::Expect => self.expects,
                Name::Other => !self.is_named(field),
                Name::Override => !rewrite.ruled && !self.is_named(field),
                Name::Traceparent | Name::Tracestate => !new_trace && !self.is_named(field),
                Name::Forwarded => rewrite.forwarded == Forwarded::Keep && !self.is_named(field),
                Name::Upgrade => self.upgrade,
                Name::TransferEncoding | Name::Connection | Name::Te | Name::Hop | Name::Banned => false,
            };
            if goes_on {
                put(out, field.name_in(self.head), field.value_in(self.head));
            }
        }
        if self.body == Body::Chunked {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        match (self.upgrade, self.trailers) {
            (true, _) => out.extend_from_slice(b"Connection: upgrade\r\n"),
            (false, true) => out.extend_from_slice(b"TE: trailers\r\nConnection: TE\r\n"),
            (false, false) => {}
        }
        if new_trace {
            put(out, b"traceparent", seed.traceparent().as_bytes());
        }
        out.extend_from_slice(rewrite.identity);
        out.extend_from_slice(b"\r\n");
    }

    fn has_trace(&self) -> bool {
        let mut traces = self.fields.iter().filter(|field| field.name == Name::Traceparent);
        let first = traces.next();
        traces.next().is_none() && first.is_some_and(|field| trace::is_valid(field.value_in(self.head)))
    }

    /// Whether the Connection field says that a field is for this hop only.
    fn is_named(&self, named: &Field) -> bool {
        self.options.names
            && self
                .fields
                .iter()
                .filter(|field| field.name == Name::Connection)
                .flat_map(|field| members(field.value_in(self.head)))
                .any(|option| option.eq_ignore_ascii_case(named.name_in(self.head)))
    }

    /// Whether the request may be sent a second time (RFC 9110 section 9.2.2), its body left aside.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        matches!(self.method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
    }
}

/// Writes a field line.
pub(super) fn put(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn request_line(line: &[u8]) -> Result<(&str, &str, Version), Refusal> {
    const BAD: Refusal = Refusal::bad("its first line is not METHOD TARGET HTTP/1.1");
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(BAD);
    };
    if !is_token(method) || method.len() > METHOD_MAX {
        return Err(Refusal::bad("its method is not a token"));
    }
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(Refusal { status: 505, what: "its version is not HTTP/1.0 or HTTP/1.1" });
        }
        _ => return Err(BAD),
    };
    if method == b"CONNECT" {
        return Err(Refusal::unimplemented("CONNECT is not done here"));
    }
    let origin = target.first() == Some(&b'/') || (target == b"*" && method == b"OPTIONS");
    if !origin || !is_target(target) {
        return Err(Refusal::bad("its target is not a path"));
    }
    // Both are ASCII.
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| BAD);
    Ok((text(method)?, text(target)?, version))
}

/// Whether there is a Host (RFC 9112 section 3.2).
fn read_host(head: &[u8], fields: &Fields, version: Version) -> Result<bool, Refusal> {
    let Some(host) = fields.only(head, Name::Host, "it has two Host fields")? else {
        return match version {
            Version::Http10 => Ok(false),
            Version::Http11 => Err(Refusal::bad("it has no Host field")),
        };
    };
    if is_host(host) { Ok(true) } else { Err(Refusal::bad("its Host is not the name of a host")) }
}

/// Whether this is `uri-host [":" port]` (RFC 9110 section 7.2), or nothing.
pub(crate) fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host {
        [b'[', rest @ ..] => match rest.iter().position(|byte| *byte == b']') {
            Some(end) => {
                let address = &rest[..end];
                if address.is_empty() || !address.iter().all(|b| b.is_ascii_hexdigit() || b":.".contains(b)) {
                    return false;
                }
                (&b""[..], &rest[end + 1..])
            }
            None => return false,
        },
        _ => host.split_at(host.iter().position(|byte| *byte == b':').unwrap_or(host.len())),
    };
    let in_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=".contains(byte);
    let port_fits = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    name.iter().all(in_name) && port_fits
}

fn read_connection(head: &[u8], fields: &Fields) -> Result<Options, Refusal> {
    let mut options = Options::default();
    let mut count = 0;
    for field in fields.iter().filter(|field| field.name == Name::Connection) {
        for option in members(field.value_in(head)) {
            let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
            count += 1;
            if count > OPTIONS_MAX {
                return Err(Refusal::bad("its Connection field has too many options"));
            } else if !is_token(option) {
                return Err(Refusal::bad("an option of its Connection field is not a token"));
            } else if is("close") {
                options.close = true;
            } else if is("keep-alive") {
                options.keep_alive = true;
            } else if is("upgrade") {
                options.upgrade = true;
            } else if is("content-length") || is("transfer-encoding") || is("host") {
                return Err(Refusal::bad("its Connection field names one that every hop needs"));
            } else {
                options.names = true;
            }
        }
    }
    Ok(options)
}

fn read_framing(head: &[u8], fields: &Fields, version: Version) -> Result<Body, Refusal> {
    let length = fields.only(head, Name::ContentLength, "it has two Content-Length fields")?;
    let coding = fields.only(head, Name::TransferEncoding, "it has two Transfer-Encoding fields")?;
    match (length, coding) {
        (None, None) => Ok(Body::None),
        (Some(_), Some(_)) => Err(Refusal::bad("it has both Content-Length and Transfer-Encoding")),
        (Some(length), None) => match length::read(length) {
            Some(0) => Ok(Body::None),
            Some(length) => Ok(Body::Length(length)),
            None => Err(Refusal::bad("its Content-Length is not one plain number")),
        },
        (None, Some(_)) if version == Version::Http10 => {
            Err(Refusal::bad("HTTP/1.0 has no Transfer-Encoding"))
        }
        (None, Some(coding)) => read_coding(coding),
    }
}

fn read_coding(coding: &[u8]) -> Result<Body, Refusal> {
    if coding.eq_ignore_ascii_case(b"chunked") {
        return Ok(Body::Chunked);
    }
    let chunked = |member: &&[u8]| member.eq_ignore_ascii_case(b"chunked");
    let count = members(coding).count();
    Err(if count == 0 || members(coding).filter(chunked).count() == count {
        Refusal::bad("its Transfer-Encoding is not chunked once")
    } else {
        Refusal::unimplemented("its Transfer-Encoding is not chunked alone")
    })
}

/// Whether the consumer takes trailers.
fn read_te(head: &[u8], fields: &Fields) -> Result<bool, Refusal> {
    let mut trailers = false;
    for field in fields.iter().filter(|field| field.name == Name::Te) {
        for coding in members(field.value_in(head)) {
            if !coding.eq_ignore_ascii_case(b"trailers") {
                return Err(Refusal::unimplemented("its TE asks for more than trailers"));
            }
            trailers = true;
        }
    }
    Ok(trailers)
}

fn read_expect(head: &[u8], fields: &Fields, version: Version) -> Result<bool, Refusal> {
    let mut expects = false;
    for field in fields.iter().filter(|field| field.name == Name::Expect) {
        if version == Version::Http10 {
            continue;
        }
        if expects || !field.value_in(head).eq_ignore_ascii_case(b"100-continue") {
            return Err(Refusal { status: 417, what: "it expects something other than 100-continue" });
        }
        expects = true;
    }
    Ok(expects)
}

/// Whether the protocols asked for are some that begin with what the provider answers here, and not HTTP in
/// another guise, in which requests would go on without an identity.
fn upgrades_elsewhere(head: &[u8], fields: &Fields) -> bool {
    let mut protocols = fields
        .iter()
        .filter(|field| field.name == Name::Upgrade)
        .flat_map(|field| members(field.value_in(head)))
        .peekable();
    protocols.peek().is_some()
        && protocols.all(|protocol| {
            let name = protocol.split(|byte| *byte == b'/').next().unwrap_or_default();
            is_token(name)
                && !["h2c", "h2", "h3", "http", "tls"]
                    .iter()
                    .any(|http| name.eq_ignore_ascii_case(http.as_bytes()))
        })
}
