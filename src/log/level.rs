//! How much is logged.

use tracing::Level;
use tracing::level_filters::LevelFilter;

/// `log.level`: each one has what those before it have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum LogLevel {
    /// Only what is broken.
    Error,
    /// And what the operator can repair.
    Warn,
    /// And what changes.
    #[default]
    Info,
    /// And the peers' faults, and every connection.
    Debug,
    /// And everything else.
    Trace,
}

/// `[log]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogSettings {
    /// `log.level`
    pub level: LogLevel,
    /// `log.connections`: every connection is logged at "info", and not only at "debug".
    pub connections: bool,
}

impl LogLevel {
    /// All of them.
    pub const ALL: [LogLevel; 5] =
        [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];

    /// As it is written in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }

    /// That of a line.
    pub(super) fn of(level: &Level) -> Self {
        match *level {
            Level::ERROR => LogLevel::Error,
            Level::WARN => LogLevel::Warn,
            Level::INFO => LogLevel::Info,
            Level::DEBUG => LogLevel::Debug,
            Level::TRACE => LogLevel::Trace,
        }
    }

    pub(super) fn filter(self) -> LevelFilter {
        match self {
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        }
    }
}

impl LogSettings {
    /// With so many `-v`.
    pub(super) fn more(self, verbose: u8) -> Self {
        let least = match verbose {
            0 => LogLevel::Error,
            1 if self.level < LogLevel::Debug => LogLevel::Debug,
            _ => LogLevel::Trace,
        };
        LogSettings { level: self.level.max(least), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_v_is_a_step() {
        let level = |level, verbose| LogSettings { level, connections: false }.more(verbose).level;
        assert_eq!([0, 1, 2].map(|v| level(LogLevel::Error, v)), {
            [LogLevel::Error, LogLevel::Debug, LogLevel::Trace]
        });
        assert_eq!(level(LogLevel::Debug, 1), LogLevel::Trace);
        assert_eq!(level(LogLevel::Trace, 0), LogLevel::Trace);
    }
}
