//! `-w FORMAT`: curl's variables.

use super::error::Error;
use super::transfer::Stats;

/// What the variables stand for.
pub(super) struct Facts<'a> {
    pub(super) stats: &'a Stats,
    pub(super) method: &'a str,
    pub(super) url: &'a str,
    pub(super) error: Option<&'a Error>,
}

/// Where a part of the text goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    Stdout,
    Stderr,
}

/// Replaces variables and escapes; unknown variables are left out and listed.
pub(super) fn expand(format: &str, facts: &Facts<'_>) -> (Vec<(To, String)>, Vec<String>) {
    let mut parts = vec![(To::Stdout, String::new())];
    let mut unknown = Vec::new();
    let mut rest = format;
    while let Some(c) = rest.chars().next() {
        let (text, used) = match c {
            '%' => {
                if let Some(tail) = rest.strip_prefix("%header{") {
                    match tail.split_once('}') {
                        Some((name, _)) => (header(facts, name), "%header{}".len() + name.len()),
                        None => ("%".to_owned(), 1),
                    }
                } else if let Some((name, _)) = rest.strip_prefix("%{").and_then(|tail| tail.split_once('}'))
                {
                    let used = "%{}".len() + name.len();
                    match name {
                        "stdout" => parts.push((To::Stdout, String::new())),
                        "stderr" => parts.push((To::Stderr, String::new())),
                        "onerror" if facts.error.is_none() => break,
                        _ => {}
                    }
                    let value = variable(name, facts).unwrap_or_else(|| {
                        unknown.push(name.to_owned());
                        String::new()
                    });
                    (value, used)
                } else if rest.starts_with("%%") {
                    ("%".to_owned(), 2)
                } else {
                    ("%".to_owned(), 1)
                }
            }
            '\\' => match rest[1..].chars().next() {
                Some('n') => ("\n".to_owned(), 2),
                Some('r') => ("\r".to_owned(), 2),
                Some('t') => ("\t".to_owned(), 2),
                _ => ("\\".to_owned(), 1),
            },
            c => (c.to_string(), c.len_utf8()),
        };
        if let Some((_, part)) = parts.last_mut() {
            part.push_str(&text);
        }
        rest = &rest[used..];
    }
    (parts, unknown)
}

fn header(facts: &Facts<'_>, name: &str) -> String {
    facts.stats.head.as_ref().and_then(|head| head.value(name)).unwrap_or_default().to_owned()
}

fn variable(name: &str, facts: &Facts<'_>) -> Option<String> {
    let stats = facts.stats;
    let seconds =
        |time: Option<std::time::Duration>| format!("{:.6}", time.unwrap_or_default().as_secs_f64());
    let speed = |bytes: u64| match stats.total.as_secs_f64() {
        total if total > 0.0 => format!("{:.0}", bytes as f64 / total),
        _ => "0".to_owned(),
    };
    Some(match name {
        "http_code" | "response_code" => format!("{:03}", stats.status()),
        "http_version" => match &stats.head {
            Some(head) if head.minor == 0 => "1.0".to_owned(),
            Some(_) => "1.1".to_owned(),
            None => "0".to_owned(),
        },
        "content_type" => header(facts, "content-type"),
        "size_download" => stats.downloaded.to_string(),
        "size_upload" => stats.uploaded.to_string(),
        "size_header" => stats.heads.to_string(),
        "size_request" => stats.request.to_string(),
        "speed_download" => speed(stats.downloaded),
        "speed_upload" => speed(stats.uploaded),
        "num_connects" => u8::from(stats.connected.is_some()).to_string(),
        "num_headers" => stats.head.as_ref().map_or(0, |head| head.fields.len()).to_string(),
        "num_redirects" => "0".to_owned(),
        "time_namelookup" | "time_appconnect" | "time_redirect" => seconds(None),
        "time_connect" | "time_pretransfer" => seconds(stats.connected),
        "time_starttransfer" => seconds(stats.first_byte),
        "time_total" => seconds(Some(stats.total)),
        "method" => facts.method.to_owned(),
        "url" | "url_effective" => facts.url.to_owned(),
        "scheme" => "HTTP".to_owned(),
        "exitcode" => facts.error.map_or(0, Error::code).to_string(),
        "errormsg" => facts.error.map(ToString::to_string).unwrap_or_default(),
        "stdout" | "stderr" | "onerror" => String::new(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::head::{Parsed, parse};
    use super::*;

    fn text(format: &str) -> String {
        let Parsed::Done(head) = parse(b"HTTP/1.1 404 No\r\nContent-Type: text/plain\r\nX-A: b\r\n\r\n")
        else {
            panic!("bad head")
        };
        let stats =
            Stats { head: Some(head), total: Duration::from_millis(1500), downloaded: 7, ..Stats::default() };
        let facts = Facts { stats: &stats, method: "GET", url: "http://h/", error: None };
        let (parts, unknown) = expand(format, &facts);
        format!("{parts:?} {unknown:?}")
    }

    #[test]
    fn variables() {
        assert_eq!(
            text(r"\n%{http_code} %{size_download} %{time_total} %{content_type}\x"),
            r#"[(Stdout, "\n404 7 1.500000 text/plain\\x")] []"#
        );
        assert_eq!(text("%%{x} %header{x-a} %{num_headers}%"), r#"[(Stdout, "%{x} b 2%")] []"#);
        assert_eq!(text("a%{stderr}b%{nope}c"), r#"[(Stdout, "a"), (Stderr, "bc")] ["nope"]"#);
        assert_eq!(text("a%{onerror}b"), r#"[(Stdout, "a")] []"#);
        assert_eq!(text("%{http_code"), r#"[(Stdout, "%{http_code")] []"#);
        assert_eq!(text("é\\"), r#"[(Stdout, "é\\")] []"#);
    }

    #[test]
    fn a_failure_before_the_answer() {
        let stats = Stats::default();
        let facts = Facts { stats: &stats, method: "GET", url: "u", error: Some(&Error::Empty) };
        let (parts, _) = expand("%{http_code} %{exitcode} %{errormsg}%{onerror}!", &facts);
        assert_eq!(parts, [(To::Stdout, "000 52 empty reply from the server!".to_owned())]);
    }
}
