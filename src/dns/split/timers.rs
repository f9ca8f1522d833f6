//! When a query's clocks run out, and how patient to be with the domestic side.

use std::time::{Duration, Instant};

/// How long a trusted reply waits at most for the domestic side.
pub const GRACE: Duration = Duration::from_millis(300);

/// So many names in a row without a domestic reply, and the side counts as down.
const MISSES: u32 = 5;

/// One of a query's clocks; each becomes the event of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// [`Event::GraceOver`](super::Event::GraceOver)
    GraceOver,
    /// [`Event::Deadline`](super::Event::Deadline)
    Deadline,
}

/// The clocks of one query.
#[derive(Clone, Copy, Debug)]
pub struct Timers {
    grace: Option<Instant>,
    deadline: Instant,
}

impl Timers {
    /// Starts the clocks. `timeout` is `dns.timeout`, and either side has all of it.
    pub fn new(now: Instant, timeout: Duration) -> Self {
        Timers { grace: None, deadline: now + timeout }
    }

    /// Starts the grace that [`Reaction::Wait`](super::Reaction::Wait) asked for.
    pub fn start_grace(&mut self, now: Instant, grace: Duration) {
        self.grace = Some(now + grace);
    }

    /// When to look again.
    pub fn next(&self) -> Instant {
        self.grace.map_or(self.deadline, |grace| grace.min(self.deadline))
    }

    /// A clock that has run out, each once; call it until it returns `None`. The deadline is
    /// reported again and again: the caller drops the query then.
    pub fn due(&mut self, now: Instant) -> Option<Timer> {
        if self.deadline <= now {
            Some(Timer::Deadline)
        } else if self.grace.is_some_and(|grace| grace <= now) {
            self.grace = None;
            Some(Timer::GraceOver)
        } else {
            None
        }
    }
}

/// Watches whether the domestic side is there at all: while it has missed five names in a row,
/// trusted replies do not wait for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    misses: u32,
}

impl Patience {
    /// A domestic server replied, whatever and however late.
    pub fn heard(&mut self) {
        self.misses = 0;
    }

    /// A name was answered, or given up, without a reply of the domestic side. With no grace left
    /// that happens at once: keep listening for late replies, which restore it.
    pub fn missed(&mut self) {
        self.misses = self.misses.saturating_add(1);
    }

    /// How long a trusted reply should wait.
    pub fn grace(&self) -> Duration {
        if self.misses < MISSES { GRACE } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_run_out_in_order_and_once() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let mut timers = Timers::new(start, Duration::from_secs(4));
        assert_eq!(timers.next(), after(4000));
        timers.start_grace(after(100), GRACE);
        assert_eq!((timers.next(), timers.due(after(399))), (after(400), None));
        assert_eq!(timers.due(after(400)), Some(Timer::GraceOver));
        assert_eq!((timers.due(after(400)), timers.next()), (None, after(4000)));
        assert_eq!((timers.due(after(3999)), timers.next()), (None, after(4000)));
        assert_eq!(timers.due(after(4000)), Some(Timer::Deadline));
    }

    #[test]
    fn patience_ends_after_five_misses_and_returns() {
        let mut patience = Patience::default();
        for _ in 0..5 {
            assert_eq!(patience.grace(), GRACE);
            patience.missed();
        }
        assert_eq!(patience.grace(), Duration::ZERO);
        patience.heard();
        assert_eq!(patience.grace(), GRACE);
    }
}
