//! The time of day on the wall: by the zone of this machine (tzset(3)).

use std::ffi::OsStr;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tz::{DateTime, TimeZone};

/// A day of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalDay {
    year: i32,
    month: u8,
    day: u8,
}

/// That of TZ, else of /etc/localtime; `None` where neither can be read.
pub fn zone() -> Option<TimeZone> {
    zone_of(std::env::var_os("TZ").as_deref().and_then(OsStr::to_str))
}

/// The zone that TZ says in these words.
pub fn zone_of(variable: Option<&str>) -> Option<TimeZone> {
    match variable.filter(|text| !text.is_empty()) {
        Some(text) => TimeZone::from_posix_tz(text).ok(),
        None => TimeZone::local().ok(),
    }
}

/// A time in this zone. One before 1970 is not told exactly.
pub fn at(time: SystemTime, zone: &TimeZone) -> Option<DateTime> {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).ok()?;
    DateTime::from_timespec(seconds, since.subsec_nanos(), zone.as_ref()).ok()
}

/// A time in the zone that was this machine's when it was first asked for; UTC where it has none.
pub fn here(time: SystemTime) -> Option<DateTime> {
    static ZONE: OnceLock<TimeZone> = OnceLock::new();
    at(time, ZONE.get_or_init(|| zone().unwrap_or_else(TimeZone::utc)))
}

impl LocalDay {
    /// The day that this is a time of, and how much of it is over by then.
    pub fn of(time: &DateTime) -> (Self, Duration) {
        let day = LocalDay { year: time.year(), month: time.month(), day: time.month_day() };
        let [hours, minutes, seconds] = [time.hour(), time.minute(), time.second()].map(u64::from);
        (day, Duration::from_secs(hours * 3600 + minutes * 60 + seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summer_is_told_from_winter() {
        let berlin = zone_of(Some("CET-1CEST,M3.5.0,M10.5.0/3")).unwrap();
        let read = |seconds| at(UNIX_EPOCH + Duration::from_secs(seconds), &berlin).unwrap();
        assert_eq!(read(1_783_000_000).hour(), 15);
        assert_eq!(read(1_795_910_400).hour(), 1);
        let (summer, over) = LocalDay::of(&read(1_783_000_000));
        assert_eq!(summer, LocalDay { year: 2026, month: 7, day: 2 });
        assert_eq!(over, Duration::from_secs(15 * 3600 + 46 * 60 + 40));
        let (midnight, over) = LocalDay::of(&read(1_795_910_400 - 3600));
        assert_eq!((midnight.day, over), (29, Duration::ZERO));
    }

    #[test]
    fn a_zone_that_is_none_is_no_zone() {
        assert!(zone_of(Some("no zone at all")).is_none());
    }
}
