//! What the demo waits for, and what it sees from outside: the control API and the containers' logs.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::Value;

use super::Session;
use crate::workspace::Workspace;

/// A consumer's log line that starts with this reports a success that the consumer checked itself.
const SUCCESS: &str = "ok:";
/// One that starts with this reports something that must not be: the link does what its manifests forbid.
const FAILURE: &str = "failed:";

/// Every container by name, with the number of links that its manifests ask for.
#[derive(Debug)]
pub(crate) struct Goal(BTreeMap<String, usize>);

/// One look.
#[derive(Debug, Default)]
pub(crate) struct View {
    containers: Vec<Container>,
    links: Vec<Link>,
    /// By container.
    reports: BTreeMap<String, Report>,
}

/// What a container says of itself.
#[derive(Debug, Default)]
struct Report {
    succeeded: bool,
    /// The first thing that must not be.
    failed: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Container {
    name: String,
    status: String,
}

/// A link of the graph, as far as the demo looks at it.
#[derive(Debug, Deserialize)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) consumer: String,
    pub(super) provider: String,
    pub(super) status: String,
    reason: Option<String>,
    pub(super) path: Option<String>,
    /// Why it is not in the kernel, where that was asked for.
    pub(super) path_reason: Option<String>,
    #[serde(default)]
    pub(super) counters: Value,
}

/// Asks the engine for the graph.
pub(super) fn links(session: &Session) -> anyhow::Result<Vec<Link>> {
    Ok(serde_json::from_str(&session.ask(&["graph", "ls", "--sample", "0"])?)?)
}

impl Goal {
    /// Reads the examples' manifests.
    pub(crate) fn of_examples(workspace: &Workspace) -> anyhow::Result<Self> {
        let mut links = BTreeMap::new();
        for (name, directory) in workspace.examples()? {
            let mut wanted = 0;
            for (file, lists) in [
                ("args.json", ["/PV_SERVICES_REQUIRED", "/PV_SERVICES_OPTIONAL"]),
                ("run.json", ["/services/required", "/services/optional"]),
            ] {
                let path = directory.join(file);
                if path.exists() {
                    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                    let json: Value =
                        serde_json::from_str(&text).with_context(|| path.display().to_string())?;
                    let entries = lists.iter().filter_map(|list| json.pointer(list)?.as_array());
                    wanted += entries.map(Vec::len).sum::<usize>();
                }
            }
            links.insert(name, wanted);
        }
        Ok(Self(links))
    }

    /// What is not there yet, in words.
    pub(crate) fn missing(&self, view: &View) -> Vec<String> {
        let mut missing = Vec::new();
        for (name, wanted) in &self.0 {
            match view.containers.iter().find(|container| container.name == *name) {
                None => missing.push(format!("container {name} is unknown to the engine")),
                Some(container) if !matches!(container.status.as_str(), "STARTED" | "READY") => {
                    missing.push(format!("container {name} is {}", container.status));
                }
                Some(_) => {}
            }
            let links: Vec<_> = view.links.iter().filter(|link| link.consumer == *name).collect();
            if links.len() < *wanted {
                missing.push(format!("{name} has {} of {wanted} links", links.len()));
            }
            missing.extend(links.iter().filter_map(|link| link.missing()));
            if *wanted > 0 && !view.succeeded(name) {
                missing.push(format!("{name} has not reported a success"));
            }
        }
        missing
    }

    /// The view as lines for people, in an order that stays.
    pub(crate) fn lines(&self, view: &View) -> Vec<String> {
        let containers = view.containers.iter().map(|it| format!("container {}: {}", it.name, it.status));
        let links = view.links.iter().map(Link::line);
        let reports = self.0.iter().filter(|(_, wanted)| **wanted > 0).map(|(name, _)| {
            // The first success is the news; later ones would only scroll.
            let report = if view.succeeded(name) { "reports success" } else { "no report yet" };
            format!("consumer {name}: {report}")
        });
        containers.chain(links).chain(reports).collect()
    }
}

impl View {
    /// Asks the engine through pvcontrol, and reads the logs.
    pub(crate) fn of(session: &Session) -> anyhow::Result<Self> {
        let containers: Vec<Container> = serde_json::from_str(&session.ask(&["containers", "ls"])?)?;
        let links = links(session)?;
        let mut reports = BTreeMap::new();
        for container in &containers {
            let log = session.run_dir().join("logs").join(format!("{}.log", container.name));
            let text = fs::read(&log).unwrap_or_default();
            reports.insert(container.name.clone(), Report::read(&String::from_utf8_lossy(&text)));
        }
        Ok(Self { containers, links, reports })
    }

    fn succeeded(&self, container: &str) -> bool {
        self.reports.get(container).is_some_and(|report| report.succeeded)
    }

    /// What some container reports that must not be, however often it went well since.
    pub(crate) fn failure(&self) -> Option<String> {
        self.reports.iter().find_map(|(name, report)| Some(format!("{name}: {}", report.failed.as_ref()?)))
    }
}

impl Report {
    fn read(log: &str) -> Self {
        Self {
            succeeded: log.lines().any(|line| line.starts_with(SUCCESS)),
            failed: log.lines().find(|line| line.starts_with(FAILURE)).map(str::to_owned),
        }
    }
}

impl Link {
    fn line(&self) -> String {
        let Self { name, consumer, provider, status, .. } = self;
        let path = self.path.as_deref().map_or(String::new(), |path| format!(" ({path})"));
        let reason = self.reason.as_deref().map_or(String::new(), |reason| format!(": {reason}"));
        format!("link {name}, {consumer} -> {provider}: {status}{path}{reason}")
    }

    /// One of its counters, 0 where it has none of the kind.
    pub(super) fn count(&self, pointer: &str) -> u64 {
        self.counters.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
    }

    fn missing(&self) -> Option<String> {
        if self.status != "up" {
            return Some(self.line());
        }
        let silent = self.count("/bytes/to_provider") == 0 || self.count("/bytes/to_consumer") == 0;
        silent.then(|| format!("{}, but no bytes both ways", self.line()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view(status: &str, link: &Value, reported: bool) -> View {
        View {
            containers: vec![Container { name: "client".into(), status: status.into() }],
            links: vec![Link::deserialize(link).unwrap()],
            reports: reported
                .then(|| ("client".into(), Report::read("waiting\nok: 1\n")))
                .into_iter()
                .collect(),
        }
    }

    fn link(status: &str, bytes: u64) -> Value {
        json!({"name": "raw", "consumer": "client", "provider": "server", "status": status, "reason": null,
            "path": "user", "counters": {"bytes": {"to_provider": bytes, "to_consumer": bytes}}})
    }

    #[test]
    fn nothing_less_than_everything_is_success() {
        let goal = Goal([("client".to_owned(), 1)].into());
        assert_eq!(goal.missing(&view("STARTED", &link("up", 7), true)), [""; 0]);
        assert_eq!(goal.missing(&view("READY", &link("up", 7), true)), [""; 0]);
        assert_eq!(goal.missing(&view("STARTING", &link("up", 7), true)).len(), 1);
        assert_eq!(goal.missing(&view("STARTED", &link("waiting", 7), true)).len(), 1);
        assert_eq!(goal.missing(&view("STARTED", &link("up", 0), true)).len(), 1);
        assert_eq!(goal.missing(&view("STARTED", &link("up", 7), false)).len(), 1);
        assert_eq!(goal.missing(&View::default()).len(), 3);
    }

    #[test]
    fn one_failure_is_one_too_many() {
        let mut view = view("STARTED", &link("up", 7), true);
        assert_eq!(view.failure(), None);
        let log = "check failed: x\nok: 1\nfailed: a forbidden path\nok: 2\nfailed: other\n";
        view.reports.insert("client".to_owned(), Report::read(log));
        assert_eq!(view.failure().unwrap(), "client: failed: a forbidden path");
    }
}
