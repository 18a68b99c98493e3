//! A request that may go on, apart from the bytes that it was read from.

use std::sync::Arc;

use super::http1::{Body, Refusal, Request, Rewrite, Version};
use super::local::Scratch;
use super::record::Record;
use super::reply::Reply;
use super::shared::LinkShared;
use crate::graph::rest::{Decision, decide};

/// A request that may go on.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) body: Body,
    pub(super) expects: bool,
    pub(super) upgrade: bool,
    pub(super) keep_alive: bool,
    /// It may be sent again where nothing is known to have come of it.
    pub(super) repeatable: bool,
}

/// A method that means something here, or none of those.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Method(pub(super) &'static str);

impl Method {
    const KNOWN: [&'static str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "other"];

    pub(super) fn of(method: &str) -> Self {
        Self(Self::KNOWN.into_iter().find(|known| *known == method).unwrap_or("other"))
    }

    pub(super) fn is_head(self) -> bool {
        self.0 == "HEAD"
    }
}

/// A request that does not go on.
#[derive(Debug)]
pub(super) struct Turned {
    pub(super) reply: Reply,
    /// Where it could be read.
    pub(super) method: Option<Method>,
    /// The connection may go on after the answer: it is clear where the next request begins.
    pub(super) keep_alive: bool,
    pub(super) version: Version,
}

impl From<Refusal> for Turned {
    fn from(refusal: Refusal) -> Self {
        let Refusal { status, what } = refusal;
        let reply = Reply::new(status, format!("this request does not go on: {what}"));
        Self { reply, method: None, keep_alive: false, version: Version::Http11 }
    }
}

/// Judges a head by the rules of HTTP, of the link and of the role; what the provider is to get goes to `out`.
pub(super) fn ask(
    head: &[u8],
    link: &Arc<LinkShared>,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<(Asked, Record), Box<Turned>> {
    let Scratch { fields, seed } = scratch;
    let request =
        Request::read(head, fields, link.head_limit()).map_err(|refusal| Box::new(refusal.into()))?;
    let method = Method::of(request.method);
    let keep_alive = request.keep_alive && request.body == Body::None && !link.is_draining();
    let version = request.version;
    permit(link, request.method, request.target, request.body).map_err(|(reply, ambiguous)| {
        let keep_alive = keep_alive && !ambiguous;
        Box::new(Turned { reply, method: Some(method), keep_alive, version })
    })?;
    let rewrite = Rewrite {
        identity: &link.identity,
        forwarded: link.options.forwarded,
        tracing: link.options.tracing,
    };
    request.write(&rewrite, seed, out);
    let record = Record::begin(link, method, request.target);
    let asked = Asked {
        method,
        version,
        body: request.body,
        expects: request.expects,
        upgrade: request.upgrade,
        keep_alive: request.keep_alive,
        repeatable: request.is_idempotent() && request.body == Body::None,
    };
    Ok((asked, record))
}

/// Whether the link's limits and the role's rules let a request through. `Err`: what to answer, and whether it could be
/// read in two ways.
fn permit(link: &LinkShared, method: &str, target: &str, body: Body) -> Result<(), (Reply, bool)> {
    if let Body::Length(length) = body
        && length > link.body_limit()
    {
        return Err((too_long(link), true));
    }
    allowed(link, method, target)
}

/// Whether the role's rules let a request through, as [`permit`].
pub(super) fn allowed(link: &LinkShared, method: &str, target: &str) -> Result<(), (Reply, bool)> {
    let Some(rules) = link.grant.rest_rules() else { return Ok(()) };
    let role = link.grant.role();
    match decide(rules, method, target) {
        Decision::Allowed => Ok(()),
        Decision::Denied { rule } => {
            let error = format!("role \"{role}\" may not {method} {}", path_of(target));
            Err((Reply { rule: Some(rule), ..Reply::new(403, error) }, false))
        }
        Decision::Ambiguous(what) => {
            Err((Reply::new(400, format!("the path could be read in two ways: {what}")), true))
        }
    }
}

pub(super) fn too_long(link: &LinkShared) -> Reply {
    let limit = link.body_limit();
    Reply::new(413, format!("its body is longer than the {limit} bytes that the link takes (max_body_bytes)"))
}

/// The target without its query, which may hold what is nobody else's business.
pub(super) fn path_of(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}
