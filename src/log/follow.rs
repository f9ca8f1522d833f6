//! Those who follow the log as it is written, for example in a dashboard.
//!
//! They share one ring of lines. Who logs never waits for them: a follower that falls behind loses
//! the oldest lines, and learns how many. With nobody here the ring is empty.

use super::level::LogLevel;
use super::line::LogLine;
use super::{Log, Shared};
use std::sync::Arc;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// So many lines wait for a follower.
pub(super) const RING: usize = 512;

/// Reads lines from now on. Its drop ends that.
#[derive(Debug)]
pub struct LogFollower {
    level: LogLevel,
    lines: broadcast::Receiver<Arc<LogLine>>,
    shared: Arc<Shared>,
}

/// What a follower gets.
#[derive(Debug)]
pub enum FollowedLine {
    /// The next line.
    Line(Arc<LogLine>),
    /// It was too slow, and so many are missing.
    Lost(u64),
}

impl Log {
    /// From now on, whatever is logged at this level or is graver; connections among it.
    pub fn follow(&self, level: LogLevel) -> LogFollower {
        let lines = self.shared.followers.subscribe();
        self.shared.follow(level, true);
        LogFollower { level, lines, shared: Arc::clone(&self.shared) }
    }
}

impl LogFollower {
    /// Waits for what comes next. `None`: there is no log any more.
    pub async fn next(&mut self) -> Option<FollowedLine> {
        loop {
            match self.lines.recv().await {
                // Another one wants more.
                Ok(line) if line.level > self.level => {}
                Ok(line) => return Some(FollowedLine::Line(line)),
                Err(RecvError::Lagged(count)) => return Some(FollowedLine::Lost(count)),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

impl Drop for LogFollower {
    fn drop(&mut self) {
        self.shared.follow(self.level, false);
    }
}
