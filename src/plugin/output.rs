//! What a plugin says, on its standard output and error: into the log line by line, bounded, and
//! the last lines kept for when it ends.

use crate::sync::lock;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// A longer line comes in pieces.
const LONGEST_LINE: u64 = 400;

/// How many of its last lines are told when it ends.
const LAST_LINES: usize = 3;

/// So many lines are logged in each [`WINDOW`]; v2ray-plugin has one for each connection.
const MOST_LINES: u32 = 30;

const WINDOW: Duration = Duration::from_secs(60);

/// Its last lines.
#[derive(Clone, Debug, Default)]
pub(super) struct LastLines(Arc<Mutex<VecDeque<String>>>);

impl LastLines {
    fn push(&self, line: String) {
        let mut lines = lock(&self.0);
        if lines.len() == LAST_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// Behind a colon, or nothing.
    pub(super) fn quoted(&self) -> String {
        let lines: Vec<String> = lock(&self.0).iter().cloned().collect();
        if lines.is_empty() { String::new() } else { format!(": {}", lines.join("; ")) }
    }
}

/// The limit of one plugin, over all its runs: one that prints a page and ends does so again and
/// again.
#[derive(Clone)]
pub(super) struct LogLimit(Arc<Mutex<LogWindow>>);

impl LogLimit {
    pub(super) fn new() -> Self {
        LogLimit(Arc::new(Mutex::new(LogWindow::new(Instant::now()))))
    }
}

/// Reads to the end.
pub(super) fn follow(program: &str, source: impl Read, last: &LastLines, limit: &LogLimit) {
    let mut source = BufReader::new(source);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        match (&mut source).take(LONGEST_LINE).read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        // An escape sequence is no use in a log.
        let text = String::from_utf8_lossy(&bytes);
        let line: String = text.trim().chars().filter(|c| !c.is_control()).collect();
        if line.is_empty() {
            continue;
        }
        let (is_logged, left_out) = lock(&limit.0).take(Instant::now());
        if left_out > 0 {
            warn!("plugin {program}: {left_out} more lines in a minute are left out");
        }
        if is_logged {
            info!("plugin {program}: {line}");
        }
        last.push(line);
    }
}

/// How many lines of this minute are logged already.
struct LogWindow {
    began: Instant,
    lines: u32,
}

impl LogWindow {
    fn new(began: Instant) -> Self {
        LogWindow { began, lines: 0 }
    }

    /// Whether the next line is logged; and how many of the window before were not.
    fn take(&mut self, now: Instant) -> (bool, u32) {
        let mut left_out = 0;
        if now.duration_since(self.began) >= WINDOW {
            left_out = self.lines.saturating_sub(MOST_LINES);
            *self = LogWindow::new(now);
        }
        self.lines = self.lines.saturating_add(1);
        (self.lines <= MOST_LINES, left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept() {
        let last = LastLines::default();
        let limit = LogLimit::new();
        follow("p", &b"one\n\ntwo\r\n\x1b[31mthree\nfour"[..], &last, &limit);
        assert_eq!(last.quoted(), ": two; [31mthree; four");
        let last = LastLines::default();
        follow("p", &vec![b'a'; 1000][..], &last, &limit);
        assert_eq!(last.quoted().len(), 2 + 1000 + 2 * 2);
    }

    #[test]
    fn runs_share_the_limit() {
        let limit = LogLimit::new();
        for _ in 0..4 {
            follow("p", &b"usage\n".repeat(20)[..], &LastLines::default(), &limit);
        }
        assert_eq!(lock(&limit.0).lines, 80);
    }

    #[test]
    fn a_talkative_plugin_does_not_fill_the_log() {
        let began = Instant::now();
        let mut window = LogWindow::new(began);
        let logged = (0..100).filter(|_| window.take(began) == (true, 0)).count();
        assert_eq!(logged, 30);
        assert_eq!(window.take(began + WINDOW), (true, 70));
        assert_eq!(window.take(began + WINDOW), (true, 0));
    }
}
