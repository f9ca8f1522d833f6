//! What was tried, expected and seen, row by row.

use crate::sync::lock;
use std::fmt;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// One trial.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) tried: String,
    pub(super) expected: String,
    pub(super) seen: String,
    pub(super) verdict: TrialVerdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TrialVerdict {
    Ok,
    Failed,
    Skipped,
}

impl Row {
    /// A trial that is right if what was seen is what was expected.
    pub(super) fn compare(tried: &str, expected: &str, seen: &str) -> Row {
        let verdict = if expected == seen { TrialVerdict::Ok } else { TrialVerdict::Failed };
        Row { tried: tried.into(), expected: expected.into(), seen: seen.into(), verdict }
    }

    /// A trial whose result is a matter of degree.
    pub(super) fn ok(tried: &str, expected: &str, seen: &str) -> Row {
        let verdict = TrialVerdict::Ok;
        Row { tried: tried.into(), expected: expected.into(), seen: seen.into(), verdict }
    }

    /// A trial that this machine cannot make.
    pub(super) fn skipped(tried: &str, why: &str) -> Row {
        Row {
            tried: tried.into(),
            expected: "-".into(),
            seen: why.into(),
            verdict: TrialVerdict::Skipped,
        }
    }
}

/// When the last row came; clones share it.
#[derive(Clone, Debug)]
pub(super) struct TrialProgress(Arc<Mutex<Instant>>);

impl Default for TrialProgress {
    fn default() -> Self {
        TrialProgress(Arc::new(Mutex::new(Instant::now())))
    }
}

impl TrialProgress {
    fn made(&self) {
        *lock(&self.0) = Instant::now();
    }

    /// How long ago.
    pub(super) fn since(&self) -> Duration {
        lock(&self.0).elapsed()
    }
}

/// Prints as it goes, so that a reader sees where it stands.
pub(super) struct TrialTable {
    rows: Vec<Row>,
    colour: bool,
    progress: TrialProgress,
}

impl TrialTable {
    pub(super) fn new(progress: TrialProgress) -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let table = TrialTable { rows: Vec::new(), colour, progress };
        table.line(["tried", "expected", "seen", ""]);
        table
    }

    pub(super) fn add(&mut self, row: Row) {
        let (word, colour) = match row.verdict {
            TrialVerdict::Ok => ("ok", 32),
            TrialVerdict::Failed => ("FAILED", 31),
            TrialVerdict::Skipped => ("skipped", 33),
        };
        let word = if self.colour { format!("\x1b[{colour}m{word}\x1b[0m") } else { word.into() };
        self.line([&row.tried, &row.expected, &row.seen, &word]);
        self.rows.push(row);
        self.progress.made();
    }

    pub(super) fn count(&self, verdict: TrialVerdict) -> usize {
        self.rows.iter().filter(|row| row.verdict == verdict).count()
    }

    /// 80 columns, as long as nothing fails.
    fn line(&self, [tried, expected, seen, verdict]: [&str; 4]) {
        let line = format!("{tried:<38} {expected:<18} {seen:<18} {verdict}");
        // A reader that has hung up is no reason to stop: the exit code still counts.
        let _ = writeln!(std::io::stdout(), "{}", line.trim_end());
    }
}

/// `26 of 28 ok, 2 skipped`.
impl fmt::Display for TrialTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} ok", self.count(TrialVerdict::Ok), self.rows.len())?;
        match self.count(TrialVerdict::Skipped) {
            0 => Ok(()),
            skipped => write!(f, ", {skipped} skipped,"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_skipped_is_not_ok() {
        let rows = vec![Row::compare("a", "b", "b"), Row::skipped("a", "why")];
        let mut table = TrialTable { rows, colour: false, progress: TrialProgress::default() };
        assert_eq!(table.to_string(), "1 of 2 ok, 1 skipped,");
        table.rows = vec![Row::compare("a", "b", "b"), Row::compare("a", "b", "c")];
        assert_eq!(table.to_string(), "1 of 2 ok");
    }

    #[test]
    fn a_row_is_progress() {
        let progress = TrialProgress::default();
        let mut table = TrialTable::new(progress.clone());
        std::thread::sleep(Duration::from_millis(30));
        let before = progress.since();
        table.add(Row::compare("a", "b", "b"));
        assert!(progress.since() < before, "{before:?}");
    }
}
