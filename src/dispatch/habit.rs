//! How long something usually takes: a smoothed value and its deviation, as TCP keeps them of round
//! trips (RFC 6298, 2). Pure.

use std::time::Duration;

/// What is known of how long one kind of thing takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Habit {
    smoothed: Duration,
    deviation: Duration,
    is_known: bool,
}

/// What four deviations may add to the smoothed value: a habit that is steady may still have a
/// hiccup, and one that is not must not make others wait.
const LEAST_SLACK: Duration = Duration::from_millis(50);
const MOST_SLACK: Duration = Duration::from_millis(250);

impl Habit {
    /// Takes in one more measurement.
    pub(super) fn add(&mut self, took: Duration) {
        if !self.is_known {
            *self = Habit { smoothed: took, deviation: took / 2, is_known: true };
            return;
        }
        let error = self.smoothed.abs_diff(took);
        self.deviation = (self.deviation * 3 + error) / 4;
        self.smoothed = (self.smoothed * 7 + took) / 8;
    }

    /// The smoothed value; `None` as long as nothing was measured.
    pub(super) fn usual(&self) -> Option<Duration> {
        self.is_known.then_some(self.smoothed)
    }

    /// What takes longer than this is slower than usual; `None` as long as nothing was measured.
    pub(super) fn patience(&self) -> Option<Duration> {
        let slack = (self.deviation * 4).clamp(LEAST_SLACK, MOST_SLACK);
        self.usual().map(|usual| usual + slack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn a_steady_habit_leaves_little_patience() {
        let mut habit = Habit::default();
        assert_eq!((habit.usual(), habit.patience()), (None, None));
        (0..50).for_each(|_| habit.add(milliseconds(150)));
        assert_eq!(habit.usual(), Some(milliseconds(150)));
        assert_eq!(habit.patience(), Some(milliseconds(150) + LEAST_SLACK));
    }

    #[test]
    fn one_that_is_not_is_bounded() {
        let mut habit = Habit::default();
        (0..50).for_each(|step| habit.add(milliseconds(if step % 2 == 0 { 10 } else { 2000 })));
        let usual = habit.usual().unwrap();
        assert!(usual > milliseconds(700) && usual < milliseconds(1300), "{usual:?}");
        assert_eq!(habit.patience(), Some(usual + MOST_SLACK));
    }

    #[test]
    fn a_change_is_followed() {
        let mut habit = Habit::default();
        (0..20).for_each(|_| habit.add(milliseconds(20)));
        (0..40).for_each(|_| habit.add(milliseconds(300)));
        assert!(habit.usual().unwrap() > milliseconds(290));
    }
}
