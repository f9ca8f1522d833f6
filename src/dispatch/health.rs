//! What is remembered of one proxy: whether it answers, and since when not.
//!
//! A proxy that failed rests for a while that doubles with each further failure. A resting proxy
//! is still the last resort when no other is left, but then a failure must cost little: one that
//! failed quickly (refused, unreachable) may be asked by everybody, one that failed by silence
//! only by one connection at a time; the others are refused at once instead of hanging.

use crate::sync::lock;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);

/// A failure that took longer than this was silence.
const QUICK: Duration = Duration::from_secs(1);

/// So many connections in a row without a byte back earn a warning.
const SUSPICIOUS: u32 = 3;

/// The state of one proxy.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<HealthState>);

#[derive(Debug, Default)]
struct HealthState {
    /// Failures since the last success.
    failures: u32,
    rests_until: Option<Instant>,
    last_success: Option<Instant>,
    /// Destinations for which the server was there and silent, since the last success.
    silent_targets: u32,
    failed_by_silence: bool,
    /// A connection asks a silent proxy at this moment.
    probing: bool,
    unanswered: u32,
    /// Where the first one that was not answered wanted to go, and the first one to somewhere else.
    silent: [Option<SocketAddr>; 2],
    suspected: bool,
}

/// Nothing ever came back on several connections in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Silence {
    /// Two of those where they wanted to go.
    pub(super) destinations: [SocketAddr; 2],
}

impl Health {
    /// Whether the proxy is left out while others are there.
    pub(super) fn is_resting(&self, now: Instant) -> bool {
        self.state().rests_until.is_some_and(|until| until > now)
    }

    /// The network is another one: what was found out in the old one does not count.
    pub(super) fn forget(&self) {
        let mut state = self.state();
        let probing = state.probing;
        *state = HealthState { probing, suspected: state.suspected, ..HealthState::default() };
    }

    /// Starts an attempt; `None` if it would only wait for what another one finds out. The
    /// attempt ends when it is told how it went, or dropped.
    pub(super) fn begin(&self, now: Instant) -> Option<DialAttempt<'_>> {
        let mut state = self.state();
        let probe = state.failures > 0 && state.failed_by_silence;
        if probe {
            if state.probing {
                return None;
            }
            state.probing = true;
        }
        Some(DialAttempt { health: self, began: now, probe })
    }

    /// Notes how a connection went, and says once when it is time to suspect the password. One
    /// destination that is silent again and again, a dead name server or a site that a program
    /// polls, says nothing of the proxy.
    pub(super) fn went(&self, to: SocketAddr, sent: u64, received: u64) -> Option<Silence> {
        let mut state = self.state();
        if received > 0 {
            state.unanswered = 0;
            state.silent = [None; 2];
            state.suspected = false;
            return None;
        }
        if sent == 0 {
            return None;
        }
        state.unanswered = state.unanswered.saturating_add(1);
        let first = *state.silent[0].get_or_insert(to);
        if first != to {
            state.silent[1].get_or_insert(to);
        }
        let destinations = [first, state.silent[1]?];
        if state.unanswered < SUSPICIOUS || std::mem::replace(&mut state.suspected, true) {
            return None;
        }
        Some(Silence { destinations })
    }

    fn state(&self) -> MutexGuard<'_, HealthState> {
        lock(&self.0)
    }
}

/// One dial in progress.
#[derive(Debug)]
pub(super) struct DialAttempt<'a> {
    health: &'a Health,
    began: Instant,
    probe: bool,
}

impl DialAttempt<'_> {
    /// The proxy answered. True if it had been down.
    pub(super) fn succeeded(self, now: Instant) -> bool {
        let mut state = self.health.state();
        state.last_success = Some(now);
        state.silent_targets = 0;
        let was_down = state.failures > 0;
        state.failures = 0;
        state.rests_until = None;
        was_down
    }

    /// The server was there and did not answer for this destination. One dead site says nothing of
    /// the proxy; several in a row do, and then it rests. Everybody may still ask it: only the
    /// programs that want dead sites wait. True if it was up until now.
    pub(super) fn target_was_silent(self, now: Instant) -> bool {
        let mut state = self.health.state();
        if state.last_success.is_some_and(|success| success > self.began) {
            return false;
        }
        state.silent_targets = state.silent_targets.saturating_add(1);
        if state.silent_targets < SUSPICIOUS {
            return false;
        }
        let was_up = state.failures == 0;
        state.failures = state.failures.saturating_add(1);
        state.rests_until = Some(now + rest(state.failures));
        state.failed_by_silence = false;
        was_up
    }

    /// The proxy failed. True if it was up until now.
    pub(super) fn failed(self, now: Instant) -> bool {
        let mut state = self.health.state();
        // In a crowd a dial may wait too long while others succeed: that tells of the crowd.
        if state.last_success.is_some_and(|success| success > self.began) {
            return false;
        }
        // Of many dials that fail at once, the first decides: the others began before it failed.
        let already_known = state
            .rests_until
            .is_some_and(|until| until > now && until - rest(state.failures) >= self.began);
        if !already_known {
            state.failures = state.failures.saturating_add(1);
            state.rests_until = Some(now + rest(state.failures));
        }
        state.failed_by_silence = now - self.began >= QUICK;
        state.failures == 1 && !already_known
    }
}

impl Drop for DialAttempt<'_> {
    fn drop(&mut self) {
        if self.probe {
            self.health.state().probing = false;
        }
    }
}

/// How long a proxy rests that failed so many times in a row.
pub(super) fn rest(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    (FIRST_REST * 2u32.pow(doublings)).min(LONGEST_REST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_secs(5);

    #[test]
    fn rest_grows_and_is_bounded() {
        assert_eq!(rest(1), FIRST_REST);
        assert_eq!(rest(3), FIRST_REST * 4);
        assert_eq!(rest(u32::MAX), LONGEST_REST);
    }

    #[test]
    fn a_failure_rests_and_a_success_wakes() {
        let health = Health::default();
        let now = Instant::now();
        assert!(health.begin(now).unwrap().failed(now), "first failure is news");
        assert!(health.is_resting(now));
        assert!(!health.is_resting(now + FIRST_REST));
        let later = now + FIRST_REST;
        assert!(!health.begin(later).unwrap().failed(later), "second is not");
        assert!(health.is_resting(later + FIRST_REST));
        assert!(health.begin(later).unwrap().succeeded(later));
        assert!(!health.is_resting(later));
    }

    #[test]
    fn simultaneous_failures_count_once() {
        let health = Health::default();
        let now = Instant::now();
        let (first, second) = (health.begin(now).unwrap(), health.begin(now).unwrap());
        assert!(first.failed(now + SILENCE));
        assert!(!second.failed(now + SILENCE));
        assert!(!health.is_resting(now + SILENCE + FIRST_REST));
    }

    #[test]
    fn a_slow_dial_among_successes_is_no_failure_of_the_proxy() {
        let health = Health::default();
        let now = Instant::now();
        let slow = health.begin(now).unwrap();
        let later = now + FIRST_REST;
        health.begin(later).unwrap().succeeded(later);
        assert!(!slow.failed(now + SILENCE));
        assert!(!health.is_resting(now + SILENCE));
        assert!(health.begin(later).unwrap().failed(later + SILENCE), "one after it counts");
    }

    #[test]
    fn a_silent_proxy_is_probed_by_one() {
        let health = Health::default();
        let now = Instant::now();
        health.begin(now).unwrap().failed(now + SILENCE);
        let probe = health.begin(now + SILENCE).unwrap();
        assert!(health.begin(now + SILENCE).is_none());
        drop(probe);
        assert!(health.begin(now + SILENCE).is_some());
    }

    #[test]
    fn dead_sites_do_not_take_a_proxy_down() {
        let health = Health::default();
        let now = Instant::now();
        let silent = |at| health.begin(at).unwrap().target_was_silent(at);
        assert!(!silent(now) && !silent(now));
        health.begin(now).unwrap().succeeded(now);
        let later = now + SILENCE;
        assert!(!silent(later) && !silent(later) && silent(later), "the third in a row is news");
        assert!(health.is_resting(later));
        let _one = health.begin(later).unwrap();
        assert!(health.begin(later).is_some(), "everybody may ask");
    }

    #[test]
    fn a_quick_failure_may_be_asked_by_all() {
        let health = Health::default();
        let now = Instant::now();
        health.begin(now).unwrap().failed(now);
        let _first = health.begin(now).unwrap();
        assert!(health.begin(now).is_some());
    }

    fn site(number: u16) -> SocketAddr {
        SocketAddr::from(([203, 0, 113, 1], number))
    }

    #[test]
    fn three_without_answer_are_suspicious_once() {
        let health = Health::default();
        let silent = |number| health.went(site(number), 10, 0);
        let suspected = Some(Silence { destinations: [site(1), site(2)] });
        assert_eq!(silent(1), None);
        assert_eq!(health.went(site(3), 0, 0), None, "nothing sent says nothing");
        assert_eq!(silent(2), None);
        assert_eq!(silent(1), suspected);
        assert_eq!(silent(3), None, "said once");
        assert_eq!(health.went(site(1), 10, 10), None);
        assert_eq!([silent(1), silent(1), silent(2)], [None, None, suspected]);
    }

    #[test]
    fn one_silent_destination_says_nothing_of_the_password() {
        let health = Health::default();
        assert!((0..10).all(|_| health.went(site(1), 10, 0).is_none()));
        assert!(health.went(site(2), 10, 0).is_some());
    }
}
