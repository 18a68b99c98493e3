//! Errors of manifests: each names its file and the place in it, and all of them come at once.

use std::fmt;

/// Longest place or message that is shown, in characters: hostile input must not flood a log.
const SHOWN_MAX: usize = 300;

/// One thing that is wrong in one manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    file: String,
    path: String,
    message: String,
}

impl Error {
    /// An error at a place of a file.
    ///
    /// `path` is a JSON path like `services.required[2].target`, empty for the file as a whole.
    pub fn new(file: impl AsRef<str>, path: impl AsRef<str>, message: impl fmt::Display) -> Self {
        Self { file: clip(file.as_ref()), path: clip(path.as_ref()), message: clip(&message.to_string()) }
    }

    /// The file, relative to the state directory.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The place in the file, as a JSON path; empty for the file as a whole.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "{}: {}", self.file, self.message)
        } else {
            write!(f, "{}: {}: {}", self.file, self.path, self.message)
        }
    }
}

impl std::error::Error for Error {}

/// Everything that is wrong in a set of manifests, in the order of files and of places in them;
/// never empty. Shown one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors(pub Vec<Error>);

impl Errors {
    /// `Ok` where there is no error.
    ///
    /// # Errors
    /// The errors, where there are any.
    pub fn check(errors: Vec<Error>) -> Result<(), Self> {
        if errors.is_empty() { Ok(()) } else { Err(Self(errors)) }
    }

    /// The errors one by one.
    pub fn iter(&self) -> std::slice::Iter<'_, Error> {
        self.0.iter()
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

impl<'a> IntoIterator for &'a Errors {
    type Item = &'a Error;
    type IntoIter = std::slice::Iter<'a, Error>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Text on one line, without control characters, and not longer than `SHOWN_MAX`.
fn clip(text: &str) -> String {
    let mut clipped: String = text
        .chars()
        .take(SHOWN_MAX)
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect();
    if text.chars().nth(SHOWN_MAX).is_some() {
        clipped.push('…');
    }
    clipped
}
