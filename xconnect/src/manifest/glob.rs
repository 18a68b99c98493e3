//! Patterns over container names: `*` for any run of characters, `?` for one.

use std::fmt;

use crate::ids::ContainerName;

/// A pattern that names of containers are compared with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Glob(String);

impl Glob {
    /// Checks a pattern: the characters of a name, `*` and `?`.
    ///
    /// # Errors
    /// What is wrong with it, as text.
    pub fn new(pattern: &str) -> Result<Self, String> {
        // With its wildcards replaced by a plain letter, a pattern is a name.
        match ContainerName::new(pattern.replace(['*', '?'], "x")) {
            Ok(_) => Ok(Self(pattern.to_owned())),
            Err(error) => Err(format!("{error} (or * or ?)")),
        }
    }

    /// Whether a name fits.
    #[must_use]
    pub fn matches(&self, name: &ContainerName) -> bool {
        let pattern: Vec<char> = self.0.chars().collect();
        let name: Vec<char> = name.as_str().chars().collect();
        let (mut p, mut n) = (0, 0);
        // The last `*` seen and where its run ends: on a mismatch the run grows by one. Only the last
        // one ever needs this, so the time is bounded by the product of both lengths.
        let mut star: Option<(usize, usize)> = None;
        while n < name.len() {
            match pattern.get(p) {
                Some('*') => {
                    star = Some((p, n));
                    p += 1;
                }
                Some(c) if *c == '?' || *c == name[n] => {
                    p += 1;
                    n += 1;
                }
                _ => match star {
                    Some((at, end)) => {
                        star = Some((at, end + 1));
                        p = at + 1;
                        n = end + 1;
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|c| *c == '*')
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, name: &str) -> bool {
        Glob::new(pattern).unwrap().matches(&ContainerName::new(name).unwrap())
    }

    #[test]
    fn stars_and_question_marks() {
        assert!(fits("*", "web"));
        assert!(fits("web-*", "web-"));
        assert!(fits("web-?", "web-1"));
        assert!(fits("*a*b*", "xxaxxbxx"));
        assert!(fits("web", "web"));
        assert!(!fits("web", "web2"));
        assert!(!fits("web-?", "web-"));
        assert!(!fits("*a*b", "xaxbx"));
    }

    #[test]
    fn patterns_are_checked_like_names() {
        assert!(Glob::new("a/b").is_err());
        assert!(Glob::new("").is_err());
    }
}
