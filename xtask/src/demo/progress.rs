//! Shows a list of states as it changes: redrawn on a terminal, one line a change elsewhere.

use std::io::{self, Write as _};

/// What was shown last.
#[derive(Debug)]
pub(crate) struct Progress {
    terminal: bool,
    shown: Vec<String>,
}

impl Progress {
    /// For a terminal or for a file.
    pub(crate) fn new(terminal: bool) -> Self {
        Self { terminal, shown: Vec::new() }
    }

    /// Shows these lines where they differ from the last.
    pub(crate) fn show(&mut self, lines: &[String]) {
        if self.shown != lines {
            // A closed pipe is the reader's choice, and no reason to stop.
            let _ = io::stdout().lock().write_all(self.text(lines).as_bytes());
            self.shown = lines.to_vec();
        }
    }

    fn text(&self, lines: &[String]) -> String {
        if self.terminal {
            // Up to the first line of ours, then erase to the end of the screen (ECMA-48 CPL, ED).
            let up = match self.shown.len() {
                0 => String::new(),
                count => format!("\x1b[{count}F\x1b[J"),
            };
            return lines.iter().fold(up, |text, line| text + line + "\n");
        }
        let new = lines.iter().filter(|line| !self.shown.contains(line));
        new.fold(String::new(), |text, line| text + line + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gets_changes_and_a_terminal_gets_all() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let file = Progress { terminal: false, shown: lines("a b") };
        assert_eq!(file.text(&lines("a c")), "c\n");
        let terminal = Progress { terminal: true, shown: lines("a b") };
        assert_eq!(terminal.text(&lines("a c")), "\x1b[2F\x1b[Ja\nc\n");
    }
}
