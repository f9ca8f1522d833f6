//! How long to rest between checks of the rules while another program takes them away again and
//! again.
//!
//! A firewall that is reloaded takes them away once, a clumsy one a few times. A program that does
//! it all the time will not be outrun: each round would cost both, and fill the log. So the checks
//! become rare while it goes on, and it is said once.

use crate::warnings::Complaint;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tracing::{debug, warn};

/// How often the rules are checked: not more, since some programs change the firewall all the time,
/// and where there is no notification of changes (iptables-legacy) not less. Rarer while
/// [`RepairBackoff`] rests.
pub(in crate::firewall) const INTERVAL: Duration = Duration::from_secs(5);

/// So many repairs within [`WINDOW`] change nothing.
const WITHOUT_BACKOFF: usize = 3;
const WINDOW: Duration = Duration::from_secs(600);

/// Without rules foreign traffic goes direct: not longer than that.
const LONGEST: Duration = Duration::from_secs(60);

/// What a check of the rules has found.
#[derive(Debug, Default)]
pub(in crate::firewall) struct Repair {
    /// What was missing and is in place again, in words.
    pub(in crate::firewall) repaired: Vec<String>,
    /// Why something could not be put back.
    pub(in crate::firewall) failed: Option<String>,
}

impl Repair {
    /// Takes in what became of one part.
    pub(in crate::firewall) fn record(&mut self, part: Result<Option<String>, impl ToString>) {
        match part {
            Ok(repaired) => self.repaired.extend(repaired),
            Err(error) => drop(self.failed.get_or_insert_with(|| error.to_string())),
        }
    }
}

/// The times at which the rules were put back, of late.
#[derive(Debug, Default)]
pub(in crate::firewall) struct RepairBackoff {
    repaired: VecDeque<Instant>,
    /// What cannot be repaired, so that it is said once.
    complaint: Complaint,
    /// A program that is not outrun.
    rival: Complaint,
}

impl RepairBackoff {
    /// Time has passed.
    pub(in crate::firewall) fn look(&mut self, now: Instant) {
        if self.rest(now) == INTERVAL {
            self.rival.clear();
        }
    }

    /// Takes in what a check has found.
    pub(in crate::firewall) fn record(&mut self, now: Instant, repair: Repair) {
        if !repair.repaired.is_empty() {
            self.forget(now);
            self.repaired.push_back(now);
            self.tell(&repair.repaired.join("; "), now);
        }
        self.complaint.set(repair.failed.map(|error| {
            format!(
                "another program changed the firewall, and the rules cannot be put back: {error}; \
                 restart snet"
            )
        }));
    }

    fn tell(&mut self, what: &str, now: Instant) {
        let (times, rest) = (self.repaired.len(), self.rest(now).as_secs());
        if times <= WITHOUT_BACKOFF {
            warn!("another program changed the firewall, {what}; they are in place again");
        } else if times == WITHOUT_BACKOFF + 1 {
            self.rival.set(Some(format!(
                "another program keeps taking the rules away ({what}, {times} times within {} \
                 minutes): it is not outrun, they are put back after {rest} s and then less and \
                 less often, down to once in {} s; stop that program, or snet",
                WINDOW.as_secs() / 60,
                LONGEST.as_secs()
            )));
        } else {
            debug!("{what}; they are in place again, for the {times}th time");
        }
    }

    /// Between two checks.
    pub(in crate::firewall) fn rest(&self, now: Instant) -> Duration {
        let recent = |repaired: &&Instant| now.saturating_duration_since(**repaired) < WINDOW;
        let times = self.repaired.iter().filter(recent).count();
        let doublings = u32::try_from(times.saturating_sub(WITHOUT_BACKOFF)).unwrap_or(u32::MAX);
        INTERVAL.saturating_mul(2u32.saturating_pow(doublings)).min(LONGEST)
    }

    fn forget(&mut self, now: Instant) {
        self.repaired.retain(|repaired| now.saturating_duration_since(*repaired) < WINDOW);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One family is repaired time and again, while the other cannot be.
    fn repaired() -> Repair {
        let mut repair = Repair::default();
        repair.record(Err::<Option<String>, _>("native rules"));
        repair.record(Ok::<_, String>(Some("IPv6 rules were gone".into())));
        repair
    }

    #[test]
    fn a_reload_or_two_change_nothing_and_a_program_that_goes_on_does() {
        let mut backoff = RepairBackoff::default();
        let mut now = Instant::now();
        assert_eq!(backoff.rest(now), INTERVAL);
        let rests = (0..8).map(|_| {
            backoff.record(now, repaired());
            let rest = backoff.rest(now);
            now += rest;
            rest.as_secs()
        });
        assert_eq!(rests.collect::<Vec<_>>(), [5, 5, 5, 10, 20, 40, 60, 60]);
    }

    #[test]
    fn peace_returns_by_itself() {
        let mut backoff = RepairBackoff::default();
        let begin = Instant::now();
        for _ in 0..20 {
            backoff.record(begin, repaired());
        }
        assert_eq!(backoff.rest(begin), LONGEST);
        assert_eq!(backoff.rest(begin + WINDOW), INTERVAL);
        backoff.look(begin + WINDOW - Duration::from_secs(1));
        assert!(backoff.rival.holds(), "it is warned of as long as that");
        backoff.look(begin + WINDOW);
        assert!(!backoff.rival.holds());
        backoff.record(begin + WINDOW, repaired());
        assert_eq!(backoff.repaired.len(), 1);
    }

    #[test]
    fn who_reloads_every_few_minutes_is_no_enemy() {
        let mut backoff = RepairBackoff::default();
        let begin = Instant::now();
        for round in 0..50 {
            let now = begin + round * Duration::from_secs(240);
            backoff.record(now, repaired());
            assert_eq!(backoff.rest(now), INTERVAL);
        }
    }
}
