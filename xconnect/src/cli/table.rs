//! Tables that fit a terminal: wide columns are cut first, then the least important ones are left out.

use super::text::{cut, harmless, width};

/// On which side a column's cells stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// The colour of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tint {
    Plain,
    Good,
    Busy,
    Bad,
    Faint,
}

impl Tint {
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Good => Some("32"),
            Self::Busy => Some("33"),
            Self::Bad => Some("31"),
            Self::Faint => Some("2"),
        }
    }
}

/// Whether escape sequences may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    Yes,
    No,
}

/// Text in a colour, where there are colours.
pub(super) fn tinted(text: &str, tint: Tint, colour: Colour) -> String {
    match tint.code() {
        Some(code) if colour == Colour::Yes => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        _ => text.to_owned(),
    }
}

/// One column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    title: &'static str,
    align: Align,
    /// Columns of the terminal it keeps at least; `None`: it is never cut.
    min: Option<usize>,
    /// The lowest rank above 0 is left out first; 0 is always shown.
    rank: u8,
}

impl Column {
    /// Shown whole.
    pub(super) const fn left(title: &'static str) -> Self {
        Self { title, align: Align::Left, min: None, rank: 0 }
    }

    /// A number, shown whole.
    pub(super) const fn right(title: &'static str) -> Self {
        Self { align: Align::Right, ..Self::left(title) }
    }

    /// May be cut to so many columns of the terminal.
    pub(super) const fn shrinks(self, min: usize) -> Self {
        Self { min: Some(min), ..self }
    }

    /// May be left out; lower ranks go first.
    pub(super) const fn rank(self, rank: u8) -> Self {
        Self { rank, ..self }
    }
}

/// One cell: harmless text and its colour.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    tint: Tint,
}

impl Cell {
    /// Text of any origin; empty text is shown as `-`.
    pub(super) fn new(text: impl AsRef<str>) -> Self {
        let text = text.as_ref();
        Self { text: if text.is_empty() { "-".to_owned() } else { harmless(text) }, tint: Tint::Plain }
    }

    /// In a colour.
    pub(super) fn tint(self, tint: Tint) -> Self {
        Self { tint, ..self }
    }
}

/// Rows below titles.
#[derive(Debug, Clone)]
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

const GAP: &str = "  ";

impl Table {
    pub(super) fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row with one cell a column.
    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// The text, each line ended, no line wider than `room` where the columns allow it.
    pub(super) fn render(&self, room: Option<usize>, colour: Colour) -> String {
        let (shown, widths) = self.fit(room);
        let mut text = String::new();
        let titles = self.columns.iter().map(|column| Cell::new(column.title)).collect::<Vec<_>>();
        for row in std::iter::once(&titles).chain(&self.rows) {
            let mut line = String::new();
            for (position, (&index, &columns)) in shown.iter().zip(&widths).enumerate() {
                if position > 0 {
                    line.push_str(GAP);
                }
                let cell = &row[index];
                let kept = cut(&cell.text, columns);
                let pad = " ".repeat(columns - width(&kept));
                let kept = tinted(&kept, cell.tint, colour);
                match self.columns[index].align {
                    Align::Right => line.push_str(&(pad + &kept)),
                    Align::Left => line.push_str(&(kept + &pad)),
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// Which columns are shown, and how wide each.
    fn fit(&self, room: Option<usize>) -> (Vec<usize>, Vec<usize>) {
        let natural = |index: usize| {
            self.rows
                .iter()
                .map(|row| width(&row[index].text))
                .fold(width(self.columns[index].title), usize::max)
        };
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        let full: Vec<usize> = shown.iter().map(|&index| natural(index)).collect();
        let Some(room) = room else { return (shown, full) };
        loop {
            let mut widths: Vec<usize> = shown.iter().map(|&index| full[index]).collect();
            let total =
                |widths: &[usize]| widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1);
            while total(&widths) > room {
                let widest = (0..widths.len())
                    .filter(|&at| self.columns[shown[at]].min.is_some_and(|min| widths[at] > min))
                    .max_by_key(|&at| widths[at]);
                let Some(widest) = widest else { break };
                widths[widest] -= 1;
            }
            if total(&widths) <= room {
                return (shown, widths);
            }
            let least = shown
                .iter()
                .copied()
                .filter(|&index| self.columns[index].rank > 0)
                .min_by_key(|&index| self.columns[index].rank);
            match least {
                Some(least) => shown.retain(|&index| index != least),
                None => return (shown, widths),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(&[
            Column::left("NAME").shrinks(4),
            Column::right("PID"),
            Column::left("NOTE").shrinks(4).rank(1),
        ]);
        table.row(vec![Cell::new("pv-example-server"), Cell::new("7").tint(Tint::Good), Cell::new("a note")]);
        table.row(vec![Cell::new("容器"), Cell::new("1234"), Cell::new("")]);
        table
    }

    #[test]
    fn natural_widths() {
        assert_eq!(
            sample().render(None, Colour::No),
            "NAME                PID  NOTE\n\
             pv-example-server     7  a note\n\
             容器               1234  -\n"
        );
    }

    #[test]
    fn cut_first_then_left_out() {
        assert_eq!(
            sample().render(Some(22), Colour::No),
            "NAME       PID  NOTE\n\
             pv-exam…     7  a note\n\
             容器      1234  -\n"
        );
        assert_eq!(sample().render(Some(12), Colour::No), "NAME     PID\npv-ex…     7\n容器    1234\n");
        assert_eq!(sample().render(Some(3), Colour::No), "NAME   PID\npv-…     7\n容器  1234\n");
    }

    #[test]
    fn colours_do_not_count_as_width() {
        let text = sample().render(None, Colour::Yes);
        assert!(text.contains("     \u{1b}[32m7\u{1b}[0m  a note"), "{text:?}");
    }
}
