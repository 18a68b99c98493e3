//! One request over HTTP/2.

use std::rc::Rc;
use std::sync::Arc;

use hyper::body::{Body, Incoming};
use hyper::http::request::Parts;
use hyper::{Request, Response};

use super::body::{Answered, Asking, Watch};
use super::heads;
use super::own::Manner;
use super::streams::Stream;
use super::upstream::{NoAnswer, Provider};
use crate::mesh::edge::rest::asked::{Method, allowed, too_long};
use crate::mesh::edge::rest::local::Local;
use crate::mesh::edge::rest::record::{Reached, Record};
use crate::mesh::edge::rest::reply::Reply;
use crate::mesh::edge::rest::shared::{LinkShared, Underway};

/// Answers a request.
pub(super) async fn answer(
    local: &Rc<Local>,
    provider: &Provider,
    request: Request<Incoming>,
    stream: Stream,
) -> Response<Answered> {
    let link = &local.shared;
    let method = Method::of(request.method().as_str());
    let target = request.uri().path_and_query().map_or("", |target| target.as_str()).to_owned();
    let (head, body) = request.into_parts();
    let manner = Manner::of(&head.headers);
    if let Err(reply) = permit(link, &head, &target) {
        Record::turned(link, Some(method), &reply);
        return manner.reply(&reply, link);
    }
    let record = Record::begin(link, method, &target);
    let Some(underway) = Underway::begin(link) else {
        let limit = link.options.max_requests;
        let reply = Reply::new(503, format!("the link has {limit} requests under way (max_requests)"));
        record.given(&reply.retry_after(1), Reached::No);
        return manner
            .reply(&Reply::new(503, "the link has too many requests under way").retry_after(1), link);
    };
    let head = heads::rewrite(head, link, &mut local.scratch.borrow_mut().seed);
    match head {
        Err(refusal) => {
            let reply = Reply::new(refusal.status, refusal.what);
            record.given(&reply, Reached::No);
            manner.reply(&reply, link)
        }
        Ok(head) => match carry(link, provider, head, body, &record).await {
            Ok(response) => {
                let (mut answer, body) = response.into_parts();
                heads::clean_answer(&mut answer.headers);
                let status = answer.status.as_u16();
                Response::from_parts(answer, Answered::passing(body, underway, record, status, stream))
            }
            Err((reply, reached)) => {
                record.given(&reply, reached);
                manner.reply(&reply, link)
            }
        },
    }
}

/// Whether the request may go on by the rules of HTTP, of the link and of the role.
fn permit(link: &LinkShared, head: &Parts, target: &str) -> Result<(), Reply> {
    let length = heads::judge(head, target).map_err(|refusal| {
        Reply::new(refusal.status, format!("this request does not go on: {}", refusal.what))
    })?;
    if length.is_some_and(|length| length > link.body_limit()) {
        return Err(too_long(link));
    }
    allowed(link, head.method.as_str(), target).map_err(|turned| turned.reply)
}

/// Brings a request to the provider; once more where it surely did no harm.
async fn carry(
    link: &Arc<LinkShared>,
    provider: &Provider,
    head: Parts,
    body: Incoming,
    record: &Record,
) -> Result<Response<Incoming>, (Reply, Reached)> {
    let watch = Rc::new(Watch::new());
    let mut copy = (body.is_end_stream() && head.method.is_idempotent()).then(|| head.clone());
    let mut request = Request::from_parts(head, Asking::new(body, watch.clone(), link));
    let mut again = true;
    loop {
        let NoAnswer { failure, unsent, stale } = match provider.send(request, &watch, record).await {
            Ok(response) => return Ok(response),
            Err(no_answer) => *no_answer,
        };
        let copied = if stale { copy.take() } else { None };
        let copied = copied.map(|head| Request::from_parts(head, Asking::none(watch.clone(), link)));
        match unsent.or(copied) {
            Some(same) if again => {
                again = false;
                record.retried();
                request = same;
            }
            _ => return Err((failure.reply(link, &watch), failure.reached())),
        }
    }
}
