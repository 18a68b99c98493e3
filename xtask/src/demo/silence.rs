//! A while in which only some links are used: what the daemon does for the others would be taken for theirs.

use std::time::{Duration, Instant};

use anyhow::bail;

use super::goal::{Link, links};
use super::session::Session;
use crate::stop::Stop;

/// Until a container has stopped, or asks again.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// What a consumer has sent, whoever moved it.
const SENT: &str = "/bytes/to_provider";

/// Containers that are stopped, and how much had gone over their links then.
#[derive(Debug)]
pub(super) struct Silence(Vec<(String, u64)>);

impl Silence {
    /// Stops the consumers of all other links than those of these names.
    pub(super) fn of_others(session: &Session, stop: &Stop, kept: &[String]) -> anyhow::Result<Self> {
        let mut stopped = Vec::new();
        for link in links(session)?.into_iter().filter(|link| !kept.contains(&link.name)) {
            session.ask(&["containers", "stop", &link.consumer])?;
            let ended = wait(session, stop, &link.consumer, "does not stop", |link| link.status != "up")?;
            stopped.push((link.consumer, ended.count(SENT)));
        }
        Ok(Self(stopped))
    }

    /// Starts them again, and waits until each link is used as before.
    pub(super) fn end(self, session: &Session, stop: &Stop) -> anyhow::Result<()> {
        for (consumer, _) in &self.0 {
            session.ask(&["containers", "start", consumer])?;
        }
        for (consumer, sent) in &self.0 {
            let used = |link: &Link| link.status == "up" && link.count(SENT) > *sent;
            wait(session, stop, consumer, "does not use its link again", used)?;
        }
        Ok(())
    }
}

/// Waits until the link of a consumer is as wanted, and says how it is then.
fn wait(
    session: &Session,
    stop: &Stop,
    consumer: &str,
    trouble: &str,
    wanted: impl Fn(&Link) -> bool,
) -> anyhow::Result<Link> {
    let begin = Instant::now();
    loop {
        stop.check()?;
        let link = links(session)?.into_iter().find(|link| link.consumer == consumer);
        if let Some(link) = link.filter(&wanted) {
            return Ok(link);
        }
        if begin.elapsed() > PATIENCE {
            bail!("container {consumer} {trouble} within {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(LOOK);
    }
}
