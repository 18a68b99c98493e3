//! Compares what came of a case with what must.

use std::fmt::Write as _;

use super::client::Answer;
use super::corpus::{Case, Wanted, shown};
use super::reader::to_bytes;
use super::record::{Records, Seen};
use super::replay::Outcome;
use super::rig::identity_of;

/// What is wrong, all of it; empty where all is well.
#[must_use]
pub fn judge(case: &Case, outcome: &Outcome, records: &Records, client: &str, role: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    answers(case, outcome, &mut wrong);
    requests(case, records, client, role, &mut wrong);
    wrong
}

fn answers(case: &Case, outcome: &Outcome, wrong: &mut Vec<String>) {
    wrong.extend(outcome.trouble.clone());
    let got: Vec<_> = outcome.answers.iter().map(|answer| answer.status).collect();
    let fits = got.len() == case.statuses.len()
        && got.iter().zip(&case.statuses).all(|(status, allowed)| allowed.contains(status));
    if !case.any && !fits {
        wrong.push(format!("answers {got:?}, not {:?}", case.statuses));
    }
    for answer in outcome.answers.iter().filter(|answer| answer.status >= 400) {
        wrong.extend(refusal(answer).err());
    }
}

/// A refusal says so in JSON and closes.
fn refusal(answer: &Answer) -> Result<(), String> {
    let json: serde_json::Value = serde_json::from_slice(&to_bytes(&answer.body))
        .map_err(|error| format!("a refusal's body is no JSON: {error}: {answer:?}"))?;
    if json["error"].as_str().is_none_or(str::is_empty) {
        return Err(format!("a refusal without an error: {json}"));
    }
    if !answer.head.all("connection").any(|value| value.eq_ignore_ascii_case("close")) {
        return Err(format!("a refusal without Connection: close: {:?}", answer.head));
    }
    let kind = answer.head.get("content-type").unwrap_or_default();
    if kind != "application/json" {
        return Err(format!("a refusal of type {kind:?}"));
    }
    Ok(())
}

fn requests(case: &Case, records: &Records, client: &str, role: &str, wrong: &mut Vec<String>) {
    wrong.extend(records.wrong().into_iter().filter(|_| !case.cut).map(|why| format!("the provider got {why}")));
    let seen: Vec<_> = records.requests().filter(|seen| seen.complete || !case.cut).collect();
    let raw = |records: &Records| {
        let raw: Vec<_> = records.0.iter().map(|record| shown(&to_bytes(&record.raw))).collect();
        raw.join(" ‖ ")
    };
    if seen.len() != case.requests.len() {
        let count = case.requests.len();
        wrong.push(format!("the provider saw {} requests, not {count}: {}", seen.len(), raw(records)));
        return;
    }
    // Nothing but what was understood: neither before nor behind, nor on a connection without a request.
    let silent = |record: &super::record::Connection| record.requests.is_empty() && !record.raw.is_empty();
    if records.0.iter().any(silent) && !case.cut {
        wrong.push(format!("the provider got something: {}", raw(records)));
    }
    for seen in records.requests() {
        wrong.extend(identity_of(seen, client, role).err());
    }
    for (seen, wanted) in seen.into_iter().zip(&case.requests) {
        wrong.extend(compare(seen, wanted).err());
    }
}

fn compare(seen: &Seen, wanted: &Wanted) -> Result<(), String> {
    let mut why = String::new();
    if seen.head.line != wanted.line {
        let _ = write!(why, "line {:?}, not {:?}; ", seen.head.line, wanted.line);
    }
    let of_us = |name: &str| name.to_ascii_lowercase().starts_with("x-pv-");
    let mut left: Vec<_> = seen.head.fields.iter().filter(|(name, _)| !of_us(name)).collect();
    for (name, value, optional) in &wanted.fields {
        let same = |(n, v): &&(String, String)| n.eq_ignore_ascii_case(name) && (value == "*" || v == value);
        match left.iter().position(same) {
            Some(at) => drop(left.remove(at)),
            None if *optional => {}
            None => {
                let _ = write!(why, "no {name}: {value:?}; ");
            }
        }
    }
    for (name, value) in left {
        let _ = write!(why, "{name}: {:?} came along; ", shown(&to_bytes(value)));
    }
    if seen.body != wanted.body || !seen.complete {
        let (got, want) = (shown(&to_bytes(&seen.body)), shown(&to_bytes(&wanted.body)));
        let _ = write!(why, "body {got:?} (complete: {}), not {want:?}; ", seen.complete);
    }
    let lower = |fields: &[(String, String)]| -> Vec<(String, String)> {
        fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect()
    };
    if lower(&seen.trailers) != lower(&wanted.trailers) {
        let _ = write!(why, "trailers {:?}, not {:?}; ", seen.trailers, wanted.trailers);
    }
    if why.is_empty() { Ok(()) } else { Err(why) }
}
