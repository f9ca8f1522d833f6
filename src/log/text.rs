//! A line as text: at a terminal in this machine's own time and in colours where they are wanted,
//! elsewhere in UTC, which sorts and has no gap.

use super::level::LogLevel;
use super::line::LogLine;
use crate::local_time;
use std::ffi::OsStr;
use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::time::{SystemTime, UNIX_EPOCH};
use tz::{TimeZone, UtcDateTime};

/// How lines look.
#[derive(Debug)]
pub(super) struct TextForm {
    has_colours: bool,
    clock: LineClock,
}

/// Which time a line begins with.
#[derive(Debug)]
enum LineClock {
    /// None: who reads it has one.
    #[cfg_attr(not(test), expect(dead_code, reason = "the journal has its own form"))]
    None,
    /// UTC, as RFC 3339 writes it.
    Utc,
    /// That of this machine.
    Local(TimeZone),
}

impl TextForm {
    /// That of standard error. To be asked before there are threads, as it reads the environment.
    pub(super) fn of_stderr() -> Self {
        let variable = |name| std::env::var_os(name);
        if !io::stderr().is_terminal() {
            return TextForm { has_colours: false, clock: LineClock::Utc };
        }
        let has_colours = has_colours(variable("NO_COLOR").as_deref(), variable("TERM").as_deref());
        let clock = local_time::zone().map_or(LineClock::Utc, LineClock::Local);
        TextForm { has_colours, clock }
    }

    /// Words alone.
    #[cfg(test)]
    pub(super) fn bare() -> Self {
        TextForm { has_colours: false, clock: LineClock::None }
    }

    /// The line, with its end.
    pub(super) fn write(&self, line: &LogLine, text: &mut String) {
        let (dim, usual) = if self.has_colours { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        if let Some(time) = self.clock.read(line.at) {
            let _ = write!(text, "{dim}{time}{usual} ");
        }
        let colour = if self.has_colours { colour(line.level) } else { "" };
        let level = line.level.word().to_ascii_uppercase();
        let _ = writeln!(text, "{colour}{level:>5}{usual} {line}");
    }
}

impl LogLine {
    /// The time of day by this machine's clock, or by UTC where its zone is not known.
    pub fn local_time(&self) -> String {
        local_time::here(self.at).map_or_else(String::new, |time| {
            format!("{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second())
        })
    }
}

impl LineClock {
    fn read(&self, at: SystemTime) -> Option<String> {
        // A clock before 1970 is not told exactly.
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).ok()?;
        match self {
            LineClock::None => None,
            LineClock::Utc => {
                let time = UtcDateTime::from_timespec(seconds, 0).ok()?;
                let (year, month, day) = (time.year(), time.month(), time.month_day());
                let (hour, minute, second) = (time.hour(), time.minute(), time.second());
                let micros = since.subsec_micros();
                Some(format!(
                    "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z"
                ))
            }
            LineClock::Local(zone) => {
                let time = local_time::at(at, zone)?;
                let (year, month, day) = (time.year(), time.month(), time.month_day());
                let (hour, minute, second) = (time.hour(), time.minute(), time.second());
                let millis = since.subsec_millis();
                Some(format!(
                    "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{millis:03}"
                ))
            }
        }
    }
}

/// Whether a terminal is to get colours: no-color.org, and a terminal that has none.
fn has_colours(no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    no_color.is_none_or(OsStr::is_empty) && term.is_none_or(|term| term != "dumb")
}

fn colour(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "\x1b[31m",
        LogLevel::Warn => "\x1b[33m",
        LogLevel::Info => "\x1b[32m",
        LogLevel::Debug => "\x1b[34m",
        LogLevel::Trace => "\x1b[35m",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn text(form: &TextForm) -> String {
        let mut line = LogLine::sample("is down", &[("proxy", "tokyo")]);
        line.at = UNIX_EPOCH + Duration::from_micros(1_795_910_400_123_456);
        let mut text = String::new();
        form.write(&line, &mut text);
        text
    }

    #[test]
    fn a_file_has_utc_and_a_terminal_its_own_time() {
        let form = |has_colours, clock| TextForm { has_colours, clock };
        assert_eq!(
            text(&form(false, LineClock::Utc)),
            "2026-11-29T00:00:00.123456Z  INFO is down proxy=\"tokyo\"\n"
        );
        let shanghai = || LineClock::Local(local_time::zone_of(Some("CST-8")).unwrap());
        assert_eq!(
            text(&form(false, shanghai())),
            "2026-11-29 08:00:00.123  INFO is down proxy=\"tokyo\"\n"
        );
        assert_eq!(
            text(&form(true, shanghai())),
            "\x1b[2m2026-11-29 08:00:00.123\x1b[0m \x1b[32m INFO\x1b[0m is down proxy=\"tokyo\"\n"
        );
        assert_eq!(text(&TextForm::bare()), " INFO is down proxy=\"tokyo\"\n");
    }

    #[test]
    fn summer_is_told_from_winter() {
        let berlin =
            LineClock::Local(local_time::zone_of(Some("CET-1CEST,M3.5.0,M10.5.0/3")).unwrap());
        let at = |seconds| berlin.read(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        assert_eq!(at(1_783_000_000), "2026-07-02 15:46:40.000");
        assert_eq!(at(1_795_910_400), "2026-11-29 01:00:00.000");
    }

    #[test]
    fn colours_are_for_those_who_want_them() {
        let of = |no_color: Option<&str>, term: Option<&str>| {
            has_colours(no_color.map(OsStr::new), term.map(OsStr::new))
        };
        assert!(of(None, Some("xterm")) && of(Some(""), Some("xterm")) && of(None, None));
        assert!(!of(Some("1"), Some("xterm")) && !of(None, Some("dumb")));
    }
}
