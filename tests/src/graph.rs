//! Graph JSON, as a control plane would send it.

use serde_json::{Map, Value, json};

use crate::container::Container;

/// One entry of a graph.
#[derive(Debug, Clone)]
pub struct Link(Map<String, Value>);

impl Link {
    /// A unix link for this service between these two, neither of which runs.
    #[must_use]
    pub fn new(service: &str, consumer: &str, provider: &str) -> Self {
        let entry = json!({
            "type": "unix", "name": service, "consumer": consumer, "consumer_pid": -1,
            "provider": provider, "provider_pid": -1, "role": "any", "interface": "unix",
            "target": format!("/run/pv/services/{service}.sock"), "socket": format!("/srv/{service}.sock"),
        });
        let Value::Object(entry) = entry else { unreachable!("an object is an object") };
        Self(entry)
    }

    /// The same with another value of a field.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0.insert(field.to_owned(), value.into());
        self
    }

    /// The same, with both ends running.
    #[must_use]
    pub fn between(self, consumer: &Container, provider: &Container) -> Self {
        self.with("consumer_pid", consumer.pid()).with("provider_pid", provider.pid())
    }

    /// The same with an option of our own engine; the others get their defaults.
    #[must_use]
    pub fn option(mut self, name: &str, value: impl Into<Value>) -> Self {
        let options = self.0.entry("options").or_insert_with(|| {
            json!({
                "uid": 65534, "gid": 65534, "refused": null, "forward": "user", "socket_type": "stream",
                "lossy_fds": false, "max_connections": 1024, "idle_timeout": null, "connect_timeout": 10,
            })
        });
        options[name] = value.into();
        self
    }

    /// The same with an option that only rest links have.
    #[must_use]
    pub fn rest(self, name: &str, value: impl Into<Value>) -> Self {
        let mut rest = self.0.get("options").map_or(Value::Null, |options| options["rest"].clone());
        if rest.is_null() {
            rest = json!({});
        }
        rest[name] = value.into();
        self.option("rest", rest)
    }

    /// A text field.
    #[must_use]
    pub fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_default()
    }

    /// Where the consumer finds it.
    #[must_use]
    pub fn target(&self) -> &str {
        self.text("target")
    }

    /// Where the provider listens.
    #[must_use]
    pub fn socket(&self) -> &str {
        self.text("socket")
    }

    /// True where a status entry is about this link, with these very ends.
    #[must_use]
    pub fn is(&self, entry: &Value) -> bool {
        let same = |field: &str| entry[field] == self.0[field];
        let same_pid = |field: &str| {
            let pid = |value: &Value| value.as_i64().unwrap_or(-1).max(-1);
            let (shown, wanted) = (pid(&entry[field]), pid(&self.0[field]));
            shown == wanted || (shown <= 0 && wanted <= 0)
        };
        ["name", "consumer", "target"].into_iter().all(same)
            && ["consumer_pid", "provider_pid"].into_iter().all(same_pid)
    }
}

/// The JSON of a whole graph.
#[must_use]
pub fn json(links: &[Link]) -> String {
    Value::Array(links.iter().map(|link| Value::Object(link.0.clone())).collect()).to_string()
}
