//! The graph in graphviz' language.

use std::collections::BTreeSet;

use super::view::Link;
use crate::cli::text::harmless;

/// One node a container, one edge a link, from the consumer to the provider.
pub(super) fn render(links: &[Link]) -> String {
    let mut text = String::from(
        "digraph xconnect {\n  rankdir=LR;\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n  \
         edge [fontname=\"sans-serif\", fontsize=10];\n",
    );
    let names: BTreeSet<&str> =
        links.iter().flat_map(|link| [link.consumer.as_str(), link.provider.as_str()]).collect();
    for name in names {
        text.push_str(&format!("  {};\n", quoted(&[name])));
    }
    for link in links {
        let status = link.status.as_deref().unwrap_or_default();
        let status =
            if link.path.is_empty() { status.to_owned() } else { format!("{status} ({})", link.path) };
        let mut lines = vec![format!("{} {}", link.kind, link.service)];
        lines.extend(Some(format!("role {}", link.role)).filter(|_| !link.role.is_empty()));
        lines.extend(Some(status).filter(|status| !status.is_empty()));
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let (colour, style) = match link.status.as_deref() {
            None => ("black", "solid"),
            Some("up") => ("forestgreen", "solid"),
            Some("failed") => ("red", "dashed"),
            Some("draining" | "gone") => ("gray", "dashed"),
            Some(_) => ("orange", "dashed"),
        };
        text.push_str(&format!(
            "  {} -> {} [label={}, color={colour}, style={style}, tooltip={}];\n",
            quoted(&[&link.consumer]),
            quoted(&[&link.provider]),
            quoted(&lines),
            quoted(&[link.reason.as_deref().or(link.not_in_kernel()).unwrap_or(&link.target)]),
        ));
    }
    text.push_str("}\n");
    text
}

/// A quoted string of lines: only quotes and backslashes mean something in it.
fn quoted(lines: &[&str]) -> String {
    let escaped: Vec<String> =
        lines.iter().map(|line| harmless(line).replace('\\', "\\\\").replace('"', "\\\"")).collect();
    format!("\"{}\"", escaped.join("\\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_cannot_leave_their_quotes() {
        let links = [
            json!({"type": "unix", "name": "raw", "consumer": "a\"];x[", "provider": "b\\", "role": "any",
                   "status": "up", "path": "user", "target": "/t"}),
            json!({"name": "n\nm", "consumer": "c", "provider": "b\\", "target": "/u"}),
        ];
        let links: Vec<Link> = links.iter().map(Link::read).collect();
        let text = render(&links);
        let edges: Vec<&str> = text.lines().skip(4).collect();
        assert_eq!(
            edges,
            [
                r#"  "a\"];x[";"#,
                r#"  "b\\";"#,
                r#"  "c";"#,
                r#"  "a\"];x[" -> "b\\" [label="unix raw\nrole any\nup (user)", color=forestgreen, style=solid, tooltip="/t"];"#,
                r#"  "c" -> "b\\" [label=" n\\u{a}m", color=black, style=solid, tooltip="/u"];"#,
                "}"
            ]
        );
    }
}
