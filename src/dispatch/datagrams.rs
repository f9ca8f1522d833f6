//! What is remembered of a proxy's UDP, apart from its TCP: a firewall or a server may lose one and
//! carry the other.
//!
//! UDP refuses nothing by itself, so the relay says what it saw: an answer, or that there is none.
//! A proxy whose UDP failed rests for a while that doubles with each further failure; one answer
//! ends that.

use super::health::rest;
use crate::sync::lock;
use std::sync::Mutex;
use tokio::time::Instant;

/// So many sessions in a row without any reply, and the server counts as silent: hosts that do not
/// answer are common.
pub(super) const SILENT_SESSIONS: u32 = 12;

/// The state of one proxy's UDP.
#[derive(Debug, Default)]
pub(super) struct DatagramHealth(Mutex<DatagramState>);

#[derive(Debug, Default)]
struct DatagramState {
    /// Since the last answer.
    failures: u32,
    rests_until: Option<Instant>,
    /// Sessions that ended without any reply, since the last one.
    silent_sessions: u32,
    last_answer: Option<Instant>,
}

impl DatagramHealth {
    /// Whether new associations are made elsewhere.
    pub(super) fn is_resting(&self, now: Instant) -> bool {
        lock(&self.0).rests_until.is_some_and(|until| until > now)
    }

    /// It does not work. Of several reports while it rests only the first counts: all of them tell
    /// of the same trouble. True if it was up until now.
    pub(super) fn failed(&self, now: Instant) -> bool {
        let mut state = lock(&self.0);
        if state.rests_until.is_some_and(|until| until > now) {
            return false;
        }
        state.failures = state.failures.saturating_add(1);
        state.rests_until = Some(now + rest(state.failures));
        state.failures == 1
    }

    /// A session has ended, and nothing ever came back on it. True if the proxy was up until now.
    pub(super) fn unanswered(&self, now: Instant) -> bool {
        let mut state = lock(&self.0);
        state.silent_sessions = state.silent_sessions.saturating_add(1);
        let is_silent = state.silent_sessions >= SILENT_SESSIONS;
        drop(state);
        is_silent && self.failed(now)
    }

    /// Something came back. True if it had been down.
    pub(super) fn answered(&self, now: Instant) -> bool {
        let mut state = lock(&self.0);
        let state = std::mem::replace(
            &mut *state,
            DatagramState { last_answer: Some(now), ..DatagramState::default() },
        );
        state.failures > 0
    }

    /// Whether anything came back since then, as far as it was noted.
    pub(super) fn was_answered_since(&self, then: Instant) -> bool {
        lock(&self.0).last_answer.is_some_and(|last| last > then)
    }

    /// The network is another one.
    pub(super) fn forget(&self) {
        *lock(&self.0) = DatagramState::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn failures_rest_longer_and_an_answer_wakes() {
        let (health, now) = (DatagramHealth::default(), Instant::now());
        assert!(!health.is_resting(now) && !health.answered(now));
        assert!(health.failed(now), "the first is news");
        assert!(!health.failed(now), "the same trouble");
        assert!(health.is_resting(now) && !health.is_resting(now + SECOND));
        assert!(!health.failed(now + SECOND), "the second is none");
        assert!(health.is_resting(now + 2 * SECOND) && !health.is_resting(now + 3 * SECOND));
        assert!(health.answered(now) && !health.is_resting(now + SECOND));
        assert!(health.failed(now), "news again");
        health.forget();
        assert!(!health.is_resting(now));
    }

    #[test]
    fn one_reply_makes_up_for_many_silent_hosts() {
        let (health, now) = (DatagramHealth::default(), Instant::now());
        for _ in 0..3 {
            assert!((1..SILENT_SESSIONS).all(|_| !health.unanswered(now)));
            assert!(!health.answered(now));
        }
        assert!((1..SILENT_SESSIONS).all(|_| !health.unanswered(now)));
        assert!(health.unanswered(now) && health.is_resting(now));
        assert!(!health.unanswered(now));
    }
}
