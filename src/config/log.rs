//! `[log]`: how much is logged.

use super::section::Section;
use crate::log::{LogLevel, LogSettings};

pub(super) fn read(section: &Section<'_>) -> LogSettings {
    let mut log = LogSettings::default();
    section.key("level", &mut log.level, |item| {
        item.choice(&LogLevel::ALL.map(|level| (level.word(), level)))
    });
    section.key("connections", &mut log.connections, |item| item.boolean());
    log
}
