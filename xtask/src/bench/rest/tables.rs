//! The figures as tables.

use super::figures::{Job, Sheet, What};
use super::subject::Row;
use crate::bench::placement::Placement;
use crate::bench::report;

/// A column: its head, what it shows, digits, and which ratios follow it.
struct Column {
    head: &'static str,
    what: What,
    digits: usize,
    ratios: Ratios,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ratios {
    /// To the better reference.
    Better,
    /// And to the direct socket.
    Both,
}

/// A table for each job.
pub(super) fn print(placement: Placement, sheet: &Sheet, jobs: &[Job]) {
    for job in jobs {
        let (head, lines) = table(&format!("{placement}, {job}"), sheet, *job);
        report::table(&head.iter().map(String::as_str).collect::<Vec<_>>(), &lines);
    }
}

fn columns(job: Job) -> Vec<Column> {
    use Ratios::{Better, Both};
    let column = |head, what, digits, ratios| Column { head, what, digits, ratios };
    match job {
        Job::Get(_) => vec![
            column("requests/s", What::PerSecond, 0, Both),
            column("p50 us", What::P50Us, 1, Better),
            column("p99 us", What::P99Us, 1, Better),
            column("added p50 us", What::AddedP50Us, 1, Better),
            column("relay s/100k", What::RelayPerRequests, 3, Better),
        ],
        Job::Body(..) => vec![
            column("MiB/s", What::MibPerSecond, 0, Both),
            column("relay s/GiB", What::RelayPerGib, 3, Better),
        ],
    }
}

fn table(title: &str, sheet: &Sheet, job: Job) -> (Vec<String>, Vec<Vec<String>>) {
    let cell =
        |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |it| format!("{it:.digits$}"));
    let columns = columns(job);
    let mut head = vec![title.to_owned()];
    for column in &columns {
        head.push(column.head.to_owned());
        if column.ratios == Ratios::Both {
            head.push("/direct".to_owned());
        }
        head.push("/better".to_owned());
    }
    let line = |row: Row| {
        let mut cells = vec![row.to_string()];
        for column in &columns {
            let figure = (job, column.what);
            cells.push(cell(sheet.median(row, figure), column.digits));
            if column.ratios == Ratios::Both {
                cells.push(cell(sheet.ratio(row, figure, Some(Row::Direct)), 2));
            }
            cells.push(cell(sheet.ratio(row, figure, sheet.better(figure)), 2));
        }
        cells
    };
    (head, sheet.rows().map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_cell_for_every_head() {
        let job = Job::Get(1);
        let mut sheet = Sheet::new([Row::Direct, Row::Nginx, Row::Ours].into_iter());
        sheet.add(Row::Nginx, 0, (job, What::PerSecond), 50.0);
        sheet.add(Row::Ours, 0, (job, What::PerSecond), 60.4);
        let (head, lines) = table("get", &sheet, job);
        assert!(lines.iter().all(|line| line.len() == head.len()));
        assert_eq!(head[..4], ["get", "requests/s", "/direct", "/better"]);
        assert_eq!(lines[2][..5], ["ours", "60", "-", "1.21", "-"]);
    }
}
