//! The connections through one member that have sent something and wait for the first byte back:
//! whether they tell of a slow site or of a member that carries nothing. Pure; it is looked at a
//! few times a second while anything waits.

use super::habit::Habit;
use crate::stats::Meter;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// More than so many tell nothing new.
const MOST_WAITING: usize = 64;

/// As long as nothing is known of how soon answers come; and bounds of what is known.
const USUAL_PATIENCE: Duration = Duration::from_secs(1);
const LEAST_PATIENCE: Duration = Duration::from_millis(400);
const MOST_PATIENCE: Duration = Duration::from_secs(3);

/// One connection may be a request that the site answers late on purpose; not for so long, unless
/// it is a rare one, and then a question costs little.
const ONE_ALONE: Duration = Duration::from_secs(4);

/// The connections that wait, and how long answers usually take.
#[derive(Debug, Default)]
pub(super) struct AwaitedAnswers {
    connections: Vec<WaitingConnection>,
    answers: Habit,
    /// When the request left that was answered last.
    last_answered: Option<Instant>,
    /// A site that has answered over TLS.
    witness: Option<SocketAddr>,
}

/// HTTPS.
const TLS_PORT: u16 = 443;

#[derive(Debug)]
struct WaitingConnection {
    meter: Arc<Meter>,
    destination: SocketAddr,
}

/// What a look found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// When the request left whose answer came last, among those answered since the last look.
    pub(super) answered: Option<Instant>,
    /// Nothing comes back, although it should.
    pub(super) is_silent: bool,
}

impl AwaitedAnswers {
    /// One more connection.
    pub(super) fn add(&mut self, meter: &Arc<Meter>, destination: SocketAddr) {
        if self.connections.len() >= MOST_WAITING {
            self.connections
                .retain(|it| it.meter.down.get() == 0 && Arc::strong_count(&it.meter) > 1);
        }
        if self.connections.len() < MOST_WAITING {
            let meter = Arc::clone(meter);
            self.connections.push(WaitingConnection { meter, destination });
        }
    }

    /// Whether there is anything to look at.
    pub(super) fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// How long a first byte may take here without being remarkable.
    pub(super) fn patience(&self) -> Duration {
        let known = self.answers.patience().map(|known| known * 2);
        known.unwrap_or(USUAL_PATIENCE).clamp(LEAST_PATIENCE, MOST_PATIENCE)
    }

    /// Whoever answered last over TLS.
    pub(super) fn witness(&self) -> Option<SocketAddr> {
        self.witness
    }

    /// Looks at all of them, and forgets those that are answered or gone.
    pub(super) fn look(&mut self, now: Instant) -> Findings {
        let mut answered: Option<Instant> = None;
        let (answers, witness) = (&mut self.answers, &mut self.witness);
        let is_tls = |destination: &SocketAddr| destination.port() == TLS_PORT;
        self.connections.retain(|it| {
            let (sent, heard) = (it.meter.up.begun(), it.meter.down.begun());
            if let Some(heard) = heard {
                // Of a server that speaks first only that it spoke is known.
                let sent = sent.filter(|sent| *sent <= heard);
                if let Some(sent) = sent {
                    answers.add(heard - sent);
                    *witness = Some(it.destination).filter(is_tls).or(*witness);
                }
                answered = answered.max(Some(sent.unwrap_or(heard)));
            }
            // The session holds the other one.
            heard.is_none() && Arc::strong_count(&it.meter) > 1
        });
        self.last_answered = self.last_answered.max(answered);
        let (patience, last) = (self.patience(), self.last_answered);
        let overdue = self.connections.iter().filter_map(|it| {
            let waits = now.saturating_duration_since(it.meter.up.begun()?);
            // What was sent before the last answer may be a matter of its destination.
            let is_after = it.meter.up.begun() > last;
            (waits >= patience && is_after).then_some((waits, it.destination))
        });
        let overdue: Vec<_> = overdue.collect();
        let is_silent = match overdue.first() {
            None => false,
            Some((_, first)) => {
                overdue.iter().any(|(waits, other)| other != first || *waits >= ONE_ALONE)
            }
        };
        Findings { answered, is_silent }
    }

    /// The network is another one.
    pub(super) fn forget(&mut self) {
        *self = AwaitedAnswers::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Site(Arc<Meter>);

    fn site(waiting: &mut AwaitedAnswers, number: u16) -> Site {
        let meter = Arc::default();
        waiting.add(&meter, SocketAddr::from(([203, 0, 113, 1], number)));
        Site(meter)
    }

    impl Site {
        fn sends(self) -> Self {
            self.0.up.add(500);
            self
        }

        fn answers(self) -> Self {
            self.0.down.add(1000);
            self
        }
    }

    async fn pass(milliseconds: u64) {
        tokio::time::advance(Duration::from_millis(milliseconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn two_silent_destinations_are_suspicious_and_one_is_not_soon() {
        let mut waiting = AwaitedAnswers::default();
        let _one = site(&mut waiting, 1).sends();
        let _same = site(&mut waiting, 1).sends();
        let _idle = site(&mut waiting, 3);
        pass(1500).await;
        assert!(!waiting.look(Instant::now()).is_silent);
        let _other = site(&mut waiting, 2).sends();
        assert!(!waiting.look(Instant::now()).is_silent, "it has waited for no time");
        pass(1100).await;
        assert!(waiting.look(Instant::now()).is_silent);
        let mut alone = AwaitedAnswers::default();
        let _one = site(&mut alone, 1).sends();
        pass(3900).await;
        assert!(!alone.look(Instant::now()).is_silent);
        pass(200).await;
        assert!(alone.look(Instant::now()).is_silent);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_speaks_for_what_was_sent_before_it() {
        let mut waiting = AwaitedAnswers::default();
        let slow = [site(&mut waiting, 1).sends(), site(&mut waiting, 2).sends()];
        pass(900).await;
        let quick = site(&mut waiting, 3).sends();
        pass(400).await;
        let sent = quick.0.up.begun();
        let _quick = quick.answers();
        let found = waiting.look(Instant::now());
        assert_eq!(found, Findings { answered: sent, is_silent: false });
        assert!(!waiting.is_empty());
        pass(2000).await;
        assert_eq!(waiting.look(Instant::now()), Findings::default(), "it still speaks for them");
        drop(slow);
        assert_eq!(waiting.look(Instant::now()), Findings::default());
        assert!(waiting.is_empty(), "what has ended is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn a_quick_member_is_suspected_sooner() {
        let mut waiting = AwaitedAnswers::default();
        for number in 0..30 {
            let asked = site(&mut waiting, number).sends();
            pass(20).await;
            let _answered = asked.answers();
            waiting.look(Instant::now());
        }
        assert_eq!(waiting.patience(), LEAST_PATIENCE);
        let _silent = [site(&mut waiting, 1).sends(), site(&mut waiting, 2).sends()];
        pass(410).await;
        assert!(waiting.look(Instant::now()).is_silent);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_answers_over_tls_is_remembered() {
        let mut waiting = AwaitedAnswers::default();
        let _silent = site(&mut waiting, TLS_PORT).sends();
        let _other = site(&mut waiting, 80).sends().answers();
        waiting.look(Instant::now());
        assert_eq!(waiting.witness(), None);
        let _site = site(&mut waiting, TLS_PORT).sends().answers();
        let _other = site(&mut waiting, 80).sends().answers();
        waiting.look(Instant::now());
        assert_eq!(waiting.witness().unwrap().port(), TLS_PORT);
        waiting.forget();
        assert_eq!(waiting.witness(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_are_held() {
        let mut waiting = AwaitedAnswers::default();
        let held: Vec<_> = (0..200).map(|number| site(&mut waiting, number).sends()).collect();
        assert_eq!(waiting.connections.len(), MOST_WAITING);
        drop(held);
        let _one = site(&mut waiting, 1);
        assert_eq!(waiting.connections.len(), 1, "those that are gone make room");
    }
}
