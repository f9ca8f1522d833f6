//! Whether a server may be sent a program's first bytes behind a CONNECT that it has not answered.
//! Pure.
//!
//! HTTP/2 allows it: what follows the request are DATA frames of its stream, which are the tunnel's
//! and nothing else's (RFC 9113, 8.5; "optimistic" in draft-ietf-httpbis-connect-tcp), and a server
//! that refuses throws them away. That is not so of HTTP/1.1, where such bytes would be the next
//! request. NaiveProxy and v2ray send them so. But no server has to be prepared for it, so it is
//! learned:
//!
//! - nothing is sent ahead to a server that has not opened a tunnel yet;
//! - then one tunnel at a time is a trial ([`OptimisticTrial`]), until an answer has come behind
//!   what was sent ahead: from then on every one may;
//! - a server that refuses a trial, and takes the same request without it, or is silent behind one,
//!   is left alone with it for [`PAUSE`].

use crate::sync::lock;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// How long a server is left alone that did not take it.
const PAUSE: Duration = Duration::from_secs(600);

/// A trial on which nothing has come back for so long has failed. (Some destinations only listen;
/// then the next one tells more, after the pause.)
const SILENCE: Duration = Duration::from_secs(5);

/// So many trials in a row that ended early without an answer have failed, too.
const MOST_UNDECIDED: u32 = 3;

/// What is known of a server.
#[derive(Debug, Default)]
pub(super) struct Optimism(Mutex<Stance>);

#[derive(Debug, Default, PartialEq, Eq)]
enum Stance {
    /// No tunnel was opened.
    #[default]
    Unknown,
    /// One was. So many trials have ended without telling anything.
    Hopeful(u32),
    OnTrial(u32),
    Proven,
    Declined(Instant),
}

/// Leave to send a program's first bytes ahead.
#[derive(Debug)]
pub(super) enum Leave {
    /// The server is known to take them.
    Granted,
    /// It is tried.
    OnTrial(OptimisticTrial),
}

/// Tells what became of it; or is dropped.
#[derive(Debug)]
pub(super) struct OptimisticTrial {
    optimism: Arc<Optimism>,
    /// When something was sent ahead.
    sent: Option<Instant>,
}

impl Optimism {
    /// The server has opened a tunnel, to which nothing was sent ahead.
    pub(super) fn opened(&self) {
        let mut stance = lock(&self.0);
        if *stance == Stance::Unknown {
            *stance = Stance::Hopeful(0);
        }
    }

    /// Whether something may be sent ahead now.
    pub(super) fn leave(self: &Arc<Self>, now: Instant) -> Option<Leave> {
        let mut stance = lock(&self.0);
        let undecided = match *stance {
            Stance::Proven => return Some(Leave::Granted),
            Stance::Hopeful(undecided) => undecided,
            Stance::Declined(until) if until <= now => 0,
            Stance::Unknown | Stance::OnTrial(_) | Stance::Declined(_) => return None,
        };
        *stance = Stance::OnTrial(undecided);
        Some(Leave::OnTrial(OptimisticTrial { optimism: Arc::clone(self), sent: None }))
    }

    /// Another server may be there.
    pub(super) fn forget(&self) {
        *lock(&self.0) = Stance::Unknown;
    }

    /// A trial has ended so. One that began before all was forgotten tells nothing.
    fn ended(&self, end: impl FnOnce(u32) -> Stance) {
        let mut stance = lock(&self.0);
        if let Stance::OnTrial(undecided) = *stance {
            *stance = end(undecided);
        }
    }
}

impl OptimisticTrial {
    /// Something was sent ahead.
    pub(super) fn has_sent(&mut self, now: Instant) {
        self.sent = Some(now);
    }

    /// An answer came behind it.
    pub(super) fn succeeded(self) {
        self.optimism.ended(|_| Stance::Proven);
    }

    /// It was not the payload that the server refused.
    pub(super) fn told_nothing(mut self) {
        self.sent = None;
    }

    /// The server does not take it.
    pub(super) fn failed(self) {
        self.optimism.ended(|_| Stance::Declined(Instant::now() + PAUSE));
    }
}

impl Drop for OptimisticTrial {
    fn drop(&mut self) {
        let now = Instant::now();
        self.optimism.ended(|undecided| match self.sent {
            // The program had said nothing, or the target was refused.
            None => Stance::Hopeful(undecided),
            Some(sent) if now.duration_since(sent) >= SILENCE => Stance::Declined(now + PAUSE),
            Some(_) if undecided + 1 >= MOST_UNDECIDED => Stance::Declined(now + PAUSE),
            Some(_) => Stance::Hopeful(undecided + 1),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn trial(optimism: &Arc<Optimism>) -> Option<OptimisticTrial> {
        match optimism.leave(Instant::now()) {
            Some(Leave::OnTrial(trial)) => Some(trial),
            _ => None,
        }
    }

    fn sent(optimism: &Arc<Optimism>) -> OptimisticTrial {
        let mut trial = trial(optimism).unwrap();
        trial.has_sent(Instant::now());
        trial
    }

    /// One that has opened a tunnel.
    fn hopeful() -> Arc<Optimism> {
        let optimism: Arc<Optimism> = Arc::default();
        optimism.opened();
        optimism
    }

    #[tokio::test(start_paused = true)]
    async fn one_is_tried_before_all_may() {
        let optimism: Arc<Optimism> = Arc::default();
        assert!(optimism.leave(Instant::now()).is_none(), "it has opened no tunnel");
        optimism.opened();
        let first = sent(&optimism);
        optimism.opened();
        assert!(optimism.leave(Instant::now()).is_none(), "one is tried at a time");
        first.succeeded();
        for _ in 0..3 {
            assert!(matches!(optimism.leave(Instant::now()), Some(Leave::Granted)));
        }
        optimism.forget();
        assert!(optimism.leave(Instant::now()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_take_it_is_left_alone_for_a_while() {
        let optimism = hopeful();
        sent(&optimism).failed();
        advance(PAUSE - Duration::from_millis(1)).await;
        assert!(trial(&optimism).is_none());
        advance(Duration::from_millis(2)).await;
        assert!(trial(&optimism).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_behind_it_counts_as_failure_and_one_early_end_does_not() {
        let optimism = hopeful();
        let silent = sent(&optimism);
        advance(SILENCE).await;
        drop(silent);
        assert!(trial(&optimism).is_none());
        let optimism = hopeful();
        for _ in 0..MOST_UNDECIDED {
            drop(trial(&optimism).unwrap());
            drop(sent(&optimism));
        }
        assert!(trial(&optimism).is_none());
        // It began on another network.
        let optimism = hopeful();
        let old = sent(&optimism);
        optimism.forget();
        old.succeeded();
        assert!(optimism.leave(Instant::now()).is_none());
    }
}
