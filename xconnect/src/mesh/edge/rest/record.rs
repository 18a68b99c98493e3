//! What is counted and logged of each request.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::asked::{Method, path_of};
use super::reply::Reply;
use super::shared::LinkShared;
use crate::mesh::edge::HttpCounters;
use crate::mesh::limiter::limited_in;

/// Whether anything of a request may have reached the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    Yes,
    No,
}

/// A request that is under way, to be counted when it is over.
pub(super) struct Record {
    link: Arc<LinkShared>,
    method: Method,
    /// For the access log, where that is written.
    target: Option<Box<str>>,
    since: Instant,
    ended: Cell<bool>,
}

impl Record {
    pub(super) fn begin(link: &Arc<LinkShared>, method: Method, target: &str) -> Self {
        link.counters.messages_to_provider.fetch_add(1, Ordering::Relaxed);
        link.counters.http().open.fetch_add(1, Ordering::Relaxed);
        let target = tracing::enabled!(tracing::Level::DEBUG).then(|| path_of(target).into());
        Self { link: link.clone(), method, target, since: Instant::now(), ended: Cell::new(false) }
    }

    fn http(&self) -> &HttpCounters {
        self.link.counters.http()
    }

    /// There is a connection for it.
    pub(super) fn connected(&self, fresh: bool) {
        if fresh {
            self.http().upstream_opened.fetch_add(1, Ordering::Relaxed);
            self.link.counters.connected(self.since.elapsed());
        } else {
            self.http().upstream_reused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// It is sent once more.
    pub(super) fn retried(&self) {
        self.http().retried.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(parent: &self.link.span(), method = self.method.0, "sending a request again");
    }

    /// The answer has been delivered.
    pub(super) fn done(&self, status: u16) {
        self.link.counters.messages_to_consumer.fetch_add(1, Ordering::Relaxed);
        self.end(status, "", |http, method| http.finished(method, status, self.since.elapsed()));
    }

    /// The connection is another protocol's from here on.
    pub(super) fn upgraded(&self) {
        self.end(101, "changed to another protocol", |http, method| {
            http.finished(method, 101, self.since.elapsed());
        });
    }

    /// The answer could not be finished.
    pub(super) fn cut(&self, status: u16, why: &'static str, timed_out: bool) {
        let link = &self.link;
        if timed_out {
            self.http().timeouts.fetch_add(1, Ordering::Relaxed);
        }
        limited_in!(warn, &link.span(), link.limiter, why, status, "cut an answer: {why}");
        self.end(status, why, HttpCounters::cut);
    }

    /// The consumer did not wait for the end.
    pub(super) fn gone(&self) {
        self.end(0, "the consumer is gone", HttpCounters::cut);
    }

    /// The mesh has answered in the place of the provider.
    pub(super) fn given(&self, reply: &Reply, reached: Reached) {
        let link = &self.link;
        let status = reply.status;
        if reply.timed_out {
            self.http().timeouts.fetch_add(1, Ordering::Relaxed);
        }
        limited_in!(
            warn,
            &link.span(),
            link.limiter,
            kind(status),
            status,
            "answered in the provider's place: {}",
            reply.error
        );
        self.end(status, &reply.error, |http, method| match reached {
            Reached::Yes => http.finished(method, status, self.since.elapsed()),
            Reached::No => http.refused(Some(method)),
        });
    }

    fn end(&self, status: u16, note: &str, count: impl FnOnce(&HttpCounters, &str)) {
        count(self.http(), self.method.0);
        self.ended.set(true);
        if let Some(path) = &self.target {
            let after = self.since.elapsed();
            tracing::debug!(parent: &self.link.span(), method = self.method.0, path, status, ?after, note, "request");
        }
    }

    /// A request did not get as far as the provider.
    pub(super) fn turned(link: &LinkShared, method: Option<Method>, reply: &Reply) {
        let (status, http) = (reply.status, link.counters.http());
        let method = method.map(|method| method.0);
        match status {
            403 => {
                link.counters.denied.fetch_add(1, Ordering::Relaxed);
                http.denied(method.unwrap_or_default());
            }
            _ => http.refused(method),
        }
        if reply.timed_out {
            http.timeouts.fetch_add(1, Ordering::Relaxed);
        }
        limited_in!(
            warn,
            &link.span(),
            link.limiter,
            kind(status),
            status,
            method,
            "refused a request: {}",
            reply.error
        );
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.http().open.fetch_sub(1, Ordering::Relaxed);
        if !self.ended.get() {
            // Its task was ended: with the link, or (HTTP/2) with the consumer's interest.
            self.gone();
        }
    }
}

/// What the lines about a status are limited by.
fn kind(status: u16) -> &'static str {
    match status {
        403 => "403",
        408 => "408",
        413 => "413",
        431 => "431",
        502 => "502",
        503 => "503",
        504 => "504",
        _ => "refused",
    }
}
