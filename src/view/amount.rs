//! Amounts as people read them.

use std::fmt;

/// Bytes, in units of 1,024 with three digits or so: `0 B`, `999 B`, `1.2 KiB`, `12 MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut amount, mut unit) = (self.0 as f64, "B");
        for next in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
            // What would be rounded up to 1,000 has the next unit.
            if amount < 999.5 {
                break;
            }
            (amount, unit) = (amount / 1024.0, next);
        }
        let digits = if unit == "B" || amount >= 9.95 { 0 } else { 1 };
        f.pad(&format!("{amount:.digits$} {unit}"))
    }
}

/// A span of time in its two largest units: `5 s`, `3 min 20 s`, `2 h 5 min`, `12 d 3 h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(
    /// Seconds.
    pub u64,
);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (minutes, hours, days) = (self.0 / 60, self.0 / 3600, self.0 / 86400);
        let (large, small) = match (days, hours, minutes) {
            (0, 0, 0) => return f.pad(&format!("{} s", self.0)),
            (0, 0, _) => ((minutes, "min"), (self.0 % 60, "s")),
            (0, _, _) => ((hours, "h"), (minutes % 60, "min")),
            (_, _, _) => ((days, "d"), (hours % 24, "h")),
        };
        match small.0 {
            0 => f.pad(&format!("{} {}", large.0, large.1)),
            _ => f.pad(&format!("{} {} {} {}", large.0, large.1, small.0, small.1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 KiB"),
            (1229, "1.2 KiB"),
            (12 << 20, "12 MiB"),
            (1023 << 20, "1.0 GiB"),
            (5 << 40, "5.0 TiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text, "{bytes}");
        }
        assert_eq!(format!("{:>8}|", Bytes(5)), "     5 B|");
    }

    #[test]
    fn spans() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (200, "3 min 20 s"),
            (7500, "2 h 5 min"),
            (86400, "1 d"),
            (1_050_000, "12 d 3 h"),
        ] {
            assert_eq!(Span(seconds).to_string(), text, "{seconds}");
        }
    }
}
