//! The links: fetched, completed with the mesh's own status where the control socket has none, and shown.

mod dot;
mod merge;
mod rates;
mod rows;
mod view;
mod watch;

use std::time::{Duration, Instant};

use serde_json::Value;

use super::args::Format;
use super::failure::Failure;
use super::session::{Detail, Session, parse};
use crate::api::client::{Bounds, Client};
use rates::Rates;
use view::Link;

pub(super) use watch::{desired, watch};

const TARGET: &str = "/xconnect-graph";

/// One look at the graph.
struct Look {
    value: Value,
    /// As it came, or as it was completed.
    body: Vec<u8>,
    /// Why the links have no status.
    note: Option<String>,
    at: Instant,
}

impl Look {
    fn links(&self) -> Result<Vec<Link>, Failure> {
        let list = self.value.as_array().ok_or(Failure::NotAList { what: format!("GET {TARGET}") })?;
        Ok(list.iter().map(Link::read).collect())
    }
}

pub(super) async fn ls(session: &Session, sample: u64) -> Result<(), Failure> {
    let mut look = fetch(session).await?;
    let detail = match session.format {
        Format::Json => return session.show(TARGET, &look.body, |_, _| None),
        Format::Dot => return session.print(dot::render(&look.links()?).as_bytes()),
        Format::Table => Detail::Table,
        Format::Wide => Detail::Wide,
    };
    let mut links = look.links()?;
    let mut rates = Rates::default();
    if sample > 0 && links.iter().any(Link::moves) {
        rates.look(&links, look.at);
        tokio::time::sleep(Duration::from_millis(sample)).await;
        look = fetch(session).await?;
        links = look.links()?;
        rates.look(&links, look.at);
    }
    session.print(rows::page(session, &links, &rates, detail, look.note.as_deref()).as_bytes())
}

pub(super) async fn dot(session: &Session) -> Result<(), Failure> {
    let look = fetch(session).await?;
    session.print(dot::render(&look.links()?).as_bytes())
}

/// The graph; beside a Pantavisor, whose entries have no status, with the mesh's status merged in.
async fn fetch(session: &Session) -> Result<Look, Failure> {
    let answer = session.get(TARGET).await?;
    let at = Instant::now();
    let mut value = parse(&format!("GET {TARGET}"), &answer.body)?;
    let mut look = Look { value: Value::Null, body: answer.body, note: None, at };
    if merge::lacks_status(&value) {
        let status = answer.socket.with_file_name("pv-xconnect");
        match links_of(session, &status).await {
            Ok(links) => {
                merge::merge(&mut value, &links);
                look.body = value.to_string().into_bytes();
            }
            Err(reason) => {
                session.trace(format_args!("* {reason}"));
                look.note = Some(reason);
            }
        }
    }
    look.value = value;
    Ok(look)
}

/// What the mesh says of its links, or why it says nothing: the graph is shown all the same.
async fn links_of(session: &Session, socket: &std::path::Path) -> Result<Value, String> {
    session.trace(format_args!("> GET /links"));
    let bounds =
        Bounds { connect: Duration::from_secs(2), total: Duration::from_secs(10), ..Bounds::default() };
    let client = Client::new(vec![socket.to_owned()], bounds);
    let why = |text: String| format!("no status of the links: {text}");
    let answer = client.request(&hyper::Method::GET, "/links", None).await.map_err(|error| match error {
        crate::api::client::Error::NoSocket { tried } => {
            let tried = tried.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            why(format!("is pv-xconnect running? tried {tried}"))
        }
        error => why(error.to_string()),
    })?;
    session.trace(format_args!("< {} ({} bytes of {})", answer.status, answer.body.len(), socket.display()));
    if answer.status != 200 {
        return Err(why(format!("{} answered with status {}", socket.display(), answer.status)));
    }
    let value: Value = serde_json::from_slice(&answer.body).map_err(|error| why(error.to_string()))?;
    Ok(value)
}
