//! The pure modules stay pure: their sources name no I/O and no sibling that does I/O.

use std::fs;
use std::path::{Path, PathBuf};

const PURE: [&str; 3] = ["ids", "manifest", "graph"];

const FORBIDDEN: [&str; 17] = [
    "tokio",
    "std::fs",
    "std::net",
    "std::os",
    "std::env",
    "std::process",
    "std::thread",
    "std::io",
    "rustix",
    "nix",
    "libc",
    "inotify",
    "crate::mesh",
    "crate::engine",
    "crate::api",
    "crate::sys",
    "crate::cli",
];

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// Whether `word` stands in `line` as a path of its own, not as a part of a longer word.
fn names(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(part) && !after.is_some_and(part) && after != Some('"')
    })
}

/// The text outside of comments.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

#[test]
fn pure_modules_name_nothing_impure() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    for module in PURE {
        files.push(root.join(format!("{module}.rs")));
        sources(&root.join(module), &mut files);
    }
    files.retain(|file| file.exists() && !file.ends_with("manifest/tests/purity.rs"));
    assert!(files.len() > 20, "the sources were not found");
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            for word in FORBIDDEN.into_iter().filter(|word| names(code(line), word)) {
                found.push(format!("{}:{}: {word}", file.display(), number + 1));
            }
            // `use std::{fs, …}` and `use crate::{sys, …}` name them in parts.
            let grouped =
                ["use std::{", "use crate::{"].iter().any(|start| line.trim_start().starts_with(start));
            if grouped {
                found.push(format!(
                    "{}:{}: a grouped use, which hides what it names",
                    file.display(),
                    number + 1
                ));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_search_finds_what_it_looks_for() {
    assert!(names("use tokio::sync;", "tokio"));
    assert!(names("std::fs::read(x)", "std::fs"));
    assert!(!names("let unixnix = 1;", "nix"));
    assert!(!names("let x = libcontainer;", "libc"));
}
