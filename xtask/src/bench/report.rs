//! Tables on standard output, JSON below the target directory's `bench`.

use std::fs;

use anyhow::Context as _;
use serde_json::Value;

use crate::workspace::Workspace;

/// Writes `bench/NAME.json` and says where.
pub(crate) fn write(workspace: &Workspace, name: &str, report: &Value) -> anyhow::Result<()> {
    let directory = workspace.target().join("bench");
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let path = directory.join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(report)? + "\n";
    fs::write(&path, text).with_context(|| path.display().to_string())?;
    println!("\nwritten: {}", path.display());
    Ok(())
}

/// Prints rows in columns: the first to the left, the others to the right.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(String::as_str);
        cells.chain(head.get(column).copied()).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let head: Vec<_> = head.iter().map(|&cell| cell.to_owned()).collect();
    println!();
    for row in [&head].into_iter().chain(rows) {
        let cells = row.iter().enumerate().map(|(column, cell)| match column {
            0 => format!("{cell:<0$}", width(column)),
            _ => format!("{cell:>0$}", width(column)),
        });
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}
