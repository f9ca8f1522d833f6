//! Durations and sizes: strings with units.
//!
//! A reader returns what would be accepted instead, in words that follow "accepted: ".

use std::ops::RangeInclusive;
use std::time::Duration;

/// Unit, and how many of the smallest unit it has; the largest first.
const DURATIONS: &[(&str, u64)] =
    &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
const SIZES: &[(&str, u64)] = &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads a duration within these bounds.
pub(super) fn duration(
    bounds: RangeInclusive<Duration>,
) -> impl Fn(&str) -> Result<Duration, String> {
    move |text| {
        let accepted = format!(
            "a whole number with ms, s, m, h or d, for example \"5s\", from \"{}\" to \"{}\"",
            show_duration(*bounds.start()),
            show_duration(*bounds.end())
        );
        match quantity(text, DURATIONS).map(Duration::from_millis) {
            Some(duration) if bounds.contains(&duration) => Ok(duration),
            _ => Err(accepted),
        }
    }
}

/// Reads a number of bytes up to `most`.
pub(super) fn size(most: usize) -> impl Fn(&str) -> Result<usize, String> {
    move |text| {
        let bytes = if text == "0" { Some(0) } else { quantity(text, SIZES) };
        bytes
            .and_then(|bytes| usize::try_from(bytes).ok())
            .filter(|bytes| *bytes <= most)
            .ok_or_else(|| {
                format!(
                    "a whole number with B, KiB, MiB or GiB, for example \"4MiB\", up to \"{}\"",
                    show_size(most)
                )
            })
    }
}

/// A duration as the file would have it, in the largest unit that leaves no rest.
pub(super) fn show_duration(duration: Duration) -> String {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if milliseconds == 0 { "0s".into() } else { show(milliseconds, DURATIONS) }
}

/// A size as the file would have it.
pub(super) fn show_size(bytes: usize) -> String {
    if bytes == 0 { "0".into() } else { show(bytes as u64, SIZES) }
}

fn show(quantity: u64, units: &[(&str, u64)]) -> String {
    let unit = units.iter().find(|(_, factor)| quantity.is_multiple_of(*factor));
    unit.map_or_else(
        || quantity.to_string(),
        |(unit, factor)| format!("{}{unit}", quantity / factor),
    )
}

/// Digits and a unit, a space between them allowed.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start_matches(' '))?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations() {
        let read = |text| duration(Duration::ZERO..=Duration::MAX)(text).ok();
        assert_eq!(read("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(read("5s"), Some(Duration::from_secs(5)));
        assert_eq!(read("1 m"), Some(Duration::from_secs(60)));
        assert_eq!(read("1h"), Some(Duration::from_secs(3600)));
        assert_eq!(read("1d"), Some(Duration::from_secs(86_400)));
        for wrong in [
            "",
            "5",
            "s",
            "-1s",
            "1.5s",
            "1m30s",
            "5 seconds",
            "99999999999999999999s",
            "300000000000d",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        let bounded = duration(Duration::from_secs(1)..=Duration::from_secs(120));
        assert!(bounded("999ms").unwrap_err().ends_with("from \"1s\" to \"2m\""));
        assert!(bounded("121s").is_err());
    }

    #[test]
    fn sizes() {
        let read = |text| size(1 << 30)(text).ok();
        assert_eq!(read("0"), Some(0));
        assert_eq!(read("4MiB"), Some(4 << 20));
        assert_eq!(read("512KiB"), Some(512 << 10));
        assert_eq!(read("1GiB"), Some(1 << 30));
        for wrong in ["", "1", "4MB", "4mib", "2GiB", "-1B", "0x10B"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    /// A TiB, or as many as the processor counts.
    const MANY_BYTES: usize = if usize::BITS > 40 { usize::MAX >> 24 } else { usize::MAX };

    proptest! {
        #[test]
        fn shown_durations_read_the_same(milliseconds in 0u64..10_000_000_000) {
            let written = Duration::from_millis(milliseconds);
            let read = duration(Duration::ZERO..=Duration::MAX)(&show_duration(written));
            prop_assert_eq!(read, Ok(written));
        }

        #[test]
        fn shown_sizes_read_the_same(bytes in 0..=MANY_BYTES) {
            prop_assert_eq!(size(usize::MAX)(&show_size(bytes)), Ok(bytes));
        }
    }
}
