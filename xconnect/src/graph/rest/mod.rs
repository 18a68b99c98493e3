//! Whether a role's rules allow a request. Pure: a method and a target in, a decision out.
//!
//! What is compared is the path as a provider will understand it: without the query, decoded once, without
//! dot-segments. What two providers could understand differently is not compared at all, but refused.

mod fit;
mod path;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crate::manifest::RestRule;

/// What is to become of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// A rule fits.
    Allowed,
    /// No rule fits: 403.
    Denied {
        /// Which rule came nearest, or that none has the path; for the operator.
        rule: String,
    },
    /// The path can be understood in more than one way, for this reason: 400.
    Ambiguous(&'static str),
}

/// Decides about a request.
///
/// `method` and `target` are those of the request line: the target is a path with or without a query, or `*`.
/// A path without anything that needs a second look costs no allocation.
#[must_use]
pub fn decide(rules: &[RestRule], method: &str, target: &str) -> Decision {
    let path = match path::normal(target) {
        Ok(path) => path,
        Err(reason) => return Decision::Ambiguous(reason),
    };
    let mut near = None;
    for rule in rules.iter().filter(|rule| fit::path(rule, &path)) {
        if fit::method(rule, method) {
            return Decision::Allowed;
        }
        near = near.or(Some(rule));
    }
    let rule = near.map_or_else(|| "no rule has this path".to_owned(), |rule| format!("only {rule}"));
    Decision::Denied { rule }
}

/// The path that [`decide`] compares with the rules, where it is not ambiguous; for logs and tests.
///
/// # Errors
/// Why it is ambiguous.
pub fn normal_path(target: &str) -> Result<Cow<'_, str>, &'static str> {
    path::normal(target)
}
