//! After how many queries a server closes its connections, as far as that is known.
//!
//! It is learned when a connection ends before several of its queries are answered. One such end
//! may have another cause, a restart or a reset by whomever on the way: it counts for a moment, so
//! that what was left over does not meet the same again, and the second one within minutes counts
//! for long.

use super::request::Ended;
use std::io;
use std::time::Duration;
use tokio::time::Instant;

/// The first time it is believed for so long,
const DOUBTED: Duration = Duration::from_secs(5);

/// and the second time within this
const AGAIN: Duration = Duration::from_secs(180);

/// for so long.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Of one server.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ClosingHabit {
    /// So many queries on a connection, and until when.
    allowed: Option<(u32, Instant)>,
    last_early_end: Option<Instant>,
}

impl ClosingHabit {
    /// So many queries a connection may get now.
    pub(super) fn allowed(&self) -> u32 {
        match self.allowed {
            Some((allowed, until)) if Instant::now() < until => allowed,
            _ => u32::MAX,
        }
    }

    /// A connection ended; if that says something, what is allowed from now on.
    pub(super) fn learn(&mut self, ended: &Ended) -> Option<u32> {
        let was_closed = ended.cause.kind() != io::ErrorKind::TimedOut;
        if !was_closed || ended.left <= 1 {
            return None;
        }
        let (allowed, now) = (ended.answered.max(1).min(self.allowed()), Instant::now());
        let last = self.last_early_end.replace(now);
        let is_second = last.is_some_and(|last| now < last + AGAIN);
        self.allowed = Some((allowed, now + if is_second { REMEMBERED } else { DOUBTED }));
        Some(allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn ended(answered: u32, left: u32, cause: io::ErrorKind) -> Ended {
        Ended { cause: cause.into(), sent: 1, received: 1, answered, left }
    }

    #[tokio::test(start_paused = true)]
    async fn one_reset_is_believed_for_a_moment_and_the_second_for_long() {
        let reset = || ended(0, 5, io::ErrorKind::ConnectionReset);
        let mut habit = ClosingHabit::default();
        assert_eq!((habit.learn(&reset()), habit.allowed()), (Some(1), 1));
        advance(DOUBTED).await;
        assert_eq!(habit.allowed(), u32::MAX);
        advance(AGAIN).await;
        habit.learn(&reset());
        advance(DOUBTED).await;
        assert_eq!(habit.allowed(), u32::MAX, "the first one is long past");
        habit.learn(&reset());
        advance(REMEMBERED - Duration::from_millis(1)).await;
        assert_eq!(habit.allowed(), 1);
        advance(Duration::from_millis(1)).await;
        assert_eq!(habit.allowed(), u32::MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn what_says_nothing_and_what_says_less() {
        let mut habit = ClosingHabit::default();
        for nothing in [
            ended(7, 0, io::ErrorKind::UnexpectedEof),
            ended(7, 1, io::ErrorKind::UnexpectedEof),
            ended(0, 9, io::ErrorKind::TimedOut),
        ] {
            assert_eq!((habit.learn(&nothing), habit.allowed()), (None, u32::MAX));
        }
        assert_eq!(habit.learn(&ended(100, 20, io::ErrorKind::UnexpectedEof)), Some(100));
        assert_eq!(habit.learn(&ended(30, 2, io::ErrorKind::UnexpectedEof)), Some(30));
        assert_eq!(habit.learn(&ended(60, 2, io::ErrorKind::UnexpectedEof)), Some(30));
    }
}
