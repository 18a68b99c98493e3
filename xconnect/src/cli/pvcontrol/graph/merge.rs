//! Completing the control socket's graph with the mesh's own links.

use std::collections::HashMap;

use serde_json::Value;

use crate::cli::pvcontrol::field::text;

/// True where an entry has no status.
pub(super) fn lacks_status(graph: &Value) -> bool {
    graph.as_array().is_some_and(|list| list.iter().any(without))
}

fn without(entry: &Value) -> bool {
    entry.get("status").is_none_or(Value::is_null)
}

fn key(entry: &Value) -> (String, String, String) {
    (text(entry, "consumer"), text(entry, "name"), text(entry, "target"))
}

/// Gives entries without a status the fields that they lack and the mesh's entry of the same key has.
/// `links` is an array, or an object with the array in `links`.
pub(super) fn merge(graph: &mut Value, links: &Value) {
    let links = links.get("links").unwrap_or(links).as_array().into_iter().flatten();
    let known: HashMap<_, _> = links.map(|link| (key(link), link)).collect();
    for entry in graph.as_array_mut().into_iter().flatten().filter(|entry| without(entry)) {
        let Some(Value::Object(link)) = known.get(&key(entry)) else { continue };
        let Value::Object(entry) = entry else { continue };
        for (field, value) in link {
            if entry.get(field).is_none_or(Value::is_null) {
                entry.insert(field.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fills_what_is_missing_and_keeps_the_rest() {
        let mut graph = json!([
            {"type": "unix", "name": "a", "consumer": "c", "target": "/t", "consumer_pid": 7, "theirs": [1]},
            {"type": "unix", "name": "a", "consumer": "d", "target": "/t"},
            {"type": "unix", "name": "b", "consumer": "c", "target": "/t", "status": "failed"},
            "odd",
        ]);
        assert!(lacks_status(&graph));
        let links = json!([
            {"name": "a", "consumer": "c", "target": "/t", "consumer_pid": 8, "status": "up", "reason": null},
            {"name": "b", "consumer": "c", "target": "/t", "status": "up"},
        ]);
        merge(&mut graph, &links);
        assert_eq!(
            graph,
            json!([
                {"type": "unix", "name": "a", "consumer": "c", "target": "/t", "consumer_pid": 7, "theirs": [1],
                 "status": "up", "reason": null},
                {"type": "unix", "name": "a", "consumer": "d", "target": "/t"},
                {"type": "unix", "name": "b", "consumer": "c", "target": "/t", "status": "failed"},
                "odd",
            ])
        );
        merge(
            &mut graph,
            &json!({"links": [{"name": "a", "consumer": "d", "target": "/t", "status": "up"}]}),
        );
        assert_eq!(graph[1]["status"], "up");
    }
}
