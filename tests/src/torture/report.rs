//! The table of a run, its JSON, and the verdict.

use std::fs;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use super::stats::Stats;
use crate::programs;
use crate::wait::{OrFail, ensure};

/// The share of long flows that must have reached the kernel, in hundredths. What is aimed at is 99, and seen; but a
/// busy machine may keep the mesh from its processor for as long as a connection lives, and tests assert no speed.
const SHARE: u64 = 95;

/// What the mesh counts of the kernel path; fields that it lacks are `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Kernel {
    /// Connections that it cut.
    pub cut: Option<u64>,
    /// Directions of connections that lived longer than 100 ms.
    pub long_flows: Option<u64>,
    /// Those of them that reached the kernel.
    pub long_flows_kernel: Option<u64>,
}

impl Kernel {
    fn of(entries: &[Value]) -> Self {
        let sum = |field: &str| {
            let counts = entries.iter().map(|entry| entry["counters"]["kernel"][field].as_u64());
            counts.sum::<Option<u64>>().filter(|_| !entries.is_empty())
        };
        Self { cut: sum("cut"), long_flows: sum("long_flows"), long_flows_kernel: sum("long_flows_kernel") }
    }
}

/// One scenario.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// Its peers break the promise of a plain protocol.
    pub breaks_promise: bool,
    /// What the test saw.
    pub stats: Stats,
    /// What the mesh counted.
    pub kernel: Kernel,
    /// The path of its links, as the mesh says.
    pub path: String,
    /// Why they take that path, where the mesh says so.
    pub reason: Value,
}

impl Row {
    /// Of the status entries of the scenario's links.
    pub(crate) fn new(name: &'static str, breaks_promise: bool, stats: Stats, entries: &[Value]) -> Self {
        let text = |field: &str| entries.first().map_or(Value::Null, |entry| entry[field].clone());
        let path = text("path").as_str().unwrap_or("-").to_owned();
        Self { name, breaks_promise, stats, kernel: Kernel::of(entries), path, reason: text("reason") }
    }
}

/// A run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Its name.
    pub name: String,
    /// What its links asked for.
    pub forward: &'static str,
    /// Its seed.
    pub seed: u64,
    /// How long it took.
    pub seconds: f64,
    /// All scenarios were played.
    pub whole: bool,
    /// What the mesh says of the kernel path.
    pub kernel_path: Value,
    /// The scenarios.
    pub rows: Vec<Row>,
    /// The first faulty connections.
    pub faults: Vec<String>,
}

const HEAD: [&str; 13] = [
    "scenario", "conns", "MB", "lost", "dup", "reord", "alien", "stalled", "errors", "cut", "long", "kernel",
    "share",
];

fn cells(name: &str, stats: &Stats, kernel: &Kernel) -> [String; 13] {
    let or_dash = |count: Option<u64>| count.map_or("-".to_owned(), |count| count.to_string());
    let share = kernel.long_flows.zip(kernel.long_flows_kernel).filter(|(long, _)| *long > 0);
    [
        name.to_owned(),
        stats.connections.to_string(),
        (stats.bytes / 1_000_000).to_string(),
        stats.lost.to_string(),
        stats.duplicated.to_string(),
        stats.reordered.to_string(),
        stats.alien.to_string(),
        stats.stalled.to_string(),
        stats.errors.to_string(),
        stats.cut.to_string(),
        or_dash(kernel.long_flows),
        or_dash(kernel.long_flows_kernel),
        share.map_or("-".to_owned(), |(long, there)| format!("{:.1} %", there as f64 * 100.0 / long as f64)),
    ]
}

impl Report {
    fn total(&self) -> (Stats, Kernel) {
        let mut stats = Stats::default();
        self.rows.iter().for_each(|row| stats += row.stats);
        let sum = |field: fn(&Kernel) -> Option<u64>| self.rows.iter().map(|row| field(&row.kernel)).sum();
        let kernel = Kernel {
            cut: sum(|kernel| kernel.cut),
            long_flows: sum(|kernel| kernel.long_flows),
            long_flows_kernel: sum(|kernel| kernel.long_flows_kernel),
        };
        (stats, kernel)
    }

    /// Scenarios whose links the mesh says are in the kernel.
    fn is_in_kernel(&self) -> bool {
        self.rows.iter().any(|row| row.path == "kernel")
    }

    /// Prints the table; says where what was asked for was not there.
    pub fn print(&self) {
        let (stats, kernel) = self.total();
        let mut rows = vec![HEAD.map(str::to_owned)];
        rows.extend(self.rows.iter().map(|row| cells(row.name, &row.stats, &row.kernel)));
        rows.push(cells("all", &stats, &kernel));
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let widths: [usize; 13] = std::array::from_fn(width);
        println!("\nforward {}, seed {}, {:.0} s", self.forward, self.seed, self.seconds);
        for row in &rows {
            let pad = |(column, cell): (usize, &String)| match column {
                0 => format!("{cell:<0$}", widths[0]),
                _ => format!("{cell:>0$}", widths[column]),
            };
            println!("{}", row.iter().enumerate().map(pad).collect::<Vec<_>>().join("  "));
        }
        if self.forward == "kernel" && !self.is_in_kernel() {
            let (path, reason) =
                self.rows.first().map_or(("-", &Value::Null), |row| (&row.path, &row.reason));
            println!(
                "SKIP THE KERNEL PATH IS NOT THERE: the links asked for it, and their path is {path} ({reason}; {}); \
                 the torture ran in user space",
                self.kernel_path
            );
        }
    }

    /// Writes the JSON to `torture` in the target directory.
    ///
    /// # Panics
    /// Where it cannot be written.
    pub fn write(&self) {
        let dir: PathBuf = programs::profile_dir().with_file_name("torture");
        fs::create_dir_all(&dir).or_fail(dir.display());
        let path = dir.join(format!("{}.json", self.name));
        fs::write(&path, serde_json::to_string_pretty(self).or_fail("report") + "\n").or_fail(path.display());
        println!("written: {}", path.display());
    }

    /// Whether all is as it must be.
    ///
    /// # Errors
    /// What is not.
    pub fn verdict(&self) -> Result<(), String> {
        let (stats, kernel) = self.total();
        ensure(stats.faults() == 0, format_args!("{stats:?}\n{}", self.faults.join("\n")))?;
        for row in &self.rows {
            let (cut, name) = (row.stats.cut, row.name);
            ensure(row.stats.connections > 0, format_args!("{name} was not played"))?;
            let may = self.forward != "user" && row.breaks_promise;
            let listed = || self.faults.join("\n");
            ensure(cut == 0 || may, format_args!("{name}: {cut} connections were cut\n{}", listed()))?;
            let told = row.kernel.cut.unwrap_or(u64::MAX);
            ensure(
                cut <= told,
                format_args!("{name}: {cut} connections were cut, the mesh tells of {told}"),
            )?;
        }
        if self.forward != "kernel" || !self.is_in_kernel() {
            return Ok(());
        }
        let (Some(long), Some(there)) = (kernel.long_flows, kernel.long_flows_kernel) else {
            return Err("the links' path is kernel, and the mesh does not count long flows".to_owned());
        };
        ensure(long > 0 || !self.whole, "no connection lived for 100 ms")?;
        ensure(
            there * 100 >= long * SHARE,
            format_args!("of {long} long flows {there} reached the kernel, less than {SHARE} %"),
        )
    }
}
