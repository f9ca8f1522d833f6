//! What the last page asked for, kept for a while as a number: no socket waits for the next page.
//! Pure.
//!
//! The dial that ends a rest, or two dials close together, say that somebody is there; then as many
//! as the last burst had are expected for some seconds. Where none comes half of them are expected
//! the next time, and after that none until a page has come again: so a program that dials now and
//! then costs one and a half bursts at most.

use std::time::Duration;
use tokio::time::Instant;

/// How long it is remembered: about as long as a person reads a page.
const MEMORY: Duration = Duration::from_secs(300);

/// How long it is expected.
const EXPECTATION: Duration = Duration::from_secs(8);

/// Fewer dials at once are no page. What they ask for is no more than recent traffic says.
const SMALLEST: usize = 4;

/// So many dials close together may be its begin.
const BEGIN: usize = 2;

/// The last burst of dials.
#[derive(Debug, Default)]
pub(super) struct PastBurst {
    /// How many dials it had. 0: none is remembered.
    size: usize,
    came: Option<Instant>,
    /// Since when another one is expected, and how many dials of it have come.
    expected: Option<(Instant, usize)>,
    /// The last time none came.
    is_doubted: bool,
}

impl PastBurst {
    /// A dial came; with it there were so many within a moment.
    pub(super) fn came(&mut self, together: usize, was_at_rest: bool, now: Instant) {
        let is_over = |since: Instant, most| now.duration_since(since) > most;
        if let Some((since, most)) = self.expected
            && is_over(since, EXPECTATION)
        {
            self.expected = None;
            self.settle(most);
        }
        if self.came.is_none_or(|came| is_over(came, MEMORY)) {
            *self = PastBurst::default();
        }
        // What comes close behind a burst belongs to it.
        let is_begin = (was_at_rest || together == BEGIN)
            && self.came.is_some_and(|came| is_over(came, EXPECTATION));
        if self.expected.is_none() && self.size > 0 && is_begin {
            self.expected = Some((now, 0));
        }
        if together < SMALLEST {
            return;
        }
        match &mut self.expected {
            Some((_, most)) => *most = together.max(*most),
            None => self.size = together.max(self.size),
        }
        self.came = Some(now);
    }

    /// So many came where one was expected.
    fn settle(&mut self, most: usize) {
        let has_come = most > 0 && 2 * most >= self.size;
        self.size = match (has_come, self.is_doubted) {
            (true, _) => most,
            (false, false) => self.size / 2,
            (false, true) => 0,
        };
        self.is_doubted = !has_come;
    }

    /// How many dials are expected now.
    pub(super) fn expected(&self, now: Instant) -> usize {
        match self.expected {
            Some((since, _)) if now.duration_since(since) <= EXPECTATION => self.size,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Of so many dials at this moment, behind a rest.
    fn burst(past: &mut PastBurst, size: usize, now: Instant) {
        (1..=size).for_each(|together| past.came(together, together == 1, now));
    }

    #[test]
    fn it_is_expected_for_some_seconds_and_remembered_for_minutes() {
        let begin = Instant::now();
        for (rest, expected) in [(20, 12), (300, 12), (301, 0)] {
            let mut past = PastBurst::default();
            burst(&mut past, 12, begin);
            assert_eq!(past.expected(begin), 0, "it is there");
            let now = begin + rest * SECOND;
            assert_eq!(past.expected(now), 0, "nobody is there");
            past.came(1, true, now);
            assert_eq!(past.expected(now), expected);
            assert_eq!(past.expected(now + EXPECTATION), expected);
            assert_eq!(past.expected(now + EXPECTATION + SECOND), 0);
        }
    }

    #[test]
    fn what_does_not_come_is_expected_no_more() {
        let mut now = Instant::now();
        let mut past = PastBurst::default();
        burst(&mut past, 30, now);
        for expected in [30, 15, 0, 0] {
            now += 20 * SECOND;
            past.came(1, true, now);
            assert_eq!(past.expected(now), expected);
        }
        burst(&mut past, 8, now);
        // A smaller page takes its place, unless it is much smaller; then half of it does, first.
        for (comes, expected) in [(5, 8), (5, 5), (30, 5), (4, 30), (0, 15), (0, 0)] {
            now += 20 * SECOND;
            past.came(1, true, now);
            assert_eq!(past.expected(now), expected);
            now += SECOND;
            (2..=comes).for_each(|together| past.came(together, false, now));
            assert_eq!(past.expected(now), expected, "it goes on");
        }
    }

    /// What a page asks for late is no sign of another one.
    #[test]
    fn what_comes_close_behind_belongs_to_it() {
        let mut now = Instant::now();
        let mut past = PastBurst::default();
        burst(&mut past, 30, now);
        for _ in 0..5 {
            now += SECOND;
            past.came(2, false, now);
            assert_eq!(past.expected(now), 0);
        }
        now += 20 * SECOND;
        past.came(1, true, now);
        assert_eq!(past.expected(now), 30);
    }

    #[test]
    fn a_few_at_once_are_no_page() {
        let now = Instant::now();
        let mut past = PastBurst::default();
        burst(&mut past, 3, now);
        past.came(1, true, now + 20 * SECOND);
        assert_eq!(past.expected(now + 20 * SECOND), 0);
    }
}
