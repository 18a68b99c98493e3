//! Graph JSON into links. Every entry is judged by itself, so that one that makes no sense does not
//! take the others with it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Deserializer as _;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;

use super::entry::LinkEntry;
use super::presence;
use crate::graph::link::{End, Grant, Graph, Link, Refusal};
use crate::ids::{ContainerName, InsidePath, LinkKey, Role, ServiceName};
use crate::manifest::{Identity, ServiceType};

/// Longest reason shown, in characters.
const SHOWN_MAX: usize = 300;
/// A text with more bad entries than that is no graph: nobody reads more, and each costs memory.
const BAD_MAX: usize = 1000;

/// What is wrong with one entry, or with the text as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryError {
    index: Option<usize>,
    path: String,
    message: String,
    about: About,
}

/// Which link a bad entry is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum About {
    /// This one.
    Link(Box<LinkKey>),
    /// None: there can be no link of such a name.
    NoLink,
    /// It does not say so.
    Unclear,
}

impl About {
    fn of(entry: &Value) -> Self {
        let field = |name| entry.get(name).and_then(Value::as_str);
        let (Some(consumer), Some(service), Some(target)) =
            (field("consumer"), field("name"), field("target"))
        else {
            return Self::Unclear;
        };
        match (ContainerName::new(consumer), ServiceName::new(service), InsidePath::new(target)) {
            (Ok(consumer), Ok(service), Ok(target)) => {
                Self::Link(Box::new(LinkKey { consumer, service, target }))
            }
            _ => Self::NoLink,
        }
    }
}

impl EntryError {
    fn new(index: Option<usize>, path: impl Into<String>, message: impl fmt::Display) -> Self {
        let plain = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
        let clip = |text: String| text.chars().take(SHOWN_MAX).map(plain).collect();
        Self { index, path: clip(path.into()), message: clip(message.to_string()), about: About::Unclear }
    }

    fn about_entry(self, entry: &Value) -> Self {
        Self { about: About::of(entry), ..self }
    }

    /// Which link the entry is about.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The number of the entry, from 0; `None`: the text as a whole.
    #[must_use]
    pub fn index(&self) -> Option<usize> {
        self.index
    }

    /// The place in the entry, as a JSON path; empty for the entry as a whole.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(index) = self.index {
            write!(f, "[{index}]")?;
            if !self.path.is_empty() {
                write!(f, ".{}", self.path)?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for EntryError {}

/// The good entries of a graph, and what is wrong with the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The links.
    pub graph: Graph,
    /// The entries left out.
    pub errors: Vec<EntryError>,
}

/// Reads a graph of which every entry must be good.
///
/// # Errors
/// What is wrong with each bad entry, or with the text as a whole.
pub fn parse(bytes: &[u8]) -> Result<Graph, Vec<EntryError>> {
    let parsed = parse_each(bytes).map_err(|error| vec![error])?;
    if parsed.errors.is_empty() { Ok(parsed.graph) } else { Err(parsed.errors) }
}

/// Reads the good entries of a graph. Of two with the same key the first stands.
///
/// # Errors
/// The text is not a JSON array, or hardly anything in it is an entry.
pub fn parse_each(bytes: &[u8]) -> Result<Parsed, EntryError> {
    let no_graph = |why: &dyn fmt::Display| EntryError::new(None, "", format_args!("not a graph: {why}"));
    let mut text = serde_json::Deserializer::from_slice(bytes);
    let parsed = text.deserialize_seq(Reading::default()).and_then(|parsed| text.end().map(|()| parsed));
    let parsed = parsed.map_err(|error| no_graph(&error))?;
    if parsed.errors.len() > BAD_MAX {
        let first = &parsed.errors[0];
        return Err(no_graph(&format_args!("more than {BAD_MAX} mistakes, the first: {first}")));
    }
    Ok(parsed)
}

/// A graph that is read entry by entry: all entries of a large one as values would take many times the room
/// of its links.
#[derive(Default)]
struct Reading {
    parsed: Parsed,
    seen: BTreeMap<LinkKey, usize>,
}

impl Reading {
    fn take(&mut self, index: usize, value: &Value) {
        let Self { parsed, seen } = self;
        match read(index, value) {
            Err(errors) => parsed.errors.extend(errors),
            Ok((_, link)) if seen.contains_key(&link.key) => {
                let message = format_args!("is the same link as entry {}: {}", seen[&link.key], link.key);
                parsed.errors.push(EntryError::new(Some(index), "", message).about_entry(value));
            }
            Ok((revision, link)) => {
                seen.insert(link.key.clone(), index);
                parsed.graph.revision = parsed.graph.revision.take().or(revision);
                parsed.graph.links.insert(link.key.clone(), Arc::new(link));
            }
        }
    }
}

impl<'de> Visitor<'de> for Reading {
    type Value = Parsed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut entries: A) -> Result<Parsed, A::Error> {
        let mut index = 0;
        while self.parsed.errors.len() <= BAD_MAX
            && let Some(value) = entries.next_element::<Value>()?
        {
            self.take(index, &value);
            index += 1;
        }
        // A text that is no JSON at all further on is that first.
        while entries.next_element::<IgnoredAny>()?.is_some() {}
        Ok(self.parsed)
    }
}

/// Reads one entry: its revision, and the link.
fn read(index: usize, value: &Value) -> Result<(Option<String>, Link), Vec<EntryError>> {
    let entry: LinkEntry = serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { "" } else { &path };
        vec![EntryError::new(Some(index), path, error.inner()).about_entry(value)]
    })?;
    let revision = entry.revision.clone();
    let wrong = |(path, message)| EntryError::new(Some(index), path, message).about_entry(value);
    let link = link(entry).map_err(|errors| errors.into_iter().map(wrong).collect::<Vec<_>>())?;
    Ok((revision, link))
}

/// A field and what is wrong with it.
type Wrong = (&'static str, String);

fn link(entry: LinkEntry) -> Result<Link, Vec<Wrong>> {
    let mut wrong: Vec<Wrong> = Vec::new();
    let mut check = |field, error: String| wrong.push((field, error));
    let mut kept = |field, result: Result<(), String>| {
        if let Err(error) = result {
            check(field, error);
        }
    };
    let kind = ServiceType::from_name(&entry.kind);
    kept("type", kind.map(drop).ok_or_else(|| format!("there is no type {:?}", entry.kind)));
    let name = ServiceName::new(entry.name.as_str());
    kept("name", name.as_ref().map(drop).map_err(ToString::to_string));
    let consumer = ContainerName::new(entry.consumer.as_str());
    kept("consumer", consumer.as_ref().map(drop).map_err(ToString::to_string));
    let provider = ContainerName::new(entry.provider.as_str());
    kept("provider", provider.as_ref().map(drop).map_err(ToString::to_string));
    let role = if entry.role.is_empty() { Ok(Role::any()) } else { Role::new(entry.role.as_str()) };
    kept("role", role.as_ref().map(drop).map_err(ToString::to_string));
    let socket = InsidePath::new(&entry.socket);
    kept("socket", socket.as_ref().map(drop).map_err(ToString::to_string));
    let target = InsidePath::new(&entry.target).and_then(|path| path.check_creatable().map(|()| path));
    kept("target", target.as_ref().map(drop).map_err(ToString::to_string));
    let (Some(kind), Ok(service), Ok(consumer), Ok(provider), Ok(role), Ok(socket), Ok(target)) =
        (kind, name, consumer, provider, role, socket, target)
    else {
        return Err(wrong);
    };
    let mut options = entry.options.unwrap_or_default();
    let rest = options.rest.take().filter(|_| kind == ServiceType::Rest).unwrap_or_default();
    let grant = match &options.refused {
        Some(reason) => Err(Refusal::Other(reason.clone())),
        None => {
            let identity = Identity { uid: options.uid, gid: options.gid };
            Ok(Grant::new(role.clone(), identity).with_rest_rules(rest.rules()))
        }
    };
    let interface = if entry.interface.is_empty() { kind.as_str().to_owned() } else { entry.interface };
    Ok(Link {
        consumer: presence(entry.consumer_pid, entry.consumer_start, consumer.is_host()),
        provider: End {
            presence: presence(entry.provider_pid, entry.provider_start, provider.is_host()),
            name: provider,
        },
        key: LinkKey { consumer, service, target },
        kind,
        role,
        interface,
        socket,
        grant,
        limits: options.limits(),
        unix: options.unix(),
        rest: rest.options(),
    })
}
