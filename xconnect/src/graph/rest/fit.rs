//! Whether one rule fits a method and a normal path.

use crate::manifest::RestRule;

/// Whether the rule is about the method. HEAD is a GET without its body.
pub(super) fn method(rule: &RestRule, method: &str) -> bool {
    let names = |name: &str| name == method || (name == "GET" && method == "HEAD");
    rule.methods().is_none_or(|methods| methods.iter().any(|name| names(name)))
}

/// Whether the rule is about the path, or about `*`.
pub(super) fn path(rule: &RestRule, path: &str) -> bool {
    if path == "*" {
        return matches!(rule.path(), "/" | "*" | "**");
    }
    if rule.is_pattern() { pattern(rule.path().as_bytes(), path) } else { prefix(rule.path(), path) }
}

/// `/api` fits itself and what lies below, `/api/` only the latter and itself.
fn prefix(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'))
}

/// Where to go on after a mismatch: behind a star of the pattern, with its run one character longer.
#[derive(Clone, Copy)]
struct Star {
    behind: usize,
    end: usize,
}

/// The whole path against the whole pattern. Only the last star of each kind is ever needed: the runs of `*` end
/// with their segment, and what follows a `**` fits best where it fits first.
fn pattern(pattern: &[u8], path: &str) -> bool {
    let bytes = path.as_bytes();
    let width = |at: usize| path[at..].chars().next().map_or(1, char::len_utf8);
    let (mut p, mut at) = (0, 0);
    let (mut narrow, mut wide): (Option<Star>, Option<Star>) = (None, None);
    loop {
        match pattern.get(p) {
            Some(b'*') if pattern.get(p + 1) == Some(&b'*') => {
                p += 2;
                (narrow, wide) = (None, Some(Star { behind: p, end: at }));
                continue;
            }
            Some(b'*') => {
                p += 1;
                narrow = Some(Star { behind: p, end: at });
                continue;
            }
            Some(b'?') if at < bytes.len() && bytes[at] != b'/' => {
                p += 1;
                at += width(at);
                continue;
            }
            Some(byte) if *byte != b'?' && bytes.get(at) == Some(byte) => {
                p += 1;
                at += 1;
                continue;
            }
            None if at == bytes.len() => return true,
            _ => {}
        }
        let longer = |star: Star| Star { end: star.end + width(star.end), ..star };
        narrow = narrow.filter(|star| bytes.get(star.end).is_some_and(|byte| *byte != b'/')).map(longer);
        if let Some(star) = narrow {
            (p, at) = (star.behind, star.end);
            continue;
        }
        wide = wide.filter(|star| star.end < bytes.len()).map(longer);
        match wide {
            Some(star) => (p, at) = (star.behind, star.end),
            None => return false,
        }
    }
}
