//! How long to rest between looks at the rules when somebody takes them away again and again.
//!
//! A firewall that is reloaded takes them away once, a clumsy one a few times. A program that does
//! it all the time will not be outrun: each round would cost both, and fill the log. So the looks
//! become rare while it goes on, and it is said once.

use super::{EVERY, Look};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tracing::{debug, warn};

/// Rules that are put back so often within [`WINDOW`] are fought over.
const PEACEFUL: usize = 3;
const WINDOW: Duration = Duration::from_secs(600);

/// Without rules foreign traffic goes direct: not longer than that.
const LONGEST: Duration = Duration::from_secs(60);

/// The times at which the rules were put back, of late.
#[derive(Debug, Default)]
pub(in crate::firewall) struct Fight {
    mended: VecDeque<Instant>,
    /// What cannot be mended, so that it is said once.
    complaint: Option<String>,
}

impl Fight {
    /// Takes in what a look has found.
    pub(in crate::firewall) fn looked(&mut self, now: Instant, look: Look) {
        if !look.mended.is_empty() {
            self.forget(now);
            self.mended.push_back(now);
            self.tell(&look.mended.join("; "), now);
        }
        if let Some(error) = &look.failed
            && self.complaint.as_ref() != Some(error)
        {
            warn!(
                "another program changed the firewall, and the rules cannot be put back: {error}; \
                 restart snet"
            );
        }
        self.complaint = look.failed;
    }

    fn tell(&self, what: &str, now: Instant) {
        let (times, rest) = (self.mended.len(), self.rest(now).as_secs());
        if times <= PEACEFUL {
            warn!("another program changed the firewall, {what}; they are in place again");
        } else if times == PEACEFUL + 1 {
            warn!(
                "another program keeps taking the rules away ({what}, {times} times within {} \
                 minutes): it is not outrun, they are put back after {rest} s and then less and \
                 less often, down to once in {} s; stop that program, or snet",
                WINDOW.as_secs() / 60,
                LONGEST.as_secs()
            );
        } else {
            debug!("{what}; they are in place again, for the {times}th time");
        }
    }

    /// Between two looks.
    pub(in crate::firewall) fn rest(&self, now: Instant) -> Duration {
        let recent = |mended: &&Instant| now.saturating_duration_since(**mended) < WINDOW;
        let times = self.mended.iter().filter(recent).count();
        let doublings = u32::try_from(times.saturating_sub(PEACEFUL)).unwrap_or(u32::MAX);
        EVERY.saturating_mul(2u32.saturating_pow(doublings)).min(LONGEST)
    }

    fn forget(&mut self, now: Instant) {
        self.mended.retain(|mended| now.saturating_duration_since(*mended) < WINDOW);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One family is mended time and again, while the other cannot be.
    fn mended() -> Look {
        let mut look = Look::default();
        look.note(Err::<Option<String>, _>("native rules"));
        look.note(Ok::<_, String>(Some("IPv6 rules were gone".into())));
        look
    }

    #[test]
    fn a_reload_or_two_change_nothing_and_a_fight_does() {
        let mut fight = Fight::default();
        let mut now = Instant::now();
        assert_eq!(fight.rest(now), EVERY);
        let rests = (0..8).map(|_| {
            fight.looked(now, mended());
            let rest = fight.rest(now);
            now += rest;
            rest.as_secs()
        });
        assert_eq!(rests.collect::<Vec<_>>(), [5, 5, 5, 10, 20, 40, 60, 60]);
    }

    #[test]
    fn peace_returns_by_itself() {
        let mut fight = Fight::default();
        let begin = Instant::now();
        for _ in 0..20 {
            fight.looked(begin, mended());
        }
        assert_eq!(fight.rest(begin), LONGEST);
        assert_eq!(fight.rest(begin + WINDOW), EVERY);
        fight.looked(begin + WINDOW, mended());
        assert_eq!(fight.mended.len(), 1);
    }

    #[test]
    fn who_reloads_every_few_minutes_is_no_enemy() {
        let mut fight = Fight::default();
        let begin = Instant::now();
        for round in 0..50 {
            let now = begin + round * Duration::from_secs(240);
            fight.looked(now, mended());
            assert_eq!(fight.rest(now), EVERY);
        }
    }
}
