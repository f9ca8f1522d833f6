//! What a provider tells of the contract beside the body: `subscription-userinfo`, a header that
//! most panels send (`upload=1; download=2; total=10; expire=1800000000`), and
//! `profile-update-interval`.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often a provider wants to be asked, in hours: a number above is none.
const MOST_HOURS: u64 = 24 * 365;

/// Bytes and times, as far as they were told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes, in both directions.
    pub used: Option<u64>,
    /// Bytes that the contract allows.
    pub total: Option<u64>,
    /// When it ends: seconds since the Unix epoch.
    pub expires: Option<u64>,
    /// How often the provider wants to be asked.
    pub interval: Option<Duration>,
}

impl Usage {
    /// Reads `subscription-userinfo`. What is no number is not told.
    pub fn parse(header: &str) -> Self {
        let value = |key: &str| {
            let of_key = |part: &str| {
                let (name, value) = part.split_once('=')?;
                (name.trim().eq_ignore_ascii_case(key)).then(|| number(value.trim()))?
            };
            header.split(';').find_map(of_key)
        };
        let used = match (value("upload"), value("download")) {
            (None, None) => None,
            (up, down) => Some(up.unwrap_or(0).saturating_add(down.unwrap_or(0))),
        };
        Usage {
            used,
            // Zero is how panels write "no limit" and "never".
            total: value("total").filter(|total| *total > 0),
            expires: value("expire").filter(|expires| *expires > 0),
            interval: value("interval-hours").and_then(hours),
        }
    }

    /// The same with `profile-update-interval`.
    #[must_use]
    pub fn with_interval(self, header: &str) -> Self {
        Usage { interval: number(header.trim()).and_then(hours), ..self }
    }

    /// The form that [`parse`](Self::parse) reads.
    pub(super) fn header(&self) -> String {
        let interval = self.interval.map(|interval| interval.as_secs() / 3600);
        let parts = [
            ("download", self.used),
            ("total", self.total),
            ("expire", self.expires),
            ("interval-hours", interval),
        ];
        let told = parts.iter().filter_map(|(key, value)| Some(format!("{key}={}", (*value)?)));
        told.collect::<Vec<_>>().join("; ")
    }

    /// Whether the contract has ended.
    pub fn is_over(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.expires.is_some_and(|expires| expires < now)
    }

    /// The bytes that are left.
    pub fn remaining(&self) -> Option<u64> {
        Some(self.total?.saturating_sub(self.used.unwrap_or(0)))
    }
}

/// Some panels write fractions.
fn number(text: &str) -> Option<u64> {
    text.split('.').next().and_then(|whole| whole.parse().ok())
}

fn hours(hours: u64) -> Option<Duration> {
    (1..=MOST_HOURS).contains(&hours).then(|| Duration::from_secs(hours * 3600))
}

/// "12.5 GiB of 100.0 GiB left, until 2027-01-15"; empty if nothing was told.
impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.remaining(), self.total, self.used) {
            (Some(remaining), Some(total), _) => {
                write!(f, "{} of {} left", bytes(remaining), bytes(total))?;
            }
            (_, _, Some(used)) => write!(f, "{} used", bytes(used))?,
            _ => {}
        }
        let Some(expires) = self.expires else { return Ok(()) };
        let comma = if self.total.or(self.used).is_some() { ", " } else { "" };
        let word = if self.is_over() { "over since" } else { "until" };
        write!(f, "{comma}{word} {}", date(expires))
    }
}

/// Tenths of the largest unit that leaves a whole part.
pub(super) fn bytes(number: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20)];
    for (unit, shift) in units {
        if number >> shift > 0 {
            let tenths = (u128::from(number) * 10) >> shift;
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{} KiB", number >> 10)
}

/// A whole number of the largest unit: "3 d", "2 h", "5 min".
pub fn age(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 172_800.. => format!("{} d", seconds / 86_400),
        seconds @ 7_200.. => format!("{} h", seconds / 3_600),
        seconds => format!("{} min", seconds / 60),
    }
}

/// Year, month and day of a moment of UTC.
fn date(seconds: u64) -> String {
    // Days since 0000-03-01: so the leap day is the last of its year.
    let days = (seconds / 86_400).min(3_000_000) + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year_of_era + next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        let usage = Usage::parse("upload=1073741824; download=2147483648;TOTAL = 10737418240.0 ;x");
        assert_eq!((usage.used, usage.remaining()), (Some(3 << 30), Some(7 << 30)));
        assert_eq!(usage.to_string(), "7.0 GiB of 10.0 GiB left");
        let usage = Usage::parse("upload=0; download=5; total=0; expire=4102444800");
        assert_eq!(usage.to_string(), "0 KiB used, until 2100-01-01");
        assert_eq!(Usage::parse("expire=1; total=\u{7}").to_string(), "over since 1970-01-01");
        assert!(Usage::parse("expire=1").is_over() && !Usage::parse("expire=0").is_over());
        assert_eq!(Usage::parse("hunter2").to_string(), "");
        // More was used than there is.
        assert_eq!(Usage::parse("download=9; total=7").remaining(), Some(0));
        let twelve = Usage::default().with_interval(" 12 ");
        assert_eq!(twelve.interval, Some(Duration::from_secs(12 * 3600)));
        assert_eq!(Usage::default().with_interval("0").interval, None);
        assert_eq!(Usage::default().with_interval("99999999999999").interval, None);
        for usage in [twelve, Usage::parse("download=5; total=7; expire=9")] {
            assert_eq!(Usage::parse(&usage.header()), usage);
        }
    }

    #[test]
    fn dates() {
        for (seconds, expected) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_735_689_599, "2024-12-31"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(date(seconds), expected);
        }
        let _ = date(u64::MAX);
    }
}
