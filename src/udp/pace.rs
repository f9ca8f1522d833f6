//! When the thread waits for more datagrams before it looks for them. Pure.
//!
//! A wake costs as much as several datagrams, and what is found at one wake leaves in one train. So
//! a thread that has carried much, and finds nothing more to do, lets datagrams gather for a
//! moment, as network cards do before they interrupt (ethtool(8), rx-usecs). Where that brings only
//! a few they are not the bulk that was counted but questions and answers in turn, which would only
//! get slower: then the thread does not rest again for a while.

use std::time::{Duration, Instant};

/// Datagrams gather until there are so many, at the rate of the moment: more would not leave in one
/// train.
const GATHERED: u32 = 32;

/// They gather so long at most. The way to a proxy takes a hundred times as long.
const LONGEST: Duration = Duration::from_millis(1);

/// It is not worth while to sleep for less: the kernel's timer slack is a twentieth of a
/// millisecond.
const SHORTEST: Duration = Duration::from_micros(200);

/// What counts as bulk: so many datagrams in the time, ten thousand a second.
const BULK: u64 = 20;
const WINDOW: Duration = Duration::from_millis(2);

/// A pause that brings no more than this was in vain.
const FEW: u64 = 3;

/// How long after a pause in vain there is none: these pauses cost one part in two hundred.
const IN_VAIN: Duration = Duration::from_millis(200);

/// What the thread has carried, and whether it rested before that.
#[derive(Debug)]
pub(super) struct Pace {
    since: Instant,
    carried: u64,
    has_rested: bool,
    not_before: Instant,
}

impl Pace {
    /// Of a thread that begins.
    pub(super) fn new(now: Instant) -> Self {
        Pace { since: now, carried: 0, has_rested: false, not_before: now }
    }

    /// So many datagrams have come.
    pub(super) fn carried(&mut self, datagrams: u64) {
        self.carried += datagrams;
    }

    /// Nothing is left to do: how long datagrams are to gather before the next look.
    pub(super) fn rest(&mut self, now: Instant) -> Option<Duration> {
        let elapsed = now.saturating_duration_since(self.since);
        if !self.has_rested && elapsed < WINDOW {
            return None;
        }
        let is_bulk = match self.has_rested {
            true => self.carried > FEW,
            // In a window that was longer there have to be more.
            false => {
                let windows = elapsed.as_secs_f64() / WINDOW.as_secs_f64();
                self.carried as f64 >= BULK as f64 * windows
            }
        };
        if self.has_rested && !is_bulk {
            self.not_before = now + IN_VAIN;
        }
        let carried = std::mem::take(&mut self.carried).try_into().unwrap_or(u32::MAX);
        self.since = now;
        self.has_rested = is_bulk && now >= self.not_before;
        let pause = (elapsed * GATHERED).checked_div(carried).unwrap_or(LONGEST);
        self.has_rested.then(|| pause.clamp(SHORTEST, LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// Looks once a millisecond, and finds so many each time. Returns the pauses.
    fn pauses(pace: &mut Pace, now: &mut Instant, found: u64, looks: u32) -> usize {
        let rests = (0..looks).filter(|_| {
            *now += MILLISECOND;
            pace.carried(found);
            pace.rest(*now).is_some()
        });
        rests.count()
    }

    #[test]
    fn bulk_gathers_and_the_rest_does_not() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        assert_eq!(pauses(&mut pace, &mut now, 5, 100), 0, "five thousand a second");
        assert_eq!(pauses(&mut pace, &mut now, 12, 100), 99, "the first window is waited for");
        assert_eq!(pauses(&mut pace, &mut now, 0, 100), 0);
        // Much at a time, and then nothing for long, is not much.
        pace.carried(500);
        assert_eq!(pace.rest(now + Duration::from_secs(1)), None);
    }

    #[test]
    fn the_more_come_the_shorter_they_gather() {
        for (in_a_millisecond, pause) in [(12, 1000), (40, 800), (80, 400), (1000, 200)] {
            let now = Instant::now();
            let mut pace = Pace::new(now);
            pace.carried(4 * in_a_millisecond);
            let rest = pace.rest(now + 4 * MILLISECOND);
            assert_eq!(rest, Some(Duration::from_micros(pause)), "{in_a_millisecond}");
        }
    }

    /// Of questions and answers in turn a pause brings one, however many there were before.
    #[test]
    fn a_pause_in_vain_is_rare() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        let mut pauses = 0;
        let begin = now;
        while now < begin + Duration::from_secs(10) {
            pace.carried(1);
            match pace.rest(now) {
                Some(pause) => {
                    pauses += 1;
                    now += pause;
                }
                None => now += Duration::from_micros(50),
            }
        }
        assert!((40..=50).contains(&pauses), "{pauses} pauses in ten seconds");
    }
}
