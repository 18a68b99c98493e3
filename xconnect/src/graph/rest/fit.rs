//! Whether one rule fits a method and a normal path.

use crate::manifest::{RULE_PATH_MAX as PATH_MAX, RestRule};

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
    if rule.is_pattern() { pattern(rule.path(), path) } else { prefix(rule.path(), path) }
}

/// `/api` fits itself and what lies below, `/api/` only the latter and itself.
fn prefix(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'))
}

/// What a pattern asks for at one place, and how many of its bytes say so.
enum Token {
    /// `**`: any run.
    Wide,
    /// `*`: any run within one segment.
    Narrow,
    /// `?`: one character that is no `/`.
    One,
    Letter(char),
}

fn token(pattern: &str, at: usize) -> Option<(Token, usize)> {
    let rest = pattern.get(at..)?;
    if rest.starts_with("**") {
        return Some((Token::Wide, 2));
    }
    let letter = rest.chars().next()?;
    let token = match letter {
        '*' => Token::Narrow,
        '?' => Token::One,
        letter => Token::Letter(letter),
    };
    Some((token, letter.len_utf8()))
}

/// The places of a pattern at which a path may have got so far, one bit each. All of them are followed at once, so
/// that no path takes longer than the product of both lengths, however often it nearly fits.
#[derive(Clone, Copy, Default)]
struct Places([u64; PATH_MAX / 64 + 1]);

impl Places {
    /// Adds a place, and what is behind stars there, which may have empty runs.
    fn add(&mut self, pattern: &str, mut at: usize) {
        loop {
            self.0[at / 64] |= 1 << (at % 64);
            match token(pattern, at) {
                Some((Token::Wide | Token::Narrow, length)) => at += length,
                _ => return,
            }
        }
    }

    fn has(&self, at: usize) -> bool {
        self.0[at / 64] & (1 << (at % 64)) != 0
    }

    fn each(self, mut act: impl FnMut(usize)) {
        for (index, word) in self.0.into_iter().enumerate() {
            let mut left = word;
            while left != 0 {
                act(index * 64 + left.trailing_zeros() as usize);
                left &= left - 1;
            }
        }
    }
}

/// The whole path against the whole pattern, which is no longer than [`PATH_MAX`].
fn pattern(pattern: &str, path: &str) -> bool {
    let mut places = Places::default();
    places.add(pattern, 0);
    for letter in path.chars() {
        let mut next = Places::default();
        places.each(|at| {
            let Some((token, length)) = token(pattern, at) else { return };
            match token {
                Token::Wide => next.add(pattern, at),
                Token::Narrow if letter != '/' => next.add(pattern, at),
                Token::One if letter != '/' => next.add(pattern, at + length),
                Token::Letter(wanted) if wanted == letter => next.add(pattern, at + length),
                Token::Narrow | Token::One | Token::Letter(_) => {}
            }
        });
        places = next;
    }
    places.has(pattern.len())
}
