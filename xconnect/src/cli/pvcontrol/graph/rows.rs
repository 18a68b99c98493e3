//! The table of links, and what is wrong with those that are not up.

use super::rates::Rates;
use super::view::{Counters, Http, Link};
use crate::cli::pvcontrol::session::{Detail, Session};
use crate::cli::table::{Cell, Colour, Column, Table, Tint, tinted};
use crate::cli::text;

/// Links that are not up and are explained below the table.
const EXPLAINED: usize = 20;

/// Table, explanations and the note, as wide as the terminal.
pub(super) fn page(
    session: &Session,
    links: &[Link],
    rates: &Rates,
    detail: Detail,
    note: Option<&str>,
) -> String {
    let colour = session.out.colour();
    let mut page = table(links, rates, detail).render(session.room(detail), colour);
    page.push_str(&problems(links, colour));
    page.push_str(&slower(links, colour));
    if links.is_empty() {
        page.push_str("no links: no container requires a service that another one provides\n");
    }
    if let Some(note) = note {
        page.push_str(&tinted(&text::harmless(note), Tint::Busy, colour));
        page.push('\n');
    }
    page
}

fn table(links: &[Link], rates: &Rates, detail: Detail) -> Table {
    let mut columns = vec![
        Column::left("TYPE").rank(5),
        Column::left("SERVICE").shrinks(8),
        Column::left("CONSUMER").shrinks(8),
        Column::left("→ PROVIDER").shrinks(10),
        Column::left("ROLE").shrinks(4).rank(2),
        Column::left("STATUS"),
        Column::left("PATH").rank(4),
        Column::right("CONNS").rank(6),
        Column::right("BYTES").rank(6),
        Column::right("RATE").rank(3),
    ];
    let shown = Shown { detail, requests: links.iter().any(Link::has_requests) };
    if shown.requests {
        columns.extend([Column::right("REQ/S").rank(6), Column::right("ERRS").rank(6)]);
    }
    columns.push(Column::right("KERNEL").rank(1));
    if detail == Detail::Wide {
        columns.extend([
            Column::right("TOTAL"),
            Column::right("REFUSED"),
            Column::right("FAILED"),
            Column::right("MSGS"),
            Column::right("FDS"),
            Column::right("DENIED"),
            Column::right("ERRORS"),
            Column::right("CUT"),
            Column::right("PIDS"),
            Column::left("TARGET"),
            Column::left("SOCKET"),
            Column::left("SINCE"),
            Column::left("REASON"),
        ]);
        if shown.requests {
            columns.extend([Column::right("REQS"), Column::right("P99")]);
        }
    }
    let mut table = Table::new(&columns);
    for link in links {
        table.row(row(link, rates, shown));
    }
    table
}

/// Which columns there are beside the usual ones.
#[derive(Clone, Copy)]
struct Shown {
    detail: Detail,
    /// There is a rest link.
    requests: bool,
}

fn row(link: &Link, rates: &Rates, shown: Shown) -> Vec<Cell> {
    let http = link.counters.as_ref().and_then(|counters| counters.http);
    let asked = |what: &dyn Fn(&Http) -> String| Cell::new(http.as_ref().map(what).unwrap_or_default());
    let counted =
        |what: &dyn Fn(&Counters) -> String| Cell::new(link.counters.as_ref().map(what).unwrap_or_default());
    let mut row = vec![
        Cell::new(&link.kind),
        Cell::new(&link.service),
        Cell::new(&link.consumer),
        Cell::new(format!("→ {}", link.provider)),
        Cell::new(&link.role),
        Cell::new(link.status.as_deref().unwrap_or_default()).tint(link.tint()),
        Cell::new(&link.path),
        counted(&|counters| counters.open.to_string()),
        counted(&|counters| text::bytes(counters.bytes)),
        Cell::new(rates.bytes(link)),
    ];
    if shown.requests {
        let errors = asked(&|http| http.errors.to_string());
        let bad = http.is_some_and(|http| http.errors > 0);
        row.extend([Cell::new(rates.requests(link)), if bad { errors.tint(Tint::Bad) } else { errors }]);
    }
    row.push(counted(&|counters| {
        text::percent(counters.kernel, counters.kernel.saturating_add(counters.user))
    }));
    if shown.detail == Detail::Wide {
        row.extend([
            counted(&|counters| counters.total.to_string()),
            counted(&|counters| counters.refused.to_string()),
            counted(&|counters| counters.failed.to_string()),
            counted(&|counters| counters.messages.to_string()),
            counted(&|counters| counters.fds.to_string()),
            counted(&|counters| counters.denied.to_string()),
            counted(&|counters| counters.errors.to_string()),
            counted(&|counters| counters.cut.to_string()),
            Cell::new(format!("{}→{}", link.consumer_pid, link.provider_pid)),
            Cell::new(&link.target),
            Cell::new(&link.socket),
            Cell::new(&link.since),
            Cell::new(link.reason.as_ref().or(link.path_reason.as_ref()).map_or("", String::as_str)),
        ]);
        if shown.requests {
            row.extend([asked(&|http| http.requests.to_string()), asked(&|http| text::micros(http.p99))]);
        }
    }
    row
}

/// One line for each link that has a status other than up.
fn problems(links: &[Link], colour: Colour) -> String {
    let mut page = String::new();
    let mut wrong = links.iter().filter(|link| link.status.is_some() && !link.is_up());
    for link in wrong.by_ref().take(EXPLAINED) {
        let status = link.status.as_deref().unwrap_or_default();
        let reason = link.reason.as_deref().unwrap_or("no reason given");
        let status = tinted(&text::harmless(status), link.tint(), colour);
        page.push_str(&text::harmless(&format!(
            "{} of {} (from {}): ",
            link.service, link.consumer, link.provider
        )));
        page.push_str(&format!("{status}: {}\n", text::harmless(reason)));
    }
    match wrong.count() {
        0 => {}
        more => page.push_str(&format!("and {more} more that are not up: see -o wide\n")),
    }
    page
}

/// One line for each reason why links that asked for the kernel run in user space.
fn slower(links: &[Link], colour: Colour) -> String {
    let mut reasons: Vec<(&str, Vec<&Link>)> = Vec::new();
    for link in links {
        let Some(reason) = link.not_in_kernel() else { continue };
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, those)) => those.push(link),
            None => reasons.push((reason, vec![link])),
        }
    }
    let more = reasons.len().saturating_sub(EXPLAINED);
    let mut page = String::new();
    for (reason, those) in reasons.iter().take(EXPLAINED) {
        let what = match those.as_slice() {
            [link] => format!("{} of {} (from {})", link.service, link.consumer, link.provider),
            several => format!("{} links", several.len()),
        };
        let path = tinted("not in the kernel", Tint::Busy, colour);
        page.push_str(&format!("{}: {path}: {}\n", text::harmless(&what), text::harmless(reason)));
    }
    if more > 0 {
        page.push_str(&format!("and {more} more reasons not to be in the kernel: see -o wide\n"));
    }
    page
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::{Value, json};

    use super::*;

    fn sample() -> Vec<Link> {
        let counters = json!({"connections": {"open": 1, "total": 7, "refused": 2, "failed": 3},
            "bytes": {"to_provider": 1024, "to_consumer": 1024}, "messages": {"to_provider": 4, "to_consumer": 5},
            "kernel": {"bytes": 1536, "messages": 0, "errors": 91, "cut": 92}, "user": {"bytes": 512, "messages": 0}, "fds": 6, "denied": 8});
        [
            json!({"type": "unix", "name": "raw", "consumer": "client", "consumer_pid": 12, "provider": "server",
                   "provider_pid": 34, "role": "any", "target": "/run/raw.sock", "socket": "/run/s", "status": "up",
                   "reason": null, "path": "kernel", "since": "2026-01-31T08:00:00Z", "counters": counters}),
            json!({"type": "rest", "name": "api", "consumer": "client", "provider": "db", "status": "waiting",
                   "reason": "provider is not running\u{1b}[2J", "target": "/a"}),
            json!({"type": "unix", "name": "old", "consumer": "c", "provider": "_pv_", "consumer_pid": 1}),
            json!({"name": 7, "counters": "odd", "status": ["odd"]}),
        ]
        .iter()
        .map(Link::read)
        .collect()
    }

    #[test]
    fn table_of_links() {
        let links = sample();
        let mut rates = Rates::default();
        let start = Instant::now();
        let mut before = links.clone();
        before[0].counters = Some(Counters::default());
        rates.look(&before, start);
        rates.look(&links, start + Duration::from_millis(500));
        assert_eq!(
            table(&links, &rates, Detail::Table).render(None, Colour::No),
            "TYPE  SERVICE  CONSUMER  → PROVIDER  ROLE  STATUS   PATH    CONNS    BYTES       RATE  KERNEL\n\
             unix  raw      client    → server    any   up       kernel      1  2.0 KiB  4.0 KiB/s     75%\n\
             rest  api      client    → db        -     waiting  -           -        -          -       -\n\
             unix  old      c         → _pv_      -     -        -           -        -          -       -\n\
             -     7        -         →           -     -        -           -        -          -       -\n"
        );
        let narrow = table(&links, &rates, Detail::Table).render(Some(60), Colour::No);
        assert!(narrow.lines().all(|line| text::width(line) <= 60), "{narrow}");
        assert!(narrow.contains("STATUS") && narrow.contains("CONNS"), "{narrow}");
        let wide = table(&links, &rates, Detail::Wide).render(None, Colour::No);
        assert!(wide.contains("provider is not running\\u{1b}[2J"), "{wide}");
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let (titles, values) = (words(wide.lines().next().unwrap()), words(wide.lines().nth(1).unwrap()));
        let value = |title: &str| {
            let place = titles.iter().position(|it| it == title).unwrap();
            // The arrow before the provider is a word of both lines; sizes and rates have two words.
            values[place + 2].as_str()
        };
        assert_eq!((value("KERNEL"), value("ERRORS"), value("CUT")), ("75%", "91", "92"));
        assert!(wide.contains("12→34  /run/raw.sock  /run/s  2026-01-31T08:00:00Z"), "{wide}");
    }

    #[test]
    fn requests_of_rest_links() {
        let mut links = sample();
        let http = |total: u64| {
            let http = json!({"requests": {"total": total, "GET": 3}, "latency_us": {"p99": 2500},
                "answers": {"2xx": 1, "4xx": 9, "5xx": 2, "cut": 3, "refused": 4, "denied": 5}});
            json!({"type": "rest", "name": "api", "consumer": "client", "provider": "db", "status": "up", "role": "any",
                   "path": "user", "target": "/a", "counters": {"connections": {"open": 0}, "denied": 5, "http": http}})
        };
        let mut rates = Rates::default();
        let start = Instant::now();
        links[1] = Link::read(&http(100));
        assert!(links[1].moves());
        rates.look(&links, start);
        links[1] = Link::read(&http(110));
        rates.look(&links, start + Duration::from_millis(250));
        assert_eq!(
            table(&links[..2], &rates, Detail::Table).render(None, Colour::No),
            "TYPE  SERVICE  CONSUMER  → PROVIDER  ROLE  STATUS  PATH    CONNS    BYTES   RATE  REQ/S  ERRS  KERNEL\n\
             unix  raw      client    → server    any   up      kernel      1  2.0 KiB  0 B/s      -     -     75%\n\
             rest  api      client    → db        any   up      user        0      0 B  0 B/s     40     9       -\n"
        );
        let wide = table(&links, &rates, Detail::Wide).render(None, Colour::No);
        assert!(wide.lines().nth(2).unwrap().trim_end().ends_with("110  2.5 ms"), "{wide}");
        let narrow = table(&links, &rates, Detail::Table).render(Some(70), Colour::No);
        assert!(narrow.lines().all(|line| text::width(line) <= 70), "{narrow}");
        assert!(narrow.contains("REQ/S") && narrow.contains("ERRS"), "{narrow}");
    }

    #[test]
    fn links_that_are_not_up_are_explained() {
        assert_eq!(
            problems(&sample(), Colour::No),
            "api of client (from db): waiting: provider is not running\\u{1b}[2J\n"
        );
        let many = vec![sample()[1].clone(); 25];
        assert!(problems(&many, Colour::No).ends_with("and 5 more that are not up: see -o wide\n"));
    }

    #[test]
    fn a_link_that_asked_for_the_kernel_says_why_it_is_not_there() {
        let link = |name: &str, path: &str, reason: Value| {
            Link::read(
                &json!({"name": name, "consumer": "c", "provider": "p", "target": "/t", "status": "up",
                "path": path, "path_reason": reason}),
            )
        };
        let mut links = vec![
            link("a", "user", json!("built without eBPF\u{7}")),
            link("b", "user", Value::Null),
            link("c", "kernel", Value::Null),
            link("d", "user", json!("seqpacket")),
            link("e", "user", json!("seqpacket")),
            link("f", "kernel", json!("2 of 3 connections: no flows")),
        ];
        assert_eq!(
            slower(&links, Colour::No),
            "a of c (from p): not in the kernel: built without eBPF\\u{7}\n\
             2 links: not in the kernel: seqpacket\n\
             f of c (from p): not in the kernel: 2 of 3 connections: no flows\n"
        );
        assert!(
            table(&links, &Rates::default(), Detail::Wide).render(None, Colour::No).contains("seqpacket")
        );
        // What is not up has another line already, with a reason that matters more.
        links[0].status = Some("waiting".to_owned());
        assert!(!slower(&links, Colour::No).contains("eBPF"));
    }
}
