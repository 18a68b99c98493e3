//! Commands that list: containers, groups, daemons, configuration, revisions, the audit log.

use serde_json::Value;

use super::failure::Failure;
use super::field::{count, shown, string, text as field};
use super::session::{Detail, Session, encode, parse};
use crate::cli::table::{Cell, Column, Table, Tint};
use crate::cli::text::seconds;

pub(super) async fn containers(session: &Session) -> Result<(), Failure> {
    let answer = session.get("/containers").await?;
    session.show("GET /containers", &answer.body, |value, detail| container_table(value.as_array()?, detail))
}

pub(super) fn container_table(list: &[Value], detail: Detail) -> Option<Table> {
    let mut columns = vec![
        Column::left("NAME").shrinks(12),
        Column::left("GROUP").shrinks(6).rank(3),
        Column::left("STATUS"),
        Column::left("GOAL").rank(4),
        Column::right("PID").rank(6),
        Column::right("UPTIME").rank(5),
        Column::left("POLICY").rank(2),
        Column::right("RETRIES").rank(1),
        Column::left("ROLES").shrinks(8).rank(1),
    ];
    if detail == Detail::Wide {
        columns.extend([
            Column::left("RECOVERY"),
            Column::left("PROVIDES"),
            Column::left("CONSUMES"),
            Column::left("REASON"),
        ]);
    }
    let mut table = Table::new(&columns);
    for container in list {
        let recovery = container.get("auto_recovery").unwrap_or(&Value::Null);
        let retries = match (count(recovery, &["current_retries"]), count(recovery, &["max_retries"])) {
            (0, 0) => String::new(),
            (now, 0) => now.to_string(),
            (now, max) => format!("{now}/{max}"),
        };
        let stopped = if field(container, "user_stopped") == "true" { " (by user)" } else { "" };
        let mut row = vec![
            Cell::new(field(container, "name")),
            Cell::new(field(container, "group")),
            state(container, stopped),
            Cell::new(field(container, "status_goal")),
            Cell::new(pid(container)),
            Cell::new(uptime(container)),
            Cell::new(field(container, "restart_policy")),
            Cell::new(retries),
            Cell::new(field(container, "roles")),
        ];
        if detail == Detail::Wide {
            row.push(Cell::new(
                string(recovery, "policy").or_else(|| string(recovery, "type")).unwrap_or_default(),
            ));
            row.push(Cell::new(services(container, "provides")));
            row.push(Cell::new(services(container, "consumes")));
            row.push(Cell::new(field(container, "reason")));
        }
        table.row(row);
    }
    Some(table)
}

fn state(entry: &Value, note: &str) -> Cell {
    let status = field(entry, "status");
    let goal = string(entry, "status_goal");
    let tint = match status.as_str() {
        "STARTED" | "READY" => Tint::Good,
        _ if goal.as_deref() == Some(status.as_str()) => Tint::Good,
        "RECOVERING" | "STARTING" | "STOPPING" | "BLOCKED" => Tint::Busy,
        "STOPPED" if note.is_empty() => Tint::Bad,
        _ => Tint::Plain,
    };
    Cell::new(if status.is_empty() { status } else { status + note }).tint(tint)
}

fn pid(entry: &Value) -> String {
    let pid = entry.get("pid").and_then(Value::as_i64).filter(|&pid| pid > 0);
    pid.map(|pid| pid.to_string()).unwrap_or_default()
}

fn uptime(entry: &Value) -> String {
    let value = entry.get("uptime_secs");
    value.and_then(Value::as_f64).filter(|&up| up >= 0.0).map(|up| seconds(up as u64)).unwrap_or_default()
}

fn services(container: &Value, key: &str) -> String {
    let list = container.get(key).and_then(Value::as_array);
    let one = |service: &Value| format!("{}:{}", field(service, "type"), field(service, "name"));
    list.map(|list| list.iter().map(one).collect::<Vec<_>>().join(",")).unwrap_or_default()
}

pub(super) async fn groups(session: &Session) -> Result<(), Failure> {
    let answer = session.get("/groups").await?;
    session.show("GET /groups", &answer.body, |value, _| {
        let mut table = Table::new(&[
            Column::left("NAME").shrinks(12),
            Column::left("STATUS"),
            Column::left("GOAL"),
            Column::left("POLICY").rank(2),
            Column::left("RECOVERY").rank(1),
        ]);
        for group in value.as_array()? {
            let recovery = group.get("auto_recovery").unwrap_or(&Value::Null);
            table.row(vec![
                Cell::new(field(group, "name")),
                state(group, ""),
                Cell::new(field(group, "status_goal")),
                Cell::new(field(group, "restart_policy")),
                Cell::new(
                    string(recovery, "policy").or_else(|| string(recovery, "type")).unwrap_or_default(),
                ),
            ]);
        }
        Some(table)
    })
}

pub(super) async fn daemons(session: &Session) -> Result<(), Failure> {
    let answer = session.get("/daemons").await?;
    session.show("GET /daemons", &answer.body, |value, _| {
        let mut table = Table::new(&[
            Column::left("NAME").shrinks(12),
            Column::left("STATUS"),
            Column::right("PID"),
            Column::left("RESPAWN"),
        ]);
        for daemon in value.as_array()? {
            let pid = pid(daemon);
            let (status, tint) = match (pid.is_empty(), daemon.get("respawn").and_then(Value::as_bool)) {
                (false, _) => ("running", Tint::Good),
                (true, Some(true)) => ("not running", Tint::Bad),
                (true, _) => ("stopped", Tint::Plain),
            };
            table.row(vec![
                Cell::new(field(daemon, "name")),
                Cell::new(status).tint(tint),
                Cell::new(pid),
                Cell::new(field(daemon, "respawn")),
            ]);
        }
        Some(table)
    })
}

/// Text is printed as it comes, whatever the form that was asked for.
pub(super) async fn text(session: &Session, target: &str) -> Result<(), Failure> {
    let answer = session.get(target).await?;
    session.print(&answer.body)
}

pub(super) async fn config(session: &Session, target: &str) -> Result<(), Failure> {
    let answer = session.get(target).await?;
    session.show(&format!("GET {target}"), &answer.body, |value, _| {
        let mut table = Table::new(&[
            Column::left("KEY"),
            Column::left("VALUE").shrinks(20),
            Column::left("SET BY").rank(1),
        ]);
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    table.row(vec![Cell::new(key), Cell::new(shown(value)), Cell::new("")]);
                }
            }
            _ => {
                for entry in value.as_array()? {
                    let cell = |key| Cell::new(field(entry, key));
                    table.row(vec![cell("key"), cell("value"), cell("modified")]);
                }
            }
        }
        Some(table)
    })
}

/// # Errors
/// [`Failure::Refused`] where the directory's present content is refused.
pub(super) async fn revision(session: &Session) -> Result<(), Failure> {
    let answer = session.get("/revision").await?;
    session.show("GET /revision", &answer.body, |value, _| {
        let mut table = Table::new(&[Column::left("REVISION"), Column::left("SINCE")]);
        table.row(vec![Cell::new(field(value, "revision")), Cell::new(field(value, "since"))]);
        Some(table)
    })?;
    let status = parse("GET /revision", &answer.body)?;
    let Some(refused) = status.get("refused").filter(|refused| !refused.is_null()) else { return Ok(()) };
    let errors = refused.get("errors").and_then(Value::as_array).into_iter().flatten();
    let errors: Vec<String> = errors.map(|error| format!("\n  {}", shown(error))).collect();
    Err(Failure::Refused { since: field(refused, "since"), errors: errors.concat() })
}

pub(super) async fn audit(session: &Session, since: Option<&str>) -> Result<(), Failure> {
    let target = match since {
        Some(since) => format!("/audit?since={}", encode(since)),
        None => "/audit".to_owned(),
    };
    let answer = session.get(&target).await?;
    session.show("GET /audit", &answer.body, |value, detail| audit_table(value.as_array()?, detail))
}

fn audit_table(entries: &[Value], detail: Detail) -> Option<Table> {
    let mut table = Table::new(&[
        Column::right("SEQ"),
        Column::left("TIME"),
        Column::left("EVENT"),
        Column::left("REVISION").rank(1),
        Column::left("BY").shrinks(10).rank(2),
        Column::left("WHAT").shrinks(20),
    ]);
    for entry in entries {
        let revision = match detail {
            Detail::Wide => field(entry, "to"),
            Detail::Table => field(entry, "to").chars().take(12).collect(),
        };
        let author = entry.get("author").unwrap_or(&Value::Null);
        let (via, uids) = (field(author, "via"), field(author, "uids"));
        let by = match author.get("container").and_then(Value::as_str) {
            Some(container) => format!("{via} (container {container})"),
            None if via.is_empty() => shown(author),
            None => format!("{via} (uid {uids})"),
        };
        let event = field(entry, "event");
        let tint = if event == "refused" { Tint::Bad } else { Tint::Plain };
        table.row(vec![
            Cell::new(field(entry, "seq")),
            Cell::new(field(entry, "time")),
            Cell::new(event).tint(tint),
            Cell::new(revision),
            Cell::new(by),
            Cell::new(changes(entry)),
        ]);
    }
    Some(table)
}

/// Errors where there are any, else `+added -removed ~changed` containers, else files.
fn changes(entry: &Value) -> String {
    let errors = field(entry, "errors");
    if !errors.is_empty() {
        return errors;
    }
    ["containers", "files", "links"]
        .into_iter()
        .filter_map(|key| entry.get(key))
        .map(|changes| {
            let part = |key: &str, sign: char| {
                let list = changes.get(key).and_then(Value::as_array).into_iter().flatten();
                list.map(|name| format!("{sign}{} ", shown(name))).collect::<String>()
            };
            (part("added", '+') + &part("removed", '-') + &part("changed", '~')).trim_end().to_owned()
        })
        .find(|text| !text.is_empty())
        .unwrap_or_default()
}
