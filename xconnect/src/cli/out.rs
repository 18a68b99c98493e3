//! Where a program's output goes: standard output or a file, and what kind of reader is there.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use super::table::Colour;

/// The destination of a program's output.
#[derive(Debug)]
pub(super) enum Out {
    /// A person at a terminal.
    Terminal(Colour),
    /// Another program.
    Pipe,
    /// A file, made when there is something to write.
    File { path: PathBuf, file: RefCell<Option<File>> },
}

impl Out {
    /// Standard output, or the file where one is named.
    pub(super) fn new(file: Option<&Path>) -> Self {
        match file {
            Some(path) => Self::File { path: path.to_owned(), file: RefCell::new(None) },
            None if io::stdout().is_terminal() => Self::Terminal(colour()),
            None => Self::Pipe,
        }
    }

    /// The file, where one is named.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. } => Some(path),
            Self::Terminal(_) | Self::Pipe => None,
        }
    }

    /// True where a person reads.
    pub(super) fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    /// Whether escape sequences are wanted.
    pub(super) fn colour(&self) -> Colour {
        match self {
            Self::Terminal(colour) => *colour,
            Self::Pipe | Self::File { .. } => Colour::No,
        }
    }

    /// Columns and rows of the terminal.
    pub(super) fn size(&self) -> Option<(usize, usize)> {
        if !self.is_terminal() {
            return None;
        }
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
        (size.ws_col > 0).then(|| (size.ws_col.into(), size.ws_row.into()))
    }

    /// Writes everything.
    ///
    /// # Errors
    /// `BrokenPipe` when the reader has gone: then there is nothing left to do.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::File { path, file } => {
                let mut file = file.borrow_mut();
                match &mut *file {
                    Some(file) => file.write_all(bytes),
                    none => none.insert(File::create(path)?).write_all(bytes),
                }
            }
            Self::Terminal(_) | Self::Pipe => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes)?;
                stdout.flush()
            }
        }
    }
}

/// Colours, unless `NO_COLOR` is set to something (no-color.org) or the terminal has none.
fn colour() -> Colour {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if set("NO_COLOR").is_some() || set("TERM").is_none_or(|term| term == "dumb") {
        return Colour::No;
    }
    Colour::Yes
}

/// A line on standard error; nothing is to be done when nobody reads it.
pub(super) fn note(line: std::fmt::Arguments<'_>) {
    drop(writeln!(io::stderr().lock(), "{line}"));
}
