//! How each server has answered lately: how long it takes, and whether it is there at all.
//!
//! A server that lets a question pass is asked behind the others until it is heard again. Meanwhile
//! a question goes to it now and then beside the one that is asked in its place, so that its return
//! is noticed at no cost. This is kept for each kind of question: some servers, and firewalls
//! before them, drop what they do not know (HTTPS records, IPv6) and answer the rest.

use super::trouble::Trouble;
use super::troubles::ServerTroubles;
use crate::dns::name_server::NameServer;
use crate::dns::wire::{Query, rr};
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// No server is overdue sooner: a name that it has to ask for itself takes that long.
const SOONEST: Duration = Duration::from_millis(200);

/// No datagram counts as lost sooner: such a server may be at a slow name.
const PROBABLY_LOST: Duration = Duration::from_millis(450);

/// How long a server is left alone after its first miss. Doubles with each further one,
const FIRST_REST: Duration = Duration::from_secs(1);

/// up to this.
const LONGEST_REST: Duration = Duration::from_secs(32);

/// Servers times kinds. Those of the file and of the system are few.
const MOST: usize = 1024;

/// What servers may treat differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum QuestionKind {
    V4,
    V6,
    /// HTTPS and SVCB.
    Service,
    Other,
}

impl QuestionKind {
    pub(super) fn of(query: &Query) -> Self {
        match query.qtype() {
            rr::A => QuestionKind::V4,
            rr::AAAA => QuestionKind::V6,
            rr::HTTPS | rr::SVCB => QuestionKind::Service,
            _ => QuestionKind::Other,
        }
    }

    /// So many misses in a row, and the server counts as down for such questions. A lost datagram
    /// or two must not send a domestic site's clients to a far address.
    fn misses_when_down(self) -> u32 {
        match self {
            QuestionKind::V4 | QuestionKind::V6 | QuestionKind::Other => 2,
            QuestionKind::Service => 1,
        }
    }
}

/// What is known of all of them.
#[derive(Debug, Default)]
pub(super) struct ServerStandings {
    standings: RefCell<HashMap<(SocketAddr, QuestionKind), Standing>>,
    /// Hears of silence, and of its end.
    troubles: Rc<ServerTroubles>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    pace: Option<AnswerPace>,
    /// Questions in a row that it let pass; those that were on their way together are one.
    misses: u32,
    last_miss: Option<Instant>,
    /// When the next question goes to it although it is missing.
    trial: Option<Instant>,
}

/// How long answers take, as TCP estimates it (RFC 6298, 2).
#[derive(Clone, Copy, Debug)]
struct AnswerPace {
    smoothed: Duration,
    deviation: Duration,
}

/// One server's turn at a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// Which of the servers.
    pub(super) number: usize,
    /// The next turn begins so long after this one, at the latest.
    pub(super) head_start: Duration,
    /// It lets the question pass if it takes longer.
    pub(super) overdue: Duration,
}

impl ServerStandings {
    /// Nothing is known yet.
    pub(super) fn new(troubles: Rc<ServerTroubles>) -> Self {
        ServerStandings { standings: RefCell::default(), troubles }
    }

    /// In which order these servers are asked, within `patience`. One that is not known yet has
    /// `unknown` before the next is asked beside it.
    pub(super) fn turns(
        &self,
        servers: &[SocketAddr],
        kind: QuestionKind,
        unknown: Duration,
        patience: Duration,
    ) -> Vec<Turn> {
        let (mut trials, mut present, mut missing) = (Vec::new(), Vec::new(), Vec::new());
        let count = u32::try_from(servers.len().max(1)).unwrap_or(u32::MAX);
        for (number, server) in servers.iter().enumerate() {
            let overdue = self.overdue(*server, kind).unwrap_or(unknown).min(patience / count);
            if !self.is_missing(*server, kind) {
                present.push(Turn { number, head_start: overdue, overdue });
            } else if self.begin_trial(*server, kind) {
                trials.push(Turn { number, head_start: Duration::ZERO, overdue });
            } else {
                missing.push(Turn { number, head_start: Duration::ZERO, overdue });
            }
        }
        [trials, present, missing].concat()
    }

    /// Whether it counts as down for such questions.
    pub(super) fn is_down(&self, server: SocketAddr, kind: QuestionKind) -> bool {
        self.get(server, kind).misses >= kind.misses_when_down()
    }

    /// Whether a question may go to it although it is missing; not again for a while then.
    pub(super) fn begin_trial(&self, server: SocketAddr, kind: QuestionKind) -> bool {
        let (standing, now) = (self.get(server, kind), Instant::now());
        let is_due = self.is_trial_due(server, kind);
        if is_due {
            let trial = Some(now + rest(standing.misses));
            self.set(server, kind, Standing { trial, ..standing });
        }
        is_due
    }

    /// Whether a question would be such a trial.
    pub(super) fn is_trial_due(&self, server: SocketAddr, kind: QuestionKind) -> bool {
        self.get(server, kind).trial.is_some_and(|trial| trial <= Instant::now())
    }

    /// When it would be late, by what was seen of it; it may not have had such a question yet.
    pub(super) fn overdue(&self, server: SocketAddr, kind: QuestionKind) -> Option<Duration> {
        use QuestionKind::{Other, Service, V4, V6};
        let pace = |kind| self.get(server, kind).pace;
        let known = pace(kind).or_else(|| [V4, V6, Other, Service].into_iter().find_map(pace));
        known.map(|pace| (pace.smoothed + 4 * pace.deviation).max(SOONEST))
    }

    /// After so long without an answer a datagram was probably lost. `None`: it has let such a
    /// question pass, or never had one, and its silence says nothing.
    pub(super) fn lost_after(&self, server: SocketAddr, kind: QuestionKind) -> Option<Duration> {
        let Standing { pace, misses, .. } = self.get(server, kind);
        pace.filter(|_| misses == 0)?;
        self.overdue(server, kind).map(|overdue| overdue.max(PROBABLY_LOST))
    }

    /// Asks it, and takes note of what comes of that.
    ///
    /// # Errors
    /// What `asking` says.
    pub(super) async fn watch(
        &self,
        server: SocketAddr,
        kind: QuestionKind,
        overdue: Duration,
        asking: impl Future<Output = io::Result<Vec<u8>>>,
    ) -> io::Result<Vec<u8>> {
        let began = Instant::now();
        let mut asking = pin!(asking);
        let answered = match timeout_at(began + overdue, &mut asking).await {
            Ok(answered) => answered,
            Err(_) => {
                self.missed(server, kind, began);
                asking.await
            }
        };
        match &answered {
            Ok(message) => {
                self.heard(server, kind, began.elapsed());
                self.said(server, message);
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                self.missed(server, kind, began);
            }
            Err(_) => {}
        }
        answered
    }

    fn is_missing(&self, server: SocketAddr, kind: QuestionKind) -> bool {
        self.get(server, kind).misses > 0
    }

    fn heard(&self, server: SocketAddr, kind: QuestionKind, took: Duration) {
        let pace = match self.get(server, kind).pace {
            None => AnswerPace { smoothed: took, deviation: took / 2 },
            Some(AnswerPace { smoothed, deviation }) => AnswerPace {
                smoothed: (7 * smoothed + took) / 8,
                deviation: (3 * deviation + smoothed.abs_diff(took)) / 4,
            },
        };
        self.set(server, kind, Standing { pace: Some(pace), ..Standing::default() });
    }

    /// It has said this, and be it that it does not want to answer.
    pub(super) fn said(&self, server: SocketAddr, message: &[u8]) {
        match Trouble::of_reply(message) {
            Some(trouble) => self.troubles.met(&NameServer::from(server), &trouble),
            None => self.troubles.over(server),
        }
    }

    /// It let a question pass that it has had since then.
    pub(super) fn missed(&self, server: SocketAddr, kind: QuestionKind, since: Instant) {
        let (standing, now) = (self.get(server, kind), Instant::now());
        if standing.last_miss.is_some_and(|last| last > since) {
            return;
        }
        let misses = standing.misses.saturating_add(1);
        let (last_miss, trial) = (Some(now), Some(now + rest(misses)));
        self.set(server, kind, Standing { misses, last_miss, trial, ..standing });
        if matches!(kind, QuestionKind::V4 | QuestionKind::V6) {
            self.troubles.met(&NameServer::from(server), &Trouble::silence());
        }
    }

    fn get(&self, server: SocketAddr, kind: QuestionKind) -> Standing {
        self.standings.borrow().get(&(server, kind)).copied().unwrap_or_default()
    }

    fn set(&self, server: SocketAddr, kind: QuestionKind, standing: Standing) {
        let mut standings = self.standings.borrow_mut();
        if standings.len() >= MOST && !standings.contains_key(&(server, kind)) {
            standings.clear();
        }
        standings.insert((server, kind), standing);
    }
}

fn rest(misses: u32) -> Duration {
    let doubled = FIRST_REST.saturating_mul(1 << misses.saturating_sub(1).min(16));
    doubled.min(LONGEST_REST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{advance, sleep};

    const UNKNOWN: Duration = Duration::from_millis(700);
    const PATIENCE: Duration = Duration::from_secs(4);

    fn servers() -> [SocketAddr; 2] {
        ["192.0.2.1:53", "192.0.2.2:53"].map(|text| text.parse().unwrap())
    }

    fn order(standings: &ServerStandings, kind: QuestionKind) -> Vec<(usize, u128)> {
        let turns = standings.turns(&servers(), kind, UNKNOWN, PATIENCE);
        turns.iter().map(|turn| (turn.number, turn.head_start.as_millis())).collect()
    }

    async fn answer_after(standings: &ServerStandings, server: SocketAddr, millis: u64) {
        let asking = async {
            sleep(Duration::from_millis(millis)).await;
            Ok(vec![])
        };
        let kind = QuestionKind::V4;
        let overdue = standings.overdue(server, kind).unwrap_or(UNKNOWN);
        standings.watch(server, kind, overdue, asking).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_server_goes_behind_and_is_tried_now_and_then() {
        let (standings, [first, second]) = (ServerStandings::default(), servers());
        let kind = QuestionKind::V4;
        assert_eq!(order(&standings, kind), [(0, 700), (1, 700)]);
        answer_after(&standings, second, 20).await;
        let began = Instant::now();
        standings.missed(first, kind, began);
        standings.missed(first, kind, began - FIRST_REST);
        assert!(!standings.is_down(first, kind), "questions that were asked together are one");
        assert_eq!(order(&standings, kind), [(1, 200), (0, 0)]);
        assert_eq!(order(&standings, QuestionKind::V6)[0].0, 0, "another kind is another matter");
        for seconds in [1, 2, 4, 8, 16, 32, 32] {
            advance(Duration::from_secs(seconds) - Duration::from_millis(1)).await;
            assert_eq!(order(&standings, kind), [(1, 200), (0, 0)]);
            advance(Duration::from_millis(1)).await;
            assert_eq!(order(&standings, kind), [(0, 0), (1, 200)], "after {seconds} s");
            assert_eq!(order(&standings, kind), [(1, 200), (0, 0)], "one question only");
            standings.missed(first, kind, Instant::now());
        }
        assert!(standings.is_down(first, kind));
        answer_after(&standings, first, 50).await;
        assert_eq!(order(&standings, kind), [(0, 200), (1, 200)], "it is back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_datagram_to_a_server_that_answers_was_probably_lost() {
        let (standings, [first, _]) = (ServerStandings::default(), servers());
        let kind = QuestionKind::V4;
        assert_eq!(standings.lost_after(first, kind), None, "nothing is known of it");
        answer_after(&standings, first, 20).await;
        assert_eq!(standings.lost_after(first, kind), Some(PROBABLY_LOST));
        assert_eq!(standings.lost_after(first, QuestionKind::V6), None, "it may drop these");
        standings.missed(first, kind, Instant::now());
        assert_eq!(standings.lost_after(first, kind), None);
        answer_after(&standings, first, 600).await;
        assert_eq!(standings.lost_after(first, kind), Some(Duration::from_micros(702_500)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_server_is_given_its_time() {
        let (standings, [first, _]) = (ServerStandings::default(), servers());
        let kind = QuestionKind::V4;
        answer_after(&standings, first, 2500).await;
        assert!(!standings.is_missing(first, kind), "a late answer is one");
        assert_eq!(order(&standings, kind)[0], (0, 2000), "half of the time is the other's");
        for _ in 0..30 {
            answer_after(&standings, first, 300).await;
        }
        assert!((300..1000).contains(&order(&standings, kind)[0].1));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_says_nothing_is_missed_when_it_is_overdue() {
        let (standings, [first, _]) = (ServerStandings::default(), servers());
        let kind = QuestionKind::Service;
        let asking = async {
            sleep(PATIENCE).await;
            Err(io::ErrorKind::TimedOut.into())
        };
        let watching = standings.watch(first, kind, UNKNOWN, asking);
        let looking = async {
            sleep(UNKNOWN + SOONEST).await;
            assert!(standings.is_down(first, kind));
        };
        let (watched, ()) = tokio::join!(watching, looking);
        assert!(watched.is_err());
        assert_eq!(standings.get(first, kind).misses, 1, "it was one question");
    }
}
