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
//! after [`LIFE`], and after [`SHORT_LIFE`] once the server has ended one that was younger.

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
        }
        self.life = SHORT_LIFE;
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// One of a server that is far away, and answers.
    fn far(now: Instant) -> Demand {
        let mut demand = Demand::new(Duration::from_millis(5));
        demand.dialled(now);
        demand.took(Duration::from_millis(150));
        demand
    }

    #[test]
    fn nothing_before_a_dial_has_succeeded() {
        let now = Instant::now();
        let mut demand = Demand::new(Duration::ZERO);
        assert_eq!(demand.wanted(now), 0);
        demand.dialled(now);
        assert_eq!(demand.wanted(now), 0);
        demand.took(Duration::from_millis(150));
        assert_eq!(demand.wanted(now), 1);
        demand.lost();
        assert_eq!(demand.wanted(now), 0);
    }

    #[test]
    fn a_near_server_needs_none() {
        let now = Instant::now();
        let mut demand = far(now);
        demand.took(Duration::from_millis(4));
        demand.took(Duration::from_millis(150));
        assert_eq!(demand.wanted(now), 0);
        // After a rest it is measured anew.
        let later = now + LIFE + MILLISECOND;
        demand.dialled(later);
        demand.took(Duration::from_millis(5));
        assert_eq!(demand.wanted(later), 1);
    }

    /// One second apart, forty at once, and again one by one.
    #[test]
    fn as_many_as_the_largest_burst_of_the_last_seconds() {
        let begin = Instant::now();
        let mut demand = far(begin);
        let mut now = begin;
        for _ in 0..5 {
            now += BURST + MILLISECOND;
            demand.dialled(now);
            assert_eq!(demand.wanted(now), 1);
        }
        for _ in 0..40 {
            now += 10 * MILLISECOND;
            demand.dialled(now);
        }
        assert_eq!(demand.wanted(now), MOST);
        let burst = now;
        for _ in 0..3 {
            now += BURST + MILLISECOND;
            demand.dialled(now);
        }
        // Of those that are remembered.
        assert_eq!(demand.wanted(now), MOST - 3);
        assert_eq!(demand.wanted(burst + LIFE + MILLISECOND), 1);
    }

    /// A page every half minute, each behind a click; then only clicks.
    #[test]
    fn a_click_promises_what_the_last_page_asked_for() {
        let mut now = Instant::now();
        let mut demand = far(now);
        let page = |demand: &mut Demand, mut now: Instant| {
            for _ in 0..30 {
                now += 10 * MILLISECOND;
                demand.dialled(now);
            }
            now
        };
        let mut after_a_click = Vec::new();
        for number in 0..8 {
            now += Duration::from_secs(30);
            assert_eq!(demand.wanted(now), 0, "nothing is kept at rest");
            demand.dialled(now);
            demand.took(150 * MILLISECOND);
            after_a_click.push(demand.wanted(now));
            now += BURST + MILLISECOND;
            if number < 4 {
                now = page(&mut demand, now);
                assert_eq!(demand.wanted(now), 30);
            }
        }
        // The click after the last page is promised one; it is believed half, and then no more.
        assert_eq!(after_a_click, [1, 30, 30, 30, 30, 15, 0, 0]);
    }

    /// Others dial all the time, one a second or so: the page is known by how it begins.
    #[test]
    fn a_page_amid_other_traffic_is_known_by_its_begin() {
        let mut now = Instant::now();
        let mut demand = far(now);
        for begin in [false, true] {
            for number in 0..30 {
                now += 10 * MILLISECOND;
                demand.dialled(now);
                demand.took(150 * MILLISECOND);
                // With the one before them.
                let known = if begin { 31 } else { number + 2 };
                assert_eq!(demand.wanted(now), known, "{number}");
            }
            for _ in 0..20 {
                now += Duration::from_millis(1500);
                demand.dialled(now);
            }
            assert_eq!(demand.wanted(now), 1, "the others need none of them");
        }
    }

    #[test]
    fn dials_with_rests_between_need_none() {
        let mut now = Instant::now();
        let mut demand = far(now);
        assert_eq!(demand.wanted(now), 1);
        for expected in [1, 0, 0, 0] {
            now += LIFE + MILLISECOND;
            demand.dialled(now);
            demand.took(Duration::from_millis(150));
            assert_eq!(demand.wanted(now), expected);
        }
        now += LIFE - MILLISECOND;
        demand.dialled(now);
        assert_eq!(demand.wanted(now), 1);
    }

    #[test]
    fn failures_keep_it_quiet_for_longer_and_longer() {
        let mut now = Instant::now();
        let mut demand = far(now);
        let mut pauses = Vec::new();
        for _ in 0..10 {
            demand.failed(now);
            // One of those that were dialled beside it.
            demand.failed(now + MILLISECOND);
            let failed = now;
            loop {
                now += Duration::from_secs(1);
                demand.dialled(now);
                if demand.wanted(now) > 0 {
                    break;
                }
            }
            pauses.push((now - failed).as_secs());
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        demand.was_of_use();
        demand.failed(now);
        demand.dialled(now + PAUSE);
        assert!(demand.wanted(now + PAUSE) > 0);
    }

    #[test]
    fn an_impatient_server_gets_younger_ones_and_then_none() {
        let now = Instant::now();
        let mut demand = far(now);
        demand.was_ended(now);
        assert_eq!((demand.life(), demand.wanted(now)), (SHORT_LIFE, 1));
        demand.was_ended(now);
        assert_eq!((demand.life(), demand.wanted(now)), (SHORT_LIFE, 0));
    }

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Dialled,
        Took(Duration),
        Failed,
        Ended,
        Lost,
        WasOfUse,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            8 => Just(Event::Dialled),
            4 => (0..200u64).prop_map(|time| Event::Took(Duration::from_millis(time))),
            1 => Just(Event::Failed),
            1 => Just(Event::Ended),
            1 => Just(Event::Lost),
            2 => Just(Event::WasOfUse),
        ]
    }

    proptest! {
        /// Whatever happens: never more than are bearable, never more than came within a second of
        /// the last minutes, or as there were dials within the last seconds, and none after a rest.
        #[test]
        fn it_is_bounded_and_ends(
            events in prop::collection::vec((event(), 0..3_000u64), 0..200),
        ) {
            let mut demand = Demand::new(Duration::from_millis(5));
            let mut now = Instant::now();
            let mut dials = Vec::new();
            for (event, pause) in events {
                now += Duration::from_millis(pause * pause / 1000);
                match event {
                    Event::Dialled => {
                        demand.dialled(now);
                        dials.push(now);
                    }
                    Event::Took(time) => demand.took(time),
                    Event::Failed => demand.failed(now),
                    Event::Ended => demand.was_ended(now),
                    Event::Lost => demand.lost(),
                    Event::WasOfUse => demand.was_of_use(),
                }
                let recent = dials.iter().filter(|dial| now - **dial <= LIFE).count();
                let together = |end: &Instant| {
                    dials.iter().filter(|it| *it <= end && *end - **it <= BURST).count()
                };
                let page = dials.iter().map(together).max().unwrap_or(0);
                prop_assert!(demand.wanted(now) <= recent.max(page).min(MOST));
                let rested = dials.last().map_or(now, |last| *last + LIFE + MILLISECOND);
                prop_assert_eq!(demand.wanted(rested.max(now)), 0);
            }
        }
    }
}
