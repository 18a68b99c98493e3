//! Reads a tree field by field, knows where it stands, and collects every error instead of stopping at
//! the first.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::error::Error;
use super::json::{Node, index_path, key_path};

/// Errors shown of one file; the rest is counted.
const ERRORS_MAX: usize = 100;
/// Longest duration accepted: a year, in seconds.
const SECONDS_MAX: u64 = 365 * 24 * 3600;

/// Whether a document may hold keys that are not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnknownKeys {
    /// Our own document: they are mistakes.
    Refuse,
    /// A document of others.
    Pass,
}

/// The errors of one file, as they are found.
pub(super) struct Report {
    file: String,
    unknown_keys: UnknownKeys,
    errors: RefCell<Vec<Error>>,
    more: Cell<usize>,
}

impl Report {
    pub(super) fn new(file: &str, unknown_keys: UnknownKeys) -> Self {
        Self { file: file.to_owned(), unknown_keys, errors: RefCell::default(), more: Cell::new(0) }
    }

    pub(super) fn file(&self) -> &str {
        &self.file
    }

    pub(super) fn add(&self, path: &str, message: impl Display) {
        let mut errors = self.errors.borrow_mut();
        if errors.len() < ERRORS_MAX {
            errors.push(Error::new(&self.file, path, message));
        } else {
            self.more.set(self.more.get() + 1);
        }
    }

    pub(super) fn into_errors(self) -> Vec<Error> {
        let mut errors = self.errors.into_inner();
        match self.more.get() {
            0 => {}
            more => errors.push(Error::new(&self.file, "", format!("has {more} more errors"))),
        }
        errors
    }

    /// The value at the root, after refusing repeated keys everywhere.
    pub(super) fn root<'a>(&'a self, node: &'a Node) -> Value<'a> {
        node.repeated_keys("", &mut |path| self.add(path, "is there twice"));
        Value { node, path: String::new(), report: self }
    }
}

/// A value and its place. A method that returns `None` has reported why.
#[derive(Clone)]
pub(super) struct Value<'a> {
    node: &'a Node,
    path: String,
    report: &'a Report,
}

impl<'a> Value<'a> {
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn report(&self) -> &'a Report {
        self.report
    }

    pub(super) fn error(&self, message: impl Display) {
        self.report.add(&self.path, message);
    }

    fn wrong<T>(&self, wanted: &str) -> Option<T> {
        self.error(format_args!("must be {wanted}, not {}", self.node.kind()));
        None
    }

    pub(super) fn is_array(&self) -> bool {
        matches!(self.node, Node::Array(_))
    }

    pub(super) fn is_object(&self) -> bool {
        matches!(self.node, Node::Object(_))
    }

    pub(super) fn is_string(&self) -> bool {
        matches!(self.node, Node::String(_))
    }

    pub(super) fn object(&self) -> Option<Object<'a>> {
        match self.node {
            Node::Object(members) => Some(Object { at: self.clone(), members }),
            _ => self.wrong("an object"),
        }
    }

    pub(super) fn array(&self) -> Option<Vec<Self>> {
        let Node::Array(items) = self.node else { return self.wrong("a list") };
        let at = |(index, node)| Value { node, path: index_path(&self.path, index), report: self.report };
        Some(items.iter().enumerate().map(at).collect())
    }

    /// Each item of a list through `read`; every bad item is reported, and left out.
    pub(super) fn list<T>(&self, read: impl Fn(&Self) -> Option<T>) -> Option<Vec<T>> {
        Some(self.array()?.iter().filter_map(read).collect())
    }

    pub(super) fn string(&self) -> Option<&'a str> {
        match self.node {
            Node::String(text) => Some(text),
            _ => self.wrong("a string"),
        }
    }

    /// A string without NUL bytes.
    pub(super) fn text(&self) -> Option<&'a str> {
        let text = self.string()?;
        if text.contains('\0') {
            self.error("must not contain a NUL byte");
            return None;
        }
        Some(text)
    }

    /// A string through a checking constructor.
    pub(super) fn parse<T, E: Display>(&self, check: impl FnOnce(&'a str) -> Result<T, E>) -> Option<T> {
        check(self.string()?).map_err(|error| self.error(error)).ok()
    }

    pub(super) fn bool(&self) -> Option<bool> {
        match self.node {
            Node::Bool(value) => Some(*value),
            _ => self.wrong("true or false"),
        }
    }

    /// A whole number in a range.
    pub(super) fn number(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let Node::Number(number) = self.node else { return self.wrong("a number") };
        match number.as_u64() {
            Some(value) if range.contains(&value) => Some(value),
            _ => {
                let (low, high) = range.into_inner();
                self.error(format_args!("must be a whole number from {low} to {high}, not {number}"));
                None
            }
        }
    }

    /// As [`Value::number`], for the types that are narrower.
    pub(super) fn narrow<T: TryFrom<u64>>(&self, range: RangeInclusive<u64>) -> Option<T> {
        self.number(range).and_then(|value| T::try_from(value).ok())
    }

    pub(super) fn float(&self, range: RangeInclusive<f64>) -> Option<f64> {
        let Node::Number(number) = self.node else { return self.wrong("a number") };
        match number.as_f64() {
            Some(value) if range.contains(&value) => Some(value),
            _ => {
                let (low, high) = range.into_inner();
                self.error(format_args!("must be a number from {low} to {high}, not {number}"));
                None
            }
        }
    }

    /// A number of seconds, or a string with a unit: `500ms`, `30s`, `10min`, `1h`. Kept to the
    /// millisecond, at most a year.
    pub(super) fn duration(&self) -> Option<Duration> {
        const WANTED: &str = "a number of seconds or a duration like \"30s\"";
        let duration = match self.node {
            Node::Number(number) => number.as_f64().and_then(milliseconds),
            Node::String(text) => parse_duration(text),
            _ => return self.wrong(WANTED),
        };
        if duration.is_none() {
            let shown = match self.node {
                Node::String(text) => format!("{text:?}"),
                Node::Number(number) => number.to_string(),
                _ => String::new(),
            };
            self.error(format_args!("must be {WANTED}, at most a year, not {shown}"));
        }
        duration
    }

    /// One of a closed set of strings.
    pub(super) fn one_of<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let text = self.string()?;
        let found = choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if found.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            self.error(format_args!("must be {}, not {text:?}", names.join(" or ")));
        }
        found
    }
}

/// An object and its place.
pub(super) struct Object<'a> {
    at: Value<'a>,
    members: &'a [(String, Node)],
}

impl<'a> Object<'a> {
    pub(super) fn at(&self) -> &Value<'a> {
        &self.at
    }

    fn member(&self, key: &str, node: &'a Node) -> Value<'a> {
        Value { node, path: key_path(&self.at.path, key), report: self.at.report }
    }

    /// The value of a key, where the key is there.
    pub(super) fn get(&self, key: &str) -> Option<Value<'a>> {
        self.members.iter().find(|(name, _)| name == key).map(|(_, node)| self.member(key, node))
    }

    /// The value of a key that must be there.
    pub(super) fn require(&self, key: &str) -> Option<Value<'a>> {
        let value = self.get(key);
        if value.is_none() {
            self.at.report.add(&key_path(&self.at.path, key), "is missing");
        }
        value
    }

    /// All members, with their keys.
    pub(super) fn members(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> {
        self.members.iter().map(|(key, node)| (key.as_str(), self.member(key, node)))
    }

    /// Refuses other keys than these, in our own documents.
    pub(super) fn only(&self, known: &[&str]) {
        if self.at.report.unknown_keys == UnknownKeys::Pass {
            return;
        }
        for (key, value) in self.members().filter(|(key, _)| !known.contains(key)) {
            match suggest(key, known.iter().copied()) {
                Some(near) => value.error(format_args!("unknown key, did you mean \"{near}\"?")),
                None => value.error("unknown key"),
            }
        }
    }
}

/// The nearest of some words, if it is near enough to be what was meant.
pub(crate) fn suggest<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    if word.len() > 64 {
        return None;
    }
    known
        .into_iter()
        // No distance is smaller than the difference in length, which is cheaper to tell.
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= 3)
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).clamp(1, 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Seconds, to the millisecond; `None` where they are negative or more than a year.
pub(crate) fn milliseconds(seconds: f64) -> Option<Duration> {
    let range = 0.0..=(SECONDS_MAX as f64);
    range.contains(&seconds).then(|| Duration::from_millis((seconds * 1000.0).round() as u64))
}

/// A number with a unit (`ms`, `s`, `min`, `m`, `h`), or without one: seconds.
fn parse_duration(text: &str) -> Option<Duration> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().ok()?;
    let milliseconds = match &text[end..] {
        "ms" => number,
        "" | "s" => number.checked_mul(1000)?,
        "min" | "m" => number.checked_mul(60_000)?,
        "h" => number.checked_mul(3_600_000)?,
        _ => return None,
    };
    (milliseconds <= SECONDS_MAX * 1000).then(|| Duration::from_millis(milliseconds))
}
