//! When a session has rested long enough to end. Pure.

use std::time::Duration;
use tokio::time::Instant;

/// After a session's first reply. RFC 4787, REQ-5, wants two minutes at least, and recommends five.
const REPLIED: Duration = Duration::from_secs(300);

/// Before it: what is not answered in half a minute is not answered.
const UNREPLIED: Duration = Duration::from_secs(30);

/// Of a session that is one question and one answer.
const BRIEF: Duration = Duration::from_secs(10);

/// NTP (RFC 5905) and STUN (RFC 8489).
const BRIEF_PORTS: [u16; 2] = [123, 3478];

/// What a session has done, as far as its end is concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Activity {
    last: Instant,
    is_replied: bool,
    /// All that it has sent went to [`BRIEF_PORTS`]. A call asks a STUN server first, and goes on
    /// from the same socket to somewhere else.
    is_brief: bool,
}

impl Activity {
    /// Of a session that begins.
    pub(super) fn new(now: Instant) -> Self {
        Activity { last: now, is_replied: false, is_brief: true }
    }

    /// The client has sent something to this port.
    pub(super) fn sent(&mut self, port: u16, now: Instant) {
        self.last = now;
        self.is_brief &= BRIEF_PORTS.contains(&port);
    }

    /// Something came back.
    pub(super) fn replied(&mut self, now: Instant) {
        self.last = now;
        self.is_replied = true;
    }

    /// Whether anything ever came back.
    pub(super) fn is_replied(&self) -> bool {
        self.is_replied
    }

    /// When it ends, if nothing more happens.
    pub(super) fn deadline(&self) -> Instant {
        let rest = match self {
            Activity { is_brief: true, .. } => BRIEF,
            Activity { is_replied: true, .. } => REPLIED,
            _ => UNREPLIED,
        };
        self.last + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_each_may_rest() {
        let start = Instant::now();
        let rest = |activity: &Activity| (activity.deadline() - start).as_secs();
        let mut activity = Activity::new(start);
        activity.sent(3478, start);
        assert_eq!(rest(&activity), 10);
        activity.replied(start);
        assert_eq!(rest(&activity), 10);
        activity.sent(50_000, start);
        assert_eq!(rest(&activity), 300);
        activity.sent(123, start + Duration::from_secs(7));
        assert_eq!(rest(&activity), 307);

        let mut silent = Activity::new(start);
        silent.sent(443, start);
        assert_eq!(rest(&silent), 30);
        assert!(!silent.is_replied() && activity.is_replied());
    }
}
