//! What others say of the time: the `Date` of answers over HTTP (RFC 9110, 6.6.1).
//!
//! A wrong clock on this machine has silent victims: shadowsocks 2022 servers ignore a request of
//! another time, and certificates are not valid yet. Whoever suspects the clock asks here. It is
//! good for a hint and no more: a `Date` may come without TLS.

use crate::sync::lock;
use nix::time::{ClockId, clock_gettime};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

static HEARD: TimeHeard = TimeHeard(Mutex::new(None));

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

/// Goes on during a suspend, and when the clock is set (clock_gettime(2)).
fn since_boot() -> Duration {
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
