//! The part of an entry's options that only rest links have.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::entry::Seconds;
use crate::graph::link::Link;
use crate::manifest::{Forwarded, RestOptions, RestRule, ServiceType, Tracing};

/// Options and rules of a rest link. What is absent has its default; without `allow` all is allowed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rest {
    /// Requests under way at once.
    pub max_requests: u32,
    /// Bytes of a head.
    pub max_header_bytes: u32,
    /// Bytes of a request's body; `None`: any number.
    pub max_body_bytes: Option<u64>,
    /// Seconds from a head's first byte to its last.
    pub header_timeout: Seconds,
    /// Seconds between two reads of a body.
    pub body_timeout: Seconds,
    /// Seconds of silence while an answer is due.
    pub response_timeout: Seconds,
    /// What becomes of the consumer's `Forwarded` and `X-Forwarded-*`.
    pub forwarded: Forwarded,
    /// Whether a request without a `traceparent` gets one.
    pub tracing: bool,
    /// The only requests that may pass; `None`: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<Rule>>,
}

impl Default for Rest {
    fn default() -> Self {
        Self::new(RestOptions::default(), None)
    }
}

impl Rest {
    fn new(options: RestOptions, rules: Option<&[RestRule]>) -> Self {
        Self {
            max_requests: options.max_requests,
            max_header_bytes: options.max_header_bytes,
            max_body_bytes: options.max_body_bytes,
            header_timeout: Seconds(options.header_timeout),
            body_timeout: Seconds(options.body_timeout),
            response_timeout: Seconds(options.response_timeout),
            forwarded: options.forwarded,
            tracing: options.tracing == Tracing::Make,
            allow: rules.map(|rules| rules.iter().cloned().map(Rule).collect()),
        }
    }

    /// `None` for links of another type.
    pub(super) fn of(link: &Link) -> Option<Self> {
        let rules = link.grant.as_ref().ok().and_then(|grant| grant.rest_rules());
        (link.kind == ServiceType::Rest).then(|| Self::new(link.rest, rules.map(|rules| &**rules)))
    }

    pub(super) fn options(&self) -> RestOptions {
        RestOptions {
            max_requests: self.max_requests,
            max_header_bytes: self.max_header_bytes,
            max_body_bytes: self.max_body_bytes,
            header_timeout: self.header_timeout.0,
            body_timeout: self.body_timeout.0,
            response_timeout: self.response_timeout.0,
            forwarded: self.forwarded,
            tracing: if self.tracing { Tracing::Make } else { Tracing::Pass },
        }
    }

    pub(super) fn rules(&self) -> Option<Arc<[RestRule]>> {
        let rules = self.allow.as_ref()?;
        Some(rules.iter().map(|rule| rule.0.clone()).collect())
    }
}

/// One rule, as in a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub struct Rule(pub RestRule);

#[derive(Serialize, Deserialize)]
// A condition that is not understood must not widen what is allowed.
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    methods: Option<Vec<String>>,
    path: String,
}

impl TryFrom<Fields> for Rule {
    type Error = &'static str;

    fn try_from(fields: Fields) -> Result<Self, Self::Error> {
        RestRule::new(fields.methods, &fields.path).map(Self)
    }
}

impl From<Rule> for Fields {
    fn from(Rule(rule): Rule) -> Self {
        Self { methods: rule.methods().map(<[String]>::to_vec), path: rule.path().to_owned() }
    }
}
