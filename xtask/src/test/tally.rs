//! Counts the results in the output of libtest, and passes on the lines that matter.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::ops::AddAssign;

/// Results of one or several runs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
    /// Names of failed tests.
    pub(crate) failures: Vec<String>,
    /// Lines by which privileged tests say that they could not run, and why.
    pub(crate) skips: Vec<String>,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.failures.extend(other.failures);
        self.skips.extend(other.skips);
    }
}

/// Counts line by line.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    tally: Tally,
    of_passed: bool,
}

impl Counter {
    /// Takes a line, without its end; true where it is to be shown: of what passed tests printed, none is.
    pub(crate) fn line(&mut self, line: &str) -> bool {
        match line {
            "successes:" => self.of_passed = true,
            "failures:" => self.of_passed = false,
            text if text.starts_with("test result: ") => {
                self.of_passed = false;
                self.tally.count(text);
            }
            text => {
                if let Some(name) = text.strip_prefix("test ").and_then(|it| it.strip_suffix(" ... FAILED")) {
                    self.tally.failures.push(name.to_owned());
                }
                if self.of_passed && text.trim_start().starts_with("SKIP") {
                    self.tally.skips.push(text.trim().to_owned());
                }
            }
        }
        !self.of_passed
    }

    /// The results so far.
    pub(crate) fn finish(self) -> Tally {
        self.tally
    }
}

/// Copies output to `to`; of what passed tests printed only the SKIP lines.
pub(crate) fn copy(output: impl Read, to: &mut impl Write) -> io::Result<Tally> {
    let mut counter = Counter::default();
    let mut reader = BufReader::new(output);
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes)? > 0 {
        // Tests may print anything, so bytes that are no text are none of our business.
        let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        bytes.clear();
        if counter.line(&line) && !line.is_empty() {
            writeln!(to, "{line}")?;
        }
    }
    Ok(counter.finish())
}

impl Tally {
    /// Adds `test result: ok. 5 passed; 0 failed; 1 ignored; …`.
    fn count(&mut self, line: &str) {
        for part in line.split([';', '.']) {
            let mut words = part.split_whitespace();
            if let (Some(Ok(number)), Some(what)) = (words.next().map(str::parse::<u64>), words.next()) {
                match what {
                    "passed" => self.passed += number,
                    "failed" => self.failed += number,
                    "ignored" => self.ignored += number,
                    _ => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\nrunning 3 tests
test a ... ok
test b ... ok
test c ... FAILED

successes:

---- a stdout ----
SKIP a: needs root
---- b stdout ----
noise

successes:
    a
    b

failures:

---- c stdout ----
panicked

failures:
    c

test result: FAILED. 2 passed; 1 failed; 4 ignored; 0 measured; 0 filtered out; finished in 0.06s
";

    #[test]
    fn results_are_counted_and_noise_is_dropped() {
        let mut shown = Vec::new();
        let mut tally = copy(OUTPUT.as_bytes(), &mut shown).unwrap();
        let expected = Tally {
            passed: 2,
            failed: 1,
            ignored: 4,
            failures: vec!["c".to_owned()],
            skips: vec!["SKIP a: needs root".to_owned()],
        };
        assert_eq!(tally, expected);
        let shown = String::from_utf8(shown).unwrap();
        assert!(shown.contains("panicked") && !shown.contains("noise"), "{shown}");
        tally += copy(OUTPUT.as_bytes(), &mut Vec::new()).unwrap();
        assert_eq!((tally.passed, tally.failed), (4, 2));
    }
}
