//! What every part of a rest link knows, on whichever thread.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::http1::HeadLimit;
use crate::graph::{Grant, Limits, RestOptions, SocketType};
use crate::ids::{LinkId, LinkKey};
use crate::mesh::edge::budget::{ConnectionPermit, LinkShare};
use crate::mesh::edge::counters::LinkCounters;
use crate::mesh::inject::ProviderSocket;
use crate::mesh::inject::role::{self, Blocking};
use crate::mesh::{Limiter, OwnSockets, Reach};
use crate::sys::scm::Sender;

/// What every part of a rest link knows.
pub(super) struct LinkShared {
    /// Never used again in this process.
    pub(super) number: u64,
    pub(super) key: LinkKey,
    pub(super) id: LinkId,
    pub(super) provider: String,
    pub(super) reach: Reach,
    pub(super) grant: Grant,
    pub(super) limits: Limits,
    pub(super) options: RestOptions,
    /// The fields that say who the consumer is, each with its CRLF.
    pub(super) identity: Vec<u8>,
    /// Who the bytes to the provider are from, should it ask.
    pub(super) sender: Sender,
    pub(super) own: Arc<OwnSockets>,
    pub(super) counters: Arc<LinkCounters>,
    pub(super) limiter: Arc<Limiter>,
    pub(super) share: Arc<LinkShare>,
    /// Consumers' connections.
    pub(super) open: AtomicUsize,
    /// Notified when `open` falls to 0.
    pub(super) empty: Notify,
    /// Requests that are under way.
    pub(super) requests: AtomicUsize,
    /// Answers are the last ones on their connections.
    pub(super) draining: AtomicBool,
    pub(super) cut: AtomicBool,
}

impl LinkShared {
    /// The fields that say who the consumer of a link is: names in lower case, and values.
    pub(super) fn identity_of(key: &LinkKey, grant: &Grant, id: LinkId) -> [(&'static str, String); 3] {
        let client = ascii(key.consumer.as_str());
        [
            ("x-pv-client", client),
            ("x-pv-role", ascii(grant.role().as_str())),
            ("x-pv-link-id", id.to_string()),
        ]
    }

    /// The same, each with its CRLF.
    pub(super) fn identity_lines(key: &LinkKey, grant: &Grant, id: LinkId) -> Vec<u8> {
        let [(_, client), (_, role), (_, id)] = Self::identity_of(key, grant, id);
        format!("X-PV-Client: {client}\r\nX-PV-Role: {role}\r\nX-PV-Link-Id: {id}\r\n").into_bytes()
    }

    pub(super) fn head_limit(&self) -> HeadLimit {
        HeadLimit(self.options.max_header_bytes as usize)
    }

    pub(super) fn body_limit(&self) -> u64 {
        self.options.max_body_bytes.unwrap_or(u64::MAX)
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// What messages about this link are told in, made anew for each.
    pub(super) fn span(&self) -> tracing::Span {
        let (consumer, service) = (self.key.consumer.as_str(), self.key.service.as_str());
        tracing::info_span!(parent: None, "link", id = %self.id, consumer, provider = self.provider, service)
    }

    /// Connects to the provider as the role, without waiting.
    pub(super) fn connect(&self, provider: &ProviderSocket) -> io::Result<OwnedFd> {
        use std::os::fd::AsFd;
        self.own.refuse(&provider.inode, self.reach)?;
        role::connect(provider.fd.as_fd(), SocketType::Stream, self.grant.identity(), Blocking::No)
    }
}

/// A name as a field's value, where letters beyond ASCII would be read as whatever the provider takes them for. No
/// name has a `%`, so that two never become one.
fn ascii(name: &str) -> String {
    use std::fmt::Write as _;
    name.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii() {
            text.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

/// Proof that a consumer was let in; what it holds is given back when it is dropped.
pub(super) struct Admission {
    link: Arc<LinkShared>,
    _permit: ConnectionPermit,
}

impl Admission {
    pub(super) fn new(link: &Arc<LinkShared>, permit: ConnectionPermit) -> Self {
        link.open.fetch_add(1, Ordering::AcqRel);
        link.counters.open.fetch_add(1, Ordering::Relaxed);
        link.counters.total.fetch_add(1, Ordering::Relaxed);
        Self { link: link.clone(), _permit: permit }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.link.counters.open.fetch_sub(1, Ordering::Relaxed);
        if self.link.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.link.empty.notify_waiters();
        }
    }
}

/// A request that is under way, within the link's limit.
pub(super) struct Underway(Arc<LinkShared>);

impl Underway {
    /// `None`: there are as many as there may be.
    pub(super) fn begin(link: &Arc<LinkShared>) -> Option<Self> {
        let before = link.requests.fetch_add(1, Ordering::Relaxed);
        let underway = Self(link.clone());
        (before < link.options.max_requests as usize).then_some(underway)
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::ascii;

    #[test]
    fn names_are_ascii_in_fields() {
        assert_eq!(ascii("web-1"), "web-1");
        assert_eq!(ascii("café"), "caf%C3%A9");
    }
}
