//! A request that may go on, apart from the bytes that it was read from.

use std::sync::Arc;

use super::http1::{Body, Refusal, Request, Rewrite, Version};
use super::local::Scratch;
use super::record::Record;
use super::reply::Reply;
use super::shared::LinkShared;
use crate::graph::rest::{Decision, decide};
use crate::mesh::edge::METHODS;

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

impl Asked {
    /// Whether it may be sent once more where its connection ended before any answer. `untouched`: nothing of it had
    /// gone.
    pub(super) fn may_repeat(&self, untouched: bool) -> bool {
        self.repeatable || (untouched && self.body == Body::None)
    }
}

/// A method that means something here, or none of those.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Method(pub(super) &'static str);

impl Method {
    pub(super) fn of(method: &str) -> Self {
        Self(METHODS.into_iter().find(|known| *known == method).unwrap_or("other"))
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
    permit(link, request.method, request.target, request.body).map_err(|Forbidden { reply, clear }| {
        let keep_alive = keep_alive && clear;
        Box::new(Turned { reply, method: Some(method), keep_alive, version })
    })?;
    let rewrite = Rewrite {
        identity: &link.identity,
        forwarded: link.options.forwarded,
        tracing: link.options.tracing,
        ruled: link.grant.rest_rules().is_some(),
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

/// What is answered to a request that the link or the role does not allow.
pub(super) struct Forbidden {
    pub(super) reply: Reply,
    /// There is one way to read the request, so that the connection may go on.
    clear: bool,
}

/// Whether the link's limits and the role's rules let a request through.
fn permit(link: &LinkShared, method: &str, target: &str, body: Body) -> Result<(), Forbidden> {
    if let Body::Length(length) = body
        && length > link.body_limit()
    {
        return Err(Forbidden { reply: too_long(link), clear: false });
    }
    allowed(link, method, target)
}

/// Whether the role's rules let a request through, as [`permit`].
pub(super) fn allowed(link: &LinkShared, method: &str, target: &str) -> Result<(), Forbidden> {
    let Some(rules) = link.grant.rest_rules() else { return Ok(()) };
    let role = link.grant.role();
    match decide(rules, method, target) {
        Decision::Allowed => Ok(()),
        Decision::Denied { rule } => {
            let error = format!("role \"{role}\" may not {method} {}", path_of(target));
            Err(Forbidden { reply: Reply { rule: Some(rule), ..Reply::new(403, error) }, clear: true })
        }
        Decision::Ambiguous(what) => {
            let error = format!("the path could be read in two ways: {what}");
            Err(Forbidden { reply: Reply::new(400, error), clear: false })
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
