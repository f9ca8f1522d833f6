//! What is logged: which lines are written, and which are handed to those who follow the log. A
//! line that nobody wants is not formatted: tracing asks once for each place in the code, and again
//! when a follower comes or goes.

use super::CONNECTIONS;
use super::level::{LogLevel, LogSettings};
use super::line::LogLine;
use super::queue::Queue;
use std::sync::Arc;
use tokio::sync::broadcast;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Between the places that log and those that read it.
#[derive(Debug)]
pub(super) struct LogLayer {
    pub(super) wants: LogWants,
    pub(super) lines: Arc<Queue>,
    pub(super) followers: broadcast::Sender<Arc<LogLine>>,
}

/// Who wants how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LogWants {
    /// Standard error, or the journal.
    pub(super) written: LogSettings,
    /// The follower that wants most.
    pub(super) followed: Option<LogLevel>,
}

impl LogWants {
    fn writes(self, place: &Metadata<'_>) -> bool {
        let LogSettings { level, connections } = self.written;
        let least = match place.target() == CONNECTIONS && !connections {
            true => LogLevel::Debug,
            false => LogLevel::Error,
        };
        LogLevel::of(place.level()).max(least) <= level
    }

    /// They see snet's own lines, and connections in any case. What its libraries say at "debug"
    /// and "trace" is not made for a web page: headers may be in it.
    fn follows(self, place: &Metadata<'_>) -> bool {
        // Both crates' names begin so.
        let is_own = place.target().starts_with("snet");
        is_own && self.followed.is_some_and(|most| LogLevel::of(place.level()) <= most)
    }
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn enabled(&self, place: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.wants.writes(place) || self.wants.follows(place)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let LogWants { written, followed } = self.wants;
        Some(followed.unwrap_or(LogLevel::Error).max(written.level).filter())
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let place = event.metadata();
        let (is_written, is_followed) = (self.wants.writes(place), self.wants.follows(place));
        if !is_written && !is_followed {
            return;
        }
        let line = Arc::new(LogLine::of(event));
        if is_followed {
            // None may be left by now.
            let _ = self.followers.send(Arc::clone(&line));
        }
        if is_written {
            self.lines.push(line);
        }
    }
}
