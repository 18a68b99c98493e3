//! JSON text into a tree that keeps every key, so that repeated ones can be refused, and the canonical
//! form over which revisions are hashed.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

/// Largest manifest accepted, in bytes.
pub(super) const FILE_MAX: usize = 1 << 20;

/// A JSON value; the members of an object stand as they were written, repeated ones too.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// Text that is no JSON, or too much of it: the place where it is known, and the reason.
pub(super) struct Malformed {
    pub(super) path: String,
    pub(super) message: String,
}

impl Node {
    /// Reads a whole file.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let whole = |message: String| Malformed { path: String::new(), message };
        if bytes.len() > FILE_MAX {
            return Err(whole(format!("must not be larger than 1 MiB (has {} bytes)", bytes.len())));
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|error| whole(format!("must be UTF-8 (is not at byte {})", error.valid_up_to())))?;
        // serde_json refuses more than 128 levels, which bounds every recursion over the tree.
        let mut json = serde_json::Deserializer::from_str(text);
        let node = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let path = error.path().to_string();
            // `.` is the root, `?` a place that was not reached.
            let path = path.trim_end_matches('?').trim_end_matches('.').to_owned();
            Malformed { path, message: format!("not valid JSON: {}", error.inner()) }
        })?;
        json.end().map_err(|error| whole(format!("not valid JSON: {error}")))?;
        Ok(node)
    }

    /// What it is, with its article, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "a list",
            Self::Object(_) => "an object",
        }
    }

    /// Calls `found` with the path of every member whose key its object already has.
    pub(super) fn repeated_keys(&self, path: &str, found: &mut dyn FnMut(&str)) {
        match self {
            Self::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    if matches!(item, Self::Array(_) | Self::Object(_)) {
                        item.repeated_keys(&index_path(path, index), found);
                    }
                }
            }
            Self::Object(members) => {
                let mut seen = HashSet::with_capacity(members.len());
                for (key, value) in members {
                    if !seen.insert(key) {
                        found(&key_path(path, key));
                    }
                    if matches!(value, Self::Array(_) | Self::Object(_)) {
                        value.repeated_keys(&key_path(path, key), found);
                    }
                }
            }
            _ => {}
        }
    }

    /// Writes it with sorted keys and without spaces.
    pub(super) fn write_canonical(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Number(number) => out.push_str(&number.to_string()),
            Self::String(text) => write_string(text, out),
            Self::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write_canonical(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                let mut sorted: Vec<_> = members.iter().collect();
                sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
                out.push('{');
                for (index, (key, value)) in sorted.into_iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    write_string(key, out);
                    out.push(':');
                    value.write_canonical(out);
                }
                out.push('}');
            }
        }
    }
}

/// Writes a JSON string.
pub(super) fn write_string(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

/// The path of a member.
pub(super) fn key_path(parent: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || "_-#".contains(c));
    match (plain, parent.is_empty()) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{parent}.{key}"),
        (false, _) => format!("{parent}[{key:?}]"),
    }
}

/// The path of an item of a list.
pub(super) fn index_path(parent: &str, index: usize) -> String {
    format!("{parent}[{index}]")
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Number::from_f64(value).map_or(Node::Null, Node::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Node::Object(members))
    }
}
