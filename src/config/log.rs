//! `[log]`: how much is logged.

use super::section::Section;

/// `log.level`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    /// Only what is broken.
    Error,
    /// And what the operator can repair.
    Warn,
    /// And one line a connection.
    #[default]
    Info,
    /// And the peers' faults.
    Debug,
    /// And everything else.
    Trace,
}

impl LogLevel {
    pub(super) fn read(section: &Section<'_>) -> LogLevel {
        let mut level = LogLevel::default();
        section.key("level", &mut level, |item| {
            item.choice(&[
                ("error", LogLevel::Error),
                ("warn", LogLevel::Warn),
                ("info", LogLevel::Info),
                ("debug", LogLevel::Debug),
                ("trace", LogLevel::Trace),
            ])
        });
        level
    }
}
