//! The figures as tables, and how they stand to what is aimed at.

use std::fmt::Write as _;

use super::figures::{Figure, Figures, Measure, What};
use super::subject::Row;
use crate::bench::placement::Placement;
use crate::bench::report;

/// Bytes of a write in the bulk measure.
pub(super) const WRITES: [usize; 3] = [4096, 65536, 1 << 20];
/// Bytes of a round trip.
pub(super) const MESSAGES: [usize; 2] = [64, 4096];
/// What a slow reader takes in a second.
pub(super) const SLOW: u64 = 100_000_000;

/// A column: its head, what it shows, digits, a factor, and whether ratios follow it.
struct Column {
    head: String,
    figure: Figure,
    digits: usize,
    scale: f64,
    ratios: Ratios,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ratios {
    Shown,
    Left,
}

/// All tables of one placement.
pub(super) fn print(placement: Placement, rows: &[(Row, Figures)], jobs: &[(Measure, usize)]) {
    for &(measure, connections) in jobs {
        for columns in tables(measure, connections) {
            print_one(&title(placement, measure, connections), rows, &columns);
        }
        if measure == Measure::Waits {
            print_waits(rows);
        }
    }
}

/// How many waits were longer than this.
fn print_waits(rows: &[(Row, Figures)]) {
    let longer = |figures: &Figures, bits: u32| figures.waits_from(bits).to_string();
    let lines: Vec<_> = rows
        .iter()
        .map(|(row, it)| {
            vec![
                row.to_string(),
                longer(it, 0),
                longer(it, 8),
                longer(it, 10),
                longer(it, 12),
                longer(it, 14),
            ]
        })
        .collect();
    report::table(&["waits", "all", ">= 256 us", ">= 1 ms", ">= 4 ms", ">= 16 ms"], &lines);
}

fn title(placement: Placement, measure: Measure, connections: usize) -> String {
    let plural = if connections == 1 { "" } else { "s" };
    match measure {
        Measure::Paced | Measure::Waits => format!("{placement}, {measure:?}"),
        _ => format!("{placement}, {measure:?}, {connections} connection{plural}"),
    }
}

/// The columns of a measure, a table each.
fn tables(measure: Measure, connections: usize) -> Vec<Vec<Column>> {
    let column = |head: &str, size, what, digits| Column {
        head: head.to_owned(),
        figure: Figure { measure, size, connections, what },
        digits,
        scale: 1.0,
        ratios: Ratios::Shown,
    };
    let plain =
        |head: &str, size, what, digits| Column { ratios: Ratios::Left, ..column(head, size, what, digits) };
    let share = |head: &str, size| Column { scale: 100.0, ..plain(head, size, What::KernelShare, 1) };
    match measure {
        Measure::Bulk => {
            let rate = |size| column(&format!("{} MiB/s", short(size)), size, What::MibPerSecond, 0);
            let cpu = |size| column(&format!("{} CPU s/GiB", short(size)), size, What::CpuSecondsPerGib, 3);
            let bulk = WRITES[1];
            vec![
                WRITES.map(rate).into(),
                WRITES.map(cpu).into(),
                vec![
                    plain("64K: relay ms/GiB", bulk, What::RelayMsPerGib, 1),
                    plain("kworkers ms/GiB", bulk, What::KworkersMsPerGib, 1),
                    share("in the kernel %", bulk),
                    plain("send buffers MiB", bulk, What::SendBuffersMib, 2),
                ],
            ]
        }
        Measure::Rtt => vec![
            MESSAGES
                .iter()
                .flat_map(|&size| {
                    let p50 = column(&format!("{} p50 us", short(size)), size, What::P50Us, 2);
                    [p50, column("p99 us", size, What::P99Us, 2)]
                })
                .chain([share("64B: in the kernel %", MESSAGES[0])])
                .collect(),
        ],
        Measure::Connect => vec![vec![column("connections/s", 1, What::PerSecond, 0)]],
        Measure::Paced => vec![vec![
            column("slow reader MB/s", WRITES[1], What::SlowMbPerSecond, 1),
            column("fast one MiB/s", WRITES[1], What::FastMibPerSecond, 0),
            plain("send buffers MiB", WRITES[1], What::SendBuffersMib, 2),
        ]],
        Measure::Waits => vec![vec![
            column("round trip p50 us", 64, What::P50Us, 1),
            column("p99", 64, What::P99Us, 1),
            column("p99.9", 64, What::P999Us, 0),
            column("max", 64, What::MaxUs, 0),
            column("end p50 us", 64, What::EndP50Us, 1),
            column("end p99", 64, What::EndP99Us, 0),
        ]],
    }
}

fn print_one(title: &str, rows: &[(Row, Figures)], columns: &[Column]) {
    let mut head = vec![title.to_owned()];
    for column in columns {
        head.push(column.head.clone());
        if column.ratios == Ratios::Shown {
            head.extend(["/direct".to_owned(), "/ref".to_owned()]);
        }
    }
    let (direct, reference) = (of(rows, Row::Direct), of(rows, Row::Reference));
    let cell =
        |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |it| format!("{it:.digits$}"));
    let lines: Vec<_> = rows
        .iter()
        .map(|(row, figures)| {
            let mut cells = vec![row.to_string()];
            for column in columns {
                let value = figures.median(column.figure).map(|it| it * column.scale);
                cells.push(cell(value, column.digits));
                if column.ratios == Ratios::Shown {
                    cells.push(cell(figures.ratio(column.figure, direct), 2));
                    cells.push(cell(figures.ratio(column.figure, reference), 2));
                }
            }
            cells
        })
        .collect();
    report::table(&head.iter().map(String::as_str).collect::<Vec<_>>(), &lines);
}

/// The figures of a row.
pub(super) fn of(rows: &[(Row, Figures)], wanted: Row) -> Option<&Figures> {
    rows.iter().find(|(row, _)| *row == wanted).map(|(_, figures)| figures)
}

fn short(size: usize) -> String {
    match size {
        1_048_576.. => format!("{}M", size >> 20),
        1024.. => format!("{}K", size >> 10),
        _ => format!("{size}B"),
    }
}

/// What is aimed at: a ratio of a row's median that must not be below or above a bound.
struct Aim {
    row: Row,
    placement: Placement,
    measure: Measure,
    size: usize,
    what: What,
    /// The row it is compared with; none: the figure itself.
    to: Option<Row>,
    bound: Bound,
}

#[derive(Debug, Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

/// With one connection, each.
const AIMS: [Aim; 13] = {
    use Bound::{AtLeast, AtMost};
    use Measure::{Bulk, Connect, Paced, Rtt, Waits};
    use Placement::{AllCpus, OneCpu};
    use Row::{Direct, Kernel, Reference, User};
    const fn aim(
        row: Row,
        placement: Placement,
        measure: Measure,
        size: usize,
        what: What,
        to: Option<Row>,
        bound: Bound,
    ) -> Aim {
        Aim { row, placement, measure, size, what, to, bound }
    }
    [
        aim(Kernel, AllCpus, Bulk, 65536, What::MibPerSecond, Some(Direct), AtLeast(0.9)),
        aim(Kernel, AllCpus, Bulk, 65536, What::MibPerSecond, Some(Reference), AtLeast(1.3)),
        aim(Kernel, AllCpus, Rtt, 64, What::P50Us, Some(Reference), AtMost(0.75)),
        aim(Kernel, AllCpus, Bulk, 65536, What::CpuSecondsPerGib, Some(Reference), AtMost(0.9)),
        aim(Kernel, AllCpus, Bulk, 65536, What::RelayMsPerGib, None, AtMost(10.0)),
        aim(Kernel, AllCpus, Bulk, 65536, What::KernelShare, None, AtLeast(0.95)),
        aim(Kernel, AllCpus, Paced, 65536, What::SlowMbPerSecond, Some(Direct), AtLeast(0.98)),
        aim(Kernel, AllCpus, Waits, 64, What::P99Us, None, AtMost(5000.0)),
        aim(Kernel, OneCpu, Rtt, 64, What::P50Us, Some(Reference), AtMost(0.95)),
        aim(Kernel, OneCpu, Waits, 64, What::P99Us, None, AtMost(5000.0)),
        aim(User, OneCpu, Bulk, 65536, What::MibPerSecond, Some(Direct), AtLeast(0.5)),
        aim(User, OneCpu, Rtt, 64, What::P50Us, Some(Direct), AtMost(2.7)),
        aim(User, OneCpu, Connect, 1, What::PerSecond, Some(Direct), AtLeast(0.36)),
    ]
};

/// A line for each aim that was measured.
pub(super) fn aims(placement: Placement, rows: &[(Row, Figures)]) -> Vec<String> {
    AIMS.iter().filter(|aim| aim.placement == placement).filter_map(|aim| judge(aim, rows)).collect()
}

fn judge(aim: &Aim, rows: &[(Row, Figures)]) -> Option<String> {
    let figure = Figure { measure: aim.measure, size: aim.size, connections: 1, what: aim.what };
    let own = of(rows, aim.row)?;
    let value = match aim.to {
        Some(other) => own.ratio(figure, of(rows, other))?,
        None => own.median(figure)?,
    };
    let mut line = if aim.bound.holds(value) { "met:    ".to_owned() } else { "missed: ".to_owned() };
    let _ = write!(line, "{}, {:?} {}", aim.row, aim.measure, short(aim.size));
    let _ = write!(line, " {:?}", aim.what);
    if let Some(other) = aim.to {
        let _ = write!(line, " / {other}");
    }
    let (sign, bound) = match aim.bound {
        Bound::AtLeast(bound) => (">=", bound),
        Bound::AtMost(bound) => ("<=", bound),
    };
    let _ = write!(line, ": {value:.2} ({sign} {bound})");
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(kernel: f64, direct: f64) -> Vec<(Row, Figures)> {
        let figure = Figure { measure: Measure::Bulk, size: 65536, connections: 1, what: What::MibPerSecond };
        [(Row::Kernel, kernel), (Row::Direct, direct)]
            .map(|(row, value)| {
                let mut figures = Figures::default();
                figures.add(0, figure, value);
                (row, figures)
            })
            .into()
    }

    #[test]
    fn an_aim_is_met_or_missed_and_what_was_not_measured_is_left_out() {
        let met = aims(Placement::AllCpus, &rows(95.0, 100.0));
        assert_eq!(met, ["met:    kernel, Bulk 64K MibPerSecond / direct: 0.95 (>= 0.9)"]);
        let missed = aims(Placement::AllCpus, &rows(50.0, 100.0));
        assert_eq!(missed, ["missed: kernel, Bulk 64K MibPerSecond / direct: 0.50 (>= 0.9)"]);
        assert!(aims(Placement::OneCpu, &rows(50.0, 100.0)).is_empty());
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!(WRITES.map(short), ["4K", "64K", "1M"]);
        assert_eq!(short(64), "64B");
    }
}
