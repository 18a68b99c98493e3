//! rest services: the limits of a link's requests, and the requests that a role may send.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::reader::{Object, Value};

/// Longest path of a rule, in bytes. Comparing it with a request's takes, at worst, the product of both lengths.
pub(crate) const PATH_MAX: usize = 256;
/// Longest name of a method, in bytes: the mesh accepts no longer one from a consumer.
const METHOD_MAX: usize = 32;
const NO_METHODS: &str = "must not be empty: without it, every method is meant";
/// Most rules of one role: each may be looked at for every request.
pub(super) const RULES_MAX: usize = 128;

/// What becomes of the fields `Forwarded` and `X-Forwarded-*` that a consumer sends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Forwarded {
    /// They are dropped: a consumer could say anything in them.
    #[default]
    Drop,
    /// They go on: the consumer is a proxy that the provider trusts.
    Keep,
}

/// What becomes of a request without a valid `traceparent`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Tracing {
    /// It goes on as it is.
    #[default]
    Pass,
    /// It gets a new one.
    Make,
}

/// Options of rest services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RestOptions {
    /// Requests of a link that may be under way at once, 1 to 1000000.
    pub max_requests: u32,
    /// Bytes of a head (first line and fields), and of the trailers; 1024 to 1048576.
    pub max_header_bytes: u32,
    /// Bytes of a request's body; `None`: any number.
    pub max_body_bytes: Option<u64>,
    /// From the first byte of a request's head to its last.
    pub header_timeout: Duration,
    /// Between two reads of a request's body.
    pub body_timeout: Duration,
    /// How long the provider may say nothing while an answer is due.
    pub response_timeout: Duration,
    /// `Forwarded` and `X-Forwarded-*`.
    pub forwarded: Forwarded,
    /// `traceparent`.
    pub tracing: Tracing,
}

impl Default for RestOptions {
    fn default() -> Self {
        Self {
            max_requests: 1024,
            max_header_bytes: 64 << 10,
            max_body_bytes: None,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            response_timeout: Duration::from_secs(60),
            forwarded: Forwarded::default(),
            tracing: Tracing::default(),
        }
    }
}

/// Requests that a role may send: some methods, below a path or of paths that fit a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RestRule {
    methods: Option<Box<[String]>>,
    path: String,
    pattern: bool,
}

impl RestRule {
    /// Checks a rule. `methods`: names in capitals; `None`: every one. `path`: as it is after decoding: a prefix
    /// (`/v1`), a pattern with `*`, `**`, `?`, or `*` or `**` alone.
    ///
    /// # Errors
    /// What is wrong with it, as text.
    pub fn new(methods: Option<Vec<String>>, path: &str) -> Result<Self, &'static str> {
        if let Some(methods) = &methods {
            if methods.is_empty() {
                return Err(NO_METHODS);
            }
            methods.iter().try_for_each(|method| check_method(method))?;
        }
        check_path(path)?;
        Ok(Self {
            methods: methods.map(Vec::into_boxed_slice),
            path: path.to_owned(),
            pattern: path.contains(['*', '?']),
        })
    }

    /// The methods; `None`: every one.
    #[must_use]
    pub fn methods(&self) -> Option<&[String]> {
        self.methods.as_deref()
    }

    /// The prefix or the pattern of the path, as in the manifest.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// True where the path is a pattern, false where it is a prefix.
    #[must_use]
    pub fn is_pattern(&self) -> bool {
        self.pattern
    }
}

impl fmt::Display for RestRule {
    /// `GET,PUT /v1`, or `any /v1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.methods() {
            None => f.write_str("any")?,
            Some(methods) => f.write_str(&methods.join(","))?,
        }
        write!(f, " {}", self.path)
    }
}

fn check_method(text: &str) -> Result<(), &'static str> {
    let token = !text.is_empty() && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
    match token {
        true if text.len() <= METHOD_MAX => Ok(()),
        true => Err("must not be longer than 32 bytes"),
        false => Err("must be a method in capitals, like \"GET\""),
    }
}

/// A path that no request can have would be a rule that silently means nothing.
fn check_path(path: &str) -> Result<(), &'static str> {
    if matches!(path, "*" | "**") {
        return Ok(());
    }
    let encoded = |at: usize| {
        path.as_bytes().get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    };
    let query = path.split_once('?').is_some_and(|(_, rest)| rest.contains('='));
    let mut segments = path.split('/').skip(1).peekable();
    let mut last_or_filled = || loop {
        match segments.next() {
            None => return true,
            Some("") if segments.peek().is_some() => return false,
            Some(_) => {}
        }
    };
    let dots = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
    if !path.starts_with('/') {
        Err("must start with / (or be * or **)")
    } else if path.len() > PATH_MAX {
        Err("must not be longer than 256 bytes")
    } else if path.split('/').any(dots) {
        Err("must not contain \".\" or \"..\"")
    } else if !last_or_filled() {
        Err("must not contain //")
    } else if query {
        Err("must not have a query: requests are judged by their path alone")
    } else if path.contains("***") {
        Err("must not contain ***")
    } else if path.chars().any(|c| c.is_control() || c == '#' || c == '\\') {
        Err("must be a plain path, without #, \\ and control characters")
    } else if path.match_indices('%').any(|(at, _)| encoded(at)) {
        Err("must be written without percent-encoding: requests are decoded before they are compared")
    } else {
        Ok(())
    }
}

/// The keys that only rest services have.
pub(super) const KEYS: [&str; 8] = [
    "max_requests",
    "max_header_bytes",
    "max_body_bytes",
    "header_timeout",
    "body_timeout",
    "response_timeout",
    "forwarded",
    "tracing",
];

/// Reads the options of a rest service.
pub(super) fn read(object: &Object<'_>) -> RestOptions {
    let default = RestOptions::default();
    let time = |key: &str, default: Duration| {
        let value = object.get(key);
        let read = value.as_ref().and_then(Value::duration);
        if let (Some(value), Some(Duration::ZERO)) = (&value, read) {
            value.error("must be longer than 0");
        }
        read.unwrap_or(default)
    };
    let number = |key: &str, range| object.get(key).and_then(|value| value.number(range));
    let narrow =
        |key: &str, range, default| object.get(key).and_then(|value| value.narrow(range)).unwrap_or(default);
    let forwarded = object
        .get("forwarded")
        .and_then(|value| value.one_of(&[("drop", Forwarded::Drop), ("keep", Forwarded::Keep)]));
    let tracing = object.get("tracing").and_then(|value| value.bool());
    RestOptions {
        max_requests: narrow("max_requests", 1..=1_000_000, default.max_requests),
        max_header_bytes: narrow("max_header_bytes", 1024..=1 << 20, default.max_header_bytes),
        max_body_bytes: number("max_body_bytes", 0..=u64::MAX >> 1),
        header_timeout: time("header_timeout", default.header_timeout),
        body_timeout: time("body_timeout", default.body_timeout),
        response_timeout: time("response_timeout", default.response_timeout),
        forwarded: forwarded.unwrap_or_default(),
        tracing: if tracing == Some(true) { Tracing::Make } else { Tracing::Pass },
    }
}

/// Reads the list of a policy's `allow`.
pub(super) fn read_rules(value: &Value<'_>) -> Option<Arc<[RestRule]>> {
    let rules = value.list(read_rule)?;
    if rules.len() > RULES_MAX {
        value.error(format_args!("must not have more than {RULES_MAX} rules (has {})", rules.len()));
    }
    Some(rules.into())
}

fn read_rule(value: &Value<'_>) -> Option<RestRule> {
    let object = value.object()?;
    object.only(&["methods", "path"]);
    let method = |value: &Value<'_>| value.parse(|text| check_method(text).map(|()| text.to_owned()));
    let methods = object.get("methods").map(|list| {
        let methods = list.list(method)?;
        if methods.is_empty() && list.array().is_some_and(|list| list.is_empty()) {
            list.error(NO_METHODS);
        }
        (!methods.is_empty()).then_some(methods)
    });
    let path = object.require("path").and_then(|path| path.parse(|text| check_path(text).map(|()| text)));
    let methods = methods.map_or(Some(None), |methods| methods.map(Some))?;
    RestRule::new(methods, path?).map_err(|error| value.error(error)).ok()
}
