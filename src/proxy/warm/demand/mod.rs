//! How many connections to a server are worth to have ready. Pure: no socket, no clock.
//!
//! As many as recent traffic would have used: of the dials of the last seconds, the largest number
//! that came within one [`BURST`], for that is what a page that is opened asks for before the first
//! of its dials has been replaced. And as many as the last page asked for ([`PastBurst`]), as soon
//! as a dial says that somebody is there again. None when traffic rests, and none where they are of
//! no use:
//!
//! - to a server that is near: a dial costs less than anybody notices;
//! - to a server that no dial has reached since traffic began;
//! - for dials that come one by one with rests between them: each would find the spare one of the
//!   last closed, and so dial twice;
//! - for a while that grows, to a server that does not take them, or ends them early.
//!
//! **How old one may become.** Servers end connections on which nothing was asked: dante after 30
//! seconds, haproxy after its client time-out (50 in most configurations), nghttpx after 60, others
//! after minutes or never. But operators lower it against slow requests: 10 and 5 seconds are usual
//! with haproxy (`timeout http-request`), and 4 was long the default of v2ray. So one is given up
//! after [`LIFE`], and after [`SHORT_LIFE`] once the server has ended one that was younger. That
//! may have been a restart: so the life grows back, a second at a time, while those that become too
//! old are whole.

mod past_burst;

use past_burst::PastBurst;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// At most so many for one server: a page asks for thirty.
pub(super) const MOST: usize = 32;

/// How old one becomes at most, from the begin of its dial.
pub(super) const LIFE: Duration = Duration::from_secs(8);

/// The same for a server that is impatient.
pub(super) const SHORT_LIFE: Duration = Duration::from_secs(3);

/// By how much, and how long after the last end or step, the life grows again; twice as long after
/// each relapse, and at most.
const STEP: Duration = Duration::from_secs(1);
const STEP_AFTER: Duration = Duration::from_secs(60);
const LONGEST_STEP_AFTER: Duration = Duration::from_secs(3600);

/// A dial that takes so much longer than twice the quickest says that something has changed. (A
/// first packet that is lost is sent again after a second.)
const REMARKABLE: Duration = Duration::from_millis(200);

/// Dials so close together are one demand: about what a dial over a long way takes, with a packet
/// that is lost.
const BURST: Duration = Duration::from_secs(1);

/// So many dials in a row that came after a rest say that the next one will, too.
const ALONE: u32 = 3;

/// How long nothing is dialled ahead after a failure: at first, and at most.
const PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What is known of the demand for connections to one server.
#[derive(Debug)]
pub(super) struct Demand {
    /// A dial that takes less is no loss.
    worth: Duration,
    life: Duration,
    /// Not before then does the life grow, and how long it rests between steps.
    grows: Option<Instant>,
    step_after: Duration,
    /// When the last dials began, oldest first; at most [`MOST`], none older than the life.
    dials: VecDeque<Instant>,
    /// What a page asked for.
    past: PastBurst,
    /// How many of the last dials came after a rest.
    alone: u32,
    /// The quickest dial since the last rest or failure. `None`: none has succeeded.
    quickest: Option<Duration>,
    /// Failures in a row, and until when they keep us from trying.
    failures: u32,
    paused: Option<Instant>,
}

impl Demand {
    /// Of a server of which nothing is known, where dials that take less than `worth` are no loss.
    pub(super) fn new(worth: Duration) -> Self {
        Demand {
            worth,
            life: LIFE,
            grows: None,
            step_after: STEP_AFTER,
            dials: VecDeque::new(),
            past: PastBurst::default(),
            alone: 0,
            quickest: None,
            failures: 0,
            paused: None,
        }
    }

    /// How old one may become.
    pub(super) fn life(&self) -> Duration {
        self.life
    }

    /// A connection is needed.
    pub(super) fn dialled(&mut self, now: Instant) {
        self.forget(now);
        let was_at_rest = self.dials.is_empty();
        self.alone = if was_at_rest { self.alone.saturating_add(1) } else { 0 };
        if self.dials.len() == MOST {
            self.dials.pop_front();
        }
        self.dials.push_back(now);
        let begin = self.dials.partition_point(|dial| now.duration_since(*dial) > BURST);
        self.past.came(self.dials.len() - begin, was_at_rest, now);
    }

    /// One was dialled when it was needed, in so much time.
    pub(super) fn took(&mut self, time: Duration) {
        self.quickest = Some(self.quickest.map_or(time, |quickest| quickest.min(time)));
    }

    /// It may be that the server cannot be reached any more.
    pub(super) fn lost(&mut self) {
        self.quickest = None;
    }

    /// One was of use.
    pub(super) fn was_of_use(&mut self) {
        self.failures = 0;
        self.paused = None;
    }

    /// One could not be dialled, or was of no use when it was needed.
    pub(super) fn failed(&mut self, now: Instant) {
        // Those that were dialled together fail together.
        if self.paused.is_some_and(|until| now < until) {
            return;
        }
        let pause = PAUSE.saturating_mul(1 << self.failures.min(16)).min(LONGEST_PAUSE);
        self.paused = Some(now + pause);
        self.failures = self.failures.saturating_add(1);
    }

    /// The server has ended one of this age, or spoken on it.
    pub(super) fn was_ended(&mut self, now: Instant) {
        if self.life == SHORT_LIFE {
            self.failed(now);
        } else if self.grows.is_some() {
            self.step_after = (self.step_after * 2).min(LONGEST_STEP_AFTER);
        }
        self.life = SHORT_LIFE;
        self.grows = Some(now + self.step_after);
    }

    /// One became too old, and was whole.
    pub(super) fn outlived(&mut self, now: Instant) {
        if self.life < LIFE && self.grows.is_some_and(|grows| grows <= now) {
            self.life = (self.life + STEP).min(LIFE);
            self.grows = Some(now + self.step_after);
        }
    }

    /// A dial ahead that takes longer says something of the server, or of the way to it. `None`: it
    /// is not known how long one takes.
    pub(super) fn remarkable(&self) -> Option<Duration> {
        self.quickest.map(|quickest| quickest * 2 + REMARKABLE)
    }

    /// How many are worth to be ready.
    pub(super) fn wanted(&self, now: Instant) -> usize {
        let is_paused = self.paused.is_some_and(|until| now < until);
        let is_near = self.quickest.is_none_or(|quickest| quickest < self.worth);
        if is_paused || is_near || self.alone >= ALONE {
            return 0;
        }
        let mut first = self.dials.partition_point(|dial| now.duration_since(*dial) > self.life);
        let mut largest = 0;
        for (at, dial) in self.dials.iter().enumerate().skip(first) {
            while dial.duration_since(self.dials[first]) > BURST {
                first += 1;
            }
            largest = largest.max(at + 1 - first);
        }
        // When the last dial is too old for anything, so is what it promised.
        if largest == 0 { 0 } else { largest.max(self.past.expected(now)) }
    }

    /// What was before a rest says nothing of what comes after it.
    fn forget(&mut self, now: Instant) {
        while self.dials.front().is_some_and(|dial| now.duration_since(*dial) > self.life) {
            self.dials.pop_front();
        }
        if self.dials.is_empty() {
            self.quickest = None;
        }
    }
}

#[cfg(test)]
mod tests;
