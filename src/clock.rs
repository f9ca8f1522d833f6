//! What is known of the time beside this machine's clock: what others say (the `Date` of answers
//! over HTTP, RFC 9110, 6.6.1), and what is past for certain, because something was written then.
//!
//! A wrong clock on this machine has silent victims: shadowsocks 2022 servers ignore a request of
//! another time, and certificates are not valid yet. Whoever suspects the clock asks here. It is
//! good for a hint and no more: a `Date` may come without TLS.

use crate::sync::lock;
use nix::time::{ClockId, clock_gettime};
use std::fs::Metadata;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

static HEARD: TimeHeard = TimeHeard(Mutex::new(None));

static PASSED: TimesPassed = TimesPassed(Mutex::new(Vec::new()));

/// This line was written then (2026-11-29): no clock that says an earlier time is right.
const WRITTEN: Duration = Duration::from_secs(1_795_910_400);

/// No file of ours is from so long after that; a wrong clock has dated it.
const LIFETIME: Duration = Duration::from_secs(40 * 31_557_600);

/// Files whose times are remembered.
const MOST: usize = 8;

/// How far this machine's clock is from what others say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockError {
    /// By so much it is ahead.
    Ahead(Duration),
    /// By so much it is behind.
    Behind(Duration),
}

/// Takes note of the value of a `Date` field. Another form than that of RFC 9110, 5.6.7, is no
/// news.
pub fn heard(date: &[u8]) {
    let date = std::str::from_utf8(date).ok().map(httpdate::parse_http_date);
    if let Some(Ok(time)) = date {
        HEARD.note(time, since_boot());
    }
}

/// What is wrong with this machine's clock, as far as anything has told; a second is within the
/// error of what is told.
pub fn error() -> Option<ClockError> {
    HEARD.error(SystemTime::now(), since_boot())
}

/// Takes note that this file was written: it is later than that, whatever this machine's clock
/// says. A router without a battery boots in 1970.
pub fn note_file(file: &Metadata) {
    if let Ok(time) = file.modified() {
        PASSED.note(time);
    }
}

/// Times that are past for certain, the earliest first: of this program, and of files that were
/// noted. A clock that was wrong when one was written may have put it into the future, so that each
/// is to be tried by itself, and none is to be trusted for more than what it can do no harm with.
pub fn passed() -> Vec<SystemTime> {
    static PROGRAM: OnceLock<()> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        PASSED.note(UNIX_EPOCH + WRITTEN);
        if let Ok(program) = std::env::current_exe().and_then(std::fs::metadata) {
            note_file(&program);
        }
    });
    PASSED.all()
}

/// The latest of them, if this machine's clock says that it is yet to come.
pub fn behind() -> Option<SystemTime> {
    passed().pop().filter(|latest| SystemTime::now() < *latest)
}

/// A time since the Unix epoch in words, as HTTP writes it.
pub fn date(since_epoch: Duration) -> String {
    let time = UNIX_EPOCH.checked_add(since_epoch.min(WRITTEN + 50 * LIFETIME));
    httpdate::fmt_http_date(time.unwrap_or(UNIX_EPOCH))
}

/// Sorted.
#[derive(Debug)]
struct TimesPassed(Mutex<Vec<SystemTime>>);

impl TimesPassed {
    /// Of many, the latest are kept.
    fn note(&self, time: SystemTime) {
        if time > UNIX_EPOCH + WRITTEN + LIFETIME {
            return;
        }
        let mut times = lock(&self.0);
        if let Err(place) = times.binary_search(&time) {
            times.insert(place, time);
        }
        if times.len() > MOST {
            times.remove(0);
        }
    }

    fn all(&self) -> Vec<SystemTime> {
        lock(&self.0).clone()
    }
}

/// Goes on during a suspend, and when the clock is set (clock_gettime(2)).
pub fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

/// When this machine was started, by the clock of who said it last: so it stays true when ours is
/// set.
#[derive(Debug)]
struct TimeHeard(Mutex<Option<SystemTime>>);

impl TimeHeard {
    fn note(&self, time: SystemTime, since_boot: Duration) {
        *lock(&self.0) = time.checked_sub(since_boot);
    }

    fn error(&self, now: SystemTime, since_boot: Duration) -> Option<ClockError> {
        let told = (*lock(&self.0))?.checked_add(since_boot)?;
        Some(match now.duration_since(told) {
            Ok(ahead) => ClockError::Ahead(ahead),
            Err(behind) => ClockError::Behind(behind.duration()),
        })
    }
}

impl ClockError {
    /// Without its direction.
    pub fn size(self) -> Duration {
        match self {
            ClockError::Ahead(by) | ClockError::Behind(by) => by,
        }
    }
}

impl std::fmt::Display for ClockError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let way = match self {
            ClockError::Ahead(_) => "ahead",
            ClockError::Behind(_) => "behind",
        };
        write!(f, "this machine's clock is {} s {way}", self.size().as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn what_was_heard_stays_true_when_the_clock_is_set() {
        let heard = TimeHeard(Mutex::new(None));
        let start = SystemTime::UNIX_EPOCH + 1_000_000 * HOUR;
        assert_eq!(heard.error(start, HOUR), None);
        heard.note(start, HOUR);
        assert_eq!(heard.error(start, HOUR), Some(ClockError::Ahead(Duration::ZERO)));
        // Ours said something else at that time, and two hours later still does.
        let behind = Some(ClockError::Behind(9 * HOUR));
        assert_eq!(heard.error(start - 9 * HOUR, HOUR), behind);
        assert_eq!(heard.error(start - 7 * HOUR, 3 * HOUR), behind);
        let set = heard.error(start + 2 * HOUR, 3 * HOUR);
        assert_eq!(set, Some(ClockError::Ahead(Duration::ZERO)));
        let ahead = heard.error(start + 3 * HOUR, 3 * HOUR).unwrap();
        assert_eq!(ahead.to_string(), "this machine's clock is 3600 s ahead");
    }

    #[test]
    fn some_times_are_past_for_certain() {
        let (times, start) = (TimesPassed(Mutex::new(Vec::new())), UNIX_EPOCH + WRITTEN);
        for hours in [3, 1, 2, 3] {
            times.note(start + hours * HOUR);
        }
        times.note(start + 2 * LIFETIME);
        assert_eq!(times.all(), [1, 2, 3].map(|hours| start + hours * HOUR), "no nonsense");
        for hours in 10..30 {
            times.note(start + hours * HOUR);
        }
        assert_eq!((times.all().len(), times.all()[0]), (MOST, start + 22 * HOUR));
        assert!(passed().contains(&start) && behind().is_none_or(|latest| latest > start));
    }

    #[test]
    fn only_a_date_is_news() {
        for nonsense in [&b"tomorrow"[..], b"", b"\xff\xff", b"Sun, 99 Nov 1994 08:49:37 GMT"] {
            heard(nonsense);
        }
        heard(b"Sun, 06 Nov 1994 08:49:37 GMT");
        let since = error().unwrap();
        heard(b"Thu, 01 Jan 2099 00:00:00 GMT");
        let until = error().unwrap();
        assert!(matches!((since, until), (ClockError::Ahead(_), ClockError::Behind(_))));
    }
}
