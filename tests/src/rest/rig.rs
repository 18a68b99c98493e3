//! The smallest mesh with a rest link.

use serde_json::Value;

use super::client::Client;
use super::provider::Provider;
use super::record::Seen;
use super::steps::Plan;
use crate::container::Container;
use crate::graph::Link;
use crate::mesh::{Mesh, Setup};
use crate::sandbox::Sandbox;
use crate::wait::OrFail;

/// The user and the group of the links' role.
pub const ROLE: (u32, u32) = (1001, 2002);

/// A mesh, a consumer, a provider that runs, and the link between them, which is up.
#[derive(Debug)]
pub struct Rest {
    /// What the consumer finds.
    pub provider: Provider,
    /// The link.
    pub link: Link,
    /// The mesh.
    pub mesh: Mesh,
    /// Who asks.
    pub consumer: Container,
    /// Where the provider runs.
    pub house: Container,
}

impl Rest {
    /// A link with defaults, and a provider that tells what it sees.
    #[track_caller]
    #[must_use]
    pub fn start(sandbox: &Sandbox) -> Self {
        Self::start_with(sandbox, |link| link)
    }

    /// With a link as `change` makes it.
    #[track_caller]
    #[must_use]
    pub fn start_with(sandbox: &Sandbox, change: impl FnOnce(Link) -> Link) -> Self {
        Self::between(sandbox, Container::start(sandbox), Container::start(sandbox), change)
    }

    /// Between these containers.
    #[track_caller]
    #[must_use]
    pub fn between(
        sandbox: &Sandbox,
        consumer: Container,
        house: Container,
        change: impl FnOnce(Link) -> Link,
    ) -> Self {
        Self::start_as(sandbox, Setup::default(), consumer, house, change)
    }

    /// With a mesh that is started like this.
    #[track_caller]
    #[must_use]
    pub fn start_as(
        sandbox: &Sandbox,
        setup: Setup,
        consumer: Container,
        house: Container,
        change: impl FnOnce(Link) -> Link,
    ) -> Self {
        let link = change(Self::link("api", "consumer", &consumer, &house));
        let provider = Provider::start(&house.listen(link.socket()), Plan::new());
        let mesh = Mesh::start_as(sandbox, setup, std::slice::from_ref(&link));
        mesh.wait(&link, "up");
        Self { provider, link, mesh, consumer, house }
    }

    /// A rest link of the role `operator`.
    #[must_use]
    pub fn link(service: &str, consumer: &str, inside: &Container, house: &Container) -> Link {
        let link = Link::new(service, consumer, "provider").between(inside, house);
        let link = link.with("type", "rest").with("interface", "rest").with("role", "operator");
        link.option("uid", ROLE.0).option("gid", ROLE.1)
    }

    /// A connection of the consumer.
    #[track_caller]
    #[must_use]
    pub fn connect(&self) -> Client {
        Client::from(self.consumer.connect(self.link.target()))
    }

    /// A counter of the link.
    #[track_caller]
    #[must_use]
    pub fn counter(&self, pointer: &str) -> u64 {
        self.mesh.counter(&self.link, pointer)
    }

    /// Takes the provider away: its socket is closed and its file removed.
    #[track_caller]
    pub fn stop_provider(&mut self) {
        let gone = std::mem::replace(&mut self.provider, Provider::nowhere());
        drop(gone);
        self.house.remove(self.link.socket());
    }

    /// Starts another one.
    #[track_caller]
    pub fn start_provider(&mut self, plan: Plan) {
        self.provider = Provider::start(&self.house.listen(self.link.socket()), plan);
    }

    /// Asserts that a request carries the identity of this link, once each, and nothing like it besides;
    /// gives the link's id.
    #[track_caller]
    pub fn assert_identity(&self, seen: &Seen) -> String {
        identity_of(seen, self.link.text("consumer"), self.link.text("role"))
            .or_fail(format_args!("{seen:#?}"))
    }

    /// The same for what [`super::Step::Report`] told.
    #[track_caller]
    pub fn assert_reported(&self, report: &Value) {
        let identity = &report["identity"];
        assert_eq!(identity["x-pv-client"], self.link.text("consumer"), "{report}");
        assert_eq!(identity["x-pv-role"], self.link.text("role"), "{report}");
        assert!(identity["x-pv-link-id"].as_str().is_some_and(|id| !id.is_empty()), "{report}");
        assert_eq!(identity.as_object().map(serde_json::Map::len), Some(3), "{report}");
        assert_eq!((&report["uid"], &report["gid"]), (&ROLE.0.into(), &ROLE.1.into()), "{report}");
    }
}

/// The id of the link whose identity a request carries.
///
/// # Errors
/// Where it carries another one, or something that looks like one.
pub fn identity_of(seen: &Seen, client: &str, role: &str) -> Result<String, String> {
    let of_us = |fields: &[(String, String)]| -> Vec<(String, String)> {
        let normal = |name: &str| -> String {
            name.chars()
                .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
                .collect()
        };
        let fields = fields.iter().map(|(name, value)| (normal(name), value.clone()));
        fields.filter(|(name, _)| name.starts_with("x-pv-")).collect()
    };
    if !of_us(&seen.trailers).is_empty() {
        return Err("identity in the trailers".to_owned());
    }
    let mut fields = of_us(&seen.head.fields);
    fields.sort();
    let names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
    if names != ["x-pv-client", "x-pv-link-id", "x-pv-role"] {
        return Err(format!("fields of identity: {fields:?}"));
    }
    if (fields[0].1.as_str(), fields[2].1.as_str()) != (client, role) || fields[1].1.is_empty() {
        return Err(format!("identity {fields:?}, not {client} as {role}"));
    }
    Ok(fields[1].1.clone())
}
