//! What a role may do on a message bus: names that it sees, talks to or owns, and rules for messages.

use super::getters;
use super::reader::{Object, Value};

/// The keys of a role's policy that only dbus has.
pub(super) const KEYS: [&str; 3] = ["names", "rules", "fds"];

/// Policy of one role on one bus. Without names and rules the bus's own policy decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DbusPolicy {
    names: Option<Vec<NameRule>>,
    rules: Option<Vec<MessageRule>>,
    fds: Fds,
}

getters! { DbusPolicy:
    /// What the role may do with which names; `None`: not filtered by name.
    opt names: Vec<NameRule>;
    /// Rules for single messages; `None`: none.
    opt rules: Vec<MessageRule>;
    /// Descriptors in messages.
    copy fds: Fds;
}

/// How much a name is open to a role; each level contains those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NameLevel {
    /// Its coming and going shows.
    See,
    /// It can be called.
    Talk,
    /// It can be owned.
    Own,
}

/// A name, or all names below one (`org.foo.*`), and its level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameRule {
    name: String,
    level: NameLevel,
}

getters! { NameRule:
    /// The name, which can end in `.*`.
    by_ref name: String;
    /// The level.
    copy level: NameLevel;
}

/// What a rule does; deny wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Lets the message pass.
    Allow,
    /// Stops it.
    Deny,
}

/// The messages that a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// Method calls.
    Call,
    /// Signals to everybody.
    Broadcast,
    /// Signals to one receiver.
    Signal,
}

/// A rule for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRule {
    effect: Effect,
    on: On,
    name: Option<String>,
    interface: Option<String>,
    member: Option<String>,
    path: Option<String>,
    arg0: Option<String>,
}

getters! { MessageRule:
    /// Allow or deny.
    copy effect: Effect;
    /// Which messages.
    copy on: On;
    /// The other end's name (may end in `.*`); `None`: any.
    opt name: String;
    /// The interface; `None`: any.
    opt interface: String;
    /// The member; `None`: any.
    opt member: String;
    /// The object's path (may end in `/*`); `None`: any.
    opt path: String;
    /// The first argument, a string; `None`: any.
    opt arg0: String;
}

/// Descriptors in the messages of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fds {
    allow: bool,
    max_per_message: u32,
}

getters! { Fds:
    /// Whether messages may carry any.
    copy allow: bool;
    /// How many in one message.
    copy max_per_message: u32;
}

impl Default for Fds {
    fn default() -> Self {
        // dbus-daemon's own default (max_message_unix_fds of a system bus).
        Self { allow: true, max_per_message: 16 }
    }
}

pub(super) fn read(object: &Object<'_>) -> Option<DbusPolicy> {
    let names = object.get("names").and_then(|list| list.list(read_name));
    let rules = object.get("rules").and_then(|list| list.list(read_rule));
    let fds = object.get("fds").and_then(|fds| read_fds(&fds));
    if names.is_none() && rules.is_none() && fds.is_none() {
        return None;
    }
    Some(DbusPolicy { names, rules, fds: fds.unwrap_or_default() })
}

fn read_name(value: &Value<'_>) -> Option<NameRule> {
    const LEVELS: [(&str, NameLevel); 3] =
        [("see", NameLevel::See), ("talk", NameLevel::Talk), ("own", NameLevel::Own)];
    let object = value.object()?;
    object.only(&["name", "policy"]);
    let name = object.require("name").and_then(|name| name.parse(bus_name_pattern));
    let level = object.require("policy").and_then(|level| level.one_of(&LEVELS));
    Some(NameRule { name: name?, level: level? })
}

fn read_rule(value: &Value<'_>) -> Option<MessageRule> {
    let object = value.object()?;
    object.only(&["effect", "on", "name", "interface", "member", "path", "arg0"]);
    let effect = object
        .require("effect")
        .and_then(|value| value.one_of(&[("allow", Effect::Allow), ("deny", Effect::Deny)]));
    let on = object.require("on").and_then(|value| {
        value.one_of(&[("call", On::Call), ("broadcast", On::Broadcast), ("signal", On::Signal)])
    });
    let field = |key: &str, check: fn(&str) -> Result<String, &'static str>| {
        object.get(key).and_then(|value| value.parse(check)).filter(|text| text != "*")
    };
    let name = field("name", bus_name_pattern);
    let interface = field("interface", interface_pattern);
    let member = field("member", member_pattern);
    let path = field("path", path_pattern);
    let arg0 = object.get("arg0").and_then(|value| value.text()).map(str::to_owned);
    Some(MessageRule { effect: effect?, on: on?, name, interface, member, path, arg0 })
}

fn read_fds(value: &Value<'_>) -> Option<Fds> {
    let object = value.object()?;
    object.only(&["allow", "max_per_message"]);
    let default = Fds::default();
    // SCM_MAX_FD (net/scm.h) bounds what one sendmsg can carry.
    let max = object.get("max_per_message").and_then(|max| max.narrow(0..=253));
    Some(Fds {
        allow: object.get("allow").and_then(|allow| allow.bool()).unwrap_or(default.allow),
        max_per_message: max.unwrap_or(default.max_per_message),
    })
}

/// Elements parted by dots, at least two, none of them starting with a digit (D-Bus specification,
/// "Valid Names"); `hyphens` are for bus names only.
fn dotted(text: &str, hyphens: bool) -> bool {
    let element = |element: &str| {
        !element.is_empty()
            && !element.starts_with(|c: char| c.is_ascii_digit())
            && element.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || (hyphens && c == '-'))
    };
    text.len() <= 255 && text.contains('.') && text.split('.').all(element)
}

/// A well-known name.
pub(super) fn bus_name(text: &str) -> Result<String, &'static str> {
    if dotted(text, true) { Ok(text.to_owned()) } else { Err("must be a bus name, like \"org.example.Foo\"") }
}

fn bus_name_pattern(text: &str) -> Result<String, &'static str> {
    let bare = text.strip_suffix(".*").unwrap_or(text);
    // `org.*` is a pattern, though `org` alone is no name.
    let fits = text == "*" || dotted(bare, true) || (bare != text && dotted(&format!("{bare}.x"), true));
    if fits { Ok(text.to_owned()) } else { Err("must be a bus name, \"org.example.*\" or \"*\"") }
}

fn interface_pattern(text: &str) -> Result<String, &'static str> {
    let fits = text == "*" || dotted(text.strip_suffix(".*").unwrap_or(text), false);
    if fits { Ok(text.to_owned()) } else { Err("must be an interface, like \"org.example.Foo\", or \"*\"") }
}

fn member_pattern(text: &str) -> Result<String, &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let fits = text == "*"
        || (!text.is_empty()
            && text.len() <= 255
            && !text.starts_with(|c: char| c.is_ascii_digit())
            && text.chars().all(plain));
    if fits { Ok(text.to_owned()) } else { Err("must be the name of a member, or \"*\"") }
}

fn path_pattern(text: &str) -> Result<String, &'static str> {
    let bare = text.strip_suffix("/*").unwrap_or(text);
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let element = |element: &str| !element.is_empty() && element.chars().all(plain);
    let path = |path: &str| path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(element));
    let fits = text == "*" || text == "/" || text == "/*" || path(bare);
    if fits { Ok(text.to_owned()) } else { Err("must be an object path, \"/org/example/*\" or \"*\"") }
}
