//! Heads of HTTP/2: the rules of `http1` for what hyper has read.

use hyper::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Method, Uri, Version};

use crate::graph::{Forwarded, Tracing};
use crate::mesh::edge::rest::http1::{
    Kind, Refusal, Seed, is_host, kind_of, may_be_trailer, read_length, valid_trace,
};
use crate::mesh::edge::rest::shared::LinkShared;

/// Judges a request; the length of its body, where it says one.
pub(super) fn judge(head: &Parts, target: &str) -> Result<Option<u64>, Refusal> {
    if head.method == Method::CONNECT {
        return Err(Refusal::unimplemented("CONNECT is not done here"));
    }
    let fits = target.starts_with('/') || (target == "*" && head.method == Method::OPTIONS);
    if !fits || !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(Refusal::bad("its target is not a path"));
    }
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err(Refusal::bad("it has two Host fields"));
    }
    let authority = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    match (authority, host) {
        (None, None) => return Err(Refusal::bad("it has neither :authority nor Host")),
        (Some(a), Some(b)) if !a.eq_ignore_ascii_case(b) => {
            return Err(Refusal::bad("its :authority and its Host are not the same"));
        }
        _ => {}
    }
    if !authority.or(host).is_some_and(is_host) {
        return Err(Refusal::bad("its Host is not the name of a host"));
    }
    for coding in head.headers.get_all("te") {
        if !coding.as_bytes().eq_ignore_ascii_case(b"trailers") {
            return Err(Refusal::unimplemented("its TE asks for more than trailers"));
        }
    }
    let mut lengths = head.headers.get_all(CONTENT_LENGTH).iter();
    let length = match (lengths.next(), lengths.next()) {
        (None, _) => return Ok(None),
        (Some(length), None) => read_length(length.as_bytes()),
        (Some(_), Some(_)) => return Err(Refusal::bad("it has two Content-Length fields")),
    };
    length.map(Some).ok_or(Refusal::bad("its Content-Length is not one plain number"))
}

/// The request as the provider gets it.
pub(super) fn rewrite(mut head: Parts, link: &LinkShared, seed: &mut Seed) -> Result<Parts, Refusal> {
    const BAD: Refusal = Refusal::bad("its target is not a path");
    let keep = link.options.forwarded == Forwarded::Keep;
    let dropped: Vec<HeaderName> = head
        .headers
        .keys()
        .filter(|name| match kind_of(name.as_str().as_bytes()) {
            Kind::GoesOn => false,
            Kind::Forwarded => !keep,
            Kind::Override => link.grant.rest_rules().is_some(),
            Kind::Dropped => true,
        })
        .cloned()
        .collect();
    for name in &dropped {
        head.headers.remove(name);
    }
    let host = head.headers.remove(HOST);
    let authority = match (head.uri.authority(), host) {
        (Some(authority), _) => authority.clone(),
        (None, Some(host)) if !host.is_empty() => Authority::try_from(host.as_bytes()).map_err(|_| BAD)?,
        (None, _) => Authority::from_static("localhost"),
    };
    let target = head.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    let uri = Uri::builder().scheme(Scheme::HTTP).authority(authority).path_and_query(target);
    head.uri = uri.build().map_err(|_| BAD)?;
    head.version = Version::HTTP_2;
    if link.options.tracing == Tracing::Make && !has_trace(&head.headers) {
        head.headers.remove("tracestate");
        let value = HeaderValue::try_from(seed.traceparent()).map_err(|_| BAD)?;
        head.headers.insert("traceparent", value);
    }
    for (name, value) in LinkShared::identity_of(&link.key, &link.grant, link.id) {
        let value = HeaderValue::try_from(value).map_err(|_| BAD)?;
        head.headers.insert(name, value);
    }
    Ok(head)
}

fn has_trace(headers: &HeaderMap) -> bool {
    let mut traces = headers.get_all("traceparent").iter();
    let first = traces.next();
    traces.next().is_none() && first.is_some_and(|value| valid_trace(value.as_bytes()))
}

/// Takes out of an answer's head what is for one hop only.
pub(super) fn clean_answer(headers: &mut HeaderMap) {
    for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
        headers.remove(name);
    }
}

/// Takes out of a request's trailers what must not be there.
pub(super) fn clean_trailers(trailers: &mut HeaderMap, keep: bool) {
    let dropped: Vec<HeaderName> =
        trailers.keys().filter(|name| !may_be_trailer(name.as_str().as_bytes(), keep)).cloned().collect();
    for name in &dropped {
        trailers.remove(name);
    }
}
