//! Whether destinations answer through a proxy: what bytes that came back, and questions of snet's
//! own, say of it. Pure; times are handed in.
//!
//! That a proxy accepts connections proves little: a shadowsocks server meets a wrong password with
//! silence, and some HTTP proxies say 200 before they dial. So bytes count. A member is *asked*
//! (`super::question`) at the start, after a reload and on another network; as long as others have
//! answered and it has not, they are preferred. When connections through it stay silent, or another
//! one overtook it, it is in *doubt*: asked again, and passed over until it answers. Without an
//! answer it is *down*. Afterwards it has to stay up for a while before it is preferred again.
//!
//! Questions are few: they tell an observer which servers belong together.

use super::health::rest;
use std::time::Duration;
use tokio::time::Instant;

/// How preferable a member is; the first is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// Nothing speaks against it.
    Good,
    /// It is being asked for the first time.
    Unproven,
    /// It was down a moment ago.
    OnTrial,
    /// Connections through it were silent or slow, and it has not answered since.
    Doubted,
    /// It does not answer.
    Down,
}

/// Who depends on a member.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MemberUse {
    /// It has alternatives: so it matters whether it answers.
    pub(super) has_others: bool,
    /// Connections want its group now.
    pub(super) is_wanted: bool,
    /// Its group chooses by delay, and compares all members in one round.
    pub(super) is_compared: bool,
}

/// The state of one member.
#[derive(Debug, Default)]
pub(super) struct MemberStanding {
    /// A question is under way since then.
    asking: Option<Instant>,
    /// When the last question ended.
    asked: Option<Instant>,
    /// When something came back last, as far as it was noted.
    heard: Option<Instant>,
    /// From then on it is passed over, if it has not answered.
    doubted: Option<Instant>,
    /// Questions in a row that it answered, but far later than it used to, since the doubt began.
    late: u32,
    /// A question is wanted as soon as the spacing allows.
    is_due: bool,
    /// Doubts in a row that an answer dispelled, and the last of them.
    false_alarms: u32,
    last_alarm: Option<Instant>,
    down: Option<Outage>,
    trial_until: Option<Instant>,
    /// Outages within [`RECENT`] of each other, and the end of the last.
    outages: u32,
    last_outage: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Outage {
    since: Instant,
    /// Questions that failed in it.
    failures: u32,
}

/// Between two questions to a member that nobody wants, or that is well.
const SPARSE: Duration = Duration::from_secs(30 * 60);

/// Doubts are not looked into more often than this, which doubles with each false alarm.
const FIRST_SPACING: Duration = Duration::from_secs(2);
const LONGEST_SPACING: Duration = Duration::from_secs(120);

/// How long a member must stay up before it is preferred again; doubles with recent outages.
const FIRST_TRIAL: Duration = Duration::from_secs(10);
const LONGEST_TRIAL: Duration = Duration::from_secs(30);

/// Outages and alarms further apart than this have nothing to do with each other.
const RECENT: Duration = Duration::from_secs(10 * 60);

impl MemberStanding {
    /// How preferable it is now.
    pub(super) fn rank(&self, now: Instant) -> Rank {
        if self.down.is_some() {
            Rank::Down
        } else if self.doubted.is_some_and(|from| from <= now) {
            Rank::Doubted
        } else if self.trial_until.is_some_and(|until| until > now) {
            Rank::OnTrial
        } else if self.heard.is_none() && self.asking.is_some() {
            Rank::Unproven
        } else {
            Rank::Good
        }
    }

    /// Whether a question was ever under way: then an answer, and nothing else, ends an outage.
    pub(super) fn is_watched(&self) -> bool {
        self.asking.is_some() || self.asked.is_some()
    }

    /// Since when it is down.
    pub(super) fn down_since(&self) -> Option<Instant> {
        self.down.map(|outage| outage.since)
    }

    /// Whether a question has been answered, or bytes of a connection came back.
    pub(super) fn is_heard(&self) -> bool {
        self.heard.is_some()
    }

    /// Whether anything came back since then.
    pub(super) fn was_heard_since(&self, then: Instant) -> bool {
        self.heard.is_some_and(|heard| heard > then)
    }

    /// A question leaves.
    pub(super) fn ask(&mut self, now: Instant) {
        self.asking = Some(now);
        self.is_due = false;
    }

    /// The question that was under way has come to nothing that says anything of the member.
    pub(super) fn question_ended(&mut self, now: Instant) {
        self.asking = None;
        self.asked = Some(now);
    }

    /// Something came back that was sent after any doubt began. True if it was down.
    pub(super) fn answered(&mut self, now: Instant) -> bool {
        self.heard = Some(now);
        self.late = 0;
        if self.doubted.take().is_some() {
            self.false_alarms = self.false_alarms.saturating_add(1);
        }
        let Some(_) = self.down.take() else { return false };
        let is_recent = self.last_outage.is_some_and(|last| now - last < RECENT);
        self.outages = if is_recent { self.outages.saturating_add(1) } else { 1 };
        self.last_outage = Some(now);
        let doublings = (self.outages - 1).min(8);
        self.trial_until = Some(now + (FIRST_TRIAL * 2u32.pow(doublings)).min(LONGEST_TRIAL));
        self.false_alarms = 0;
        true
    }

    /// It has answered, and so late that a doubt stays. False if there is none: then it counts.
    pub(super) fn answered_late(&mut self, now: Instant) -> bool {
        if self.doubted.is_none() {
            return false;
        }
        self.heard = Some(now);
        self.late = self.late.saturating_add(1);
        true
    }

    /// Bytes of a connection came back. One that was asked for longer than the doubt lasts says
    /// nothing: so `sent` is when their cause left. True if the member was down.
    pub(super) fn heard(&mut self, sent: Instant, now: Instant) -> bool {
        let since = self.down.map(|outage| outage.since).or(self.doubted);
        if self.late > 0 || since.is_some_and(|since| sent < since) {
            return false;
        }
        self.answered(now)
    }

    /// A dial of a connection failed, and it was the member's fault.
    pub(super) fn failed(&mut self, now: Instant) {
        (self.doubted, self.late, self.trial_until) = (None, 0, None);
        self.down.get_or_insert(Outage { since: now, failures: 0 });
    }

    /// A question found that it does not answer. How many have found so in a row.
    pub(super) fn unanswered(&mut self, now: Instant) -> u32 {
        self.failed(now);
        self.down.as_mut().map_or(0, |outage| {
            outage.failures = outage.failures.saturating_add(1);
            outage.failures
        })
    }

    /// Connections through it are silent, or it was overtaken: it is asked at once, and passed over
    /// from `from` on unless it answers. What comes too soon after false alarms is not believed.
    pub(super) fn doubt(&mut self, from: Instant, now: Instant) {
        if self.down.is_some() || self.doubted.is_some() {
            return;
        }
        let is_recent = self.last_alarm.is_some_and(|last| now - last < RECENT);
        if !is_recent {
            self.false_alarms = 0;
        }
        let spacing = (FIRST_SPACING * 2u32.pow(self.false_alarms.min(8))).min(LONGEST_SPACING);
        if self.false_alarms > 0 && self.last_alarm.is_some_and(|last| now - last < spacing) {
            return;
        }
        self.last_alarm = Some(now);
        self.doubted = Some(from);
        self.is_due = self.asking.is_none();
    }

    /// It is to be asked soon, whatever is known of it.
    pub(super) fn want(&mut self) {
        self.is_due = true;
    }

    /// The same, if it is well as far as is known and was not asked since then. True if so.
    pub(super) fn want_unless_asked_since(&mut self, then: Instant) -> bool {
        let is_stale = self.asking.is_none() && self.asked.is_none_or(|asked| asked < then);
        let is_wanted = is_stale && self.down.is_none();
        self.is_due |= is_wanted;
        is_wanted
    }

    /// When it is to be asked next; `None` while it is being asked. `jitter` is between 0 and 1:
    /// questions to several servers must not beat in time.
    pub(super) fn next_question(
        &self,
        used: MemberUse,
        jitter: f64,
        now: Instant,
    ) -> Option<Instant> {
        if self.asking.is_some() {
            return None;
        }
        let Some(asked) = self.asked.filter(|_| !self.is_due) else { return Some(now) };
        let sparse = SPARSE + SPARSE.mul_f64(jitter / 3.0);
        if let Some(outage) = self.down {
            let rest = rest(outage.failures);
            let rest = if used.is_wanted { rest.mul_f64(1.0 - jitter / 5.0) } else { sparse };
            return Some(asked + rest);
        }
        if self.late > 0 && used.is_wanted {
            return Some(asked + rest(self.late));
        }
        if let Some(trial) = self.trial_until
            && asked < trial
            && used.is_wanted
        {
            return Some(trial);
        }
        if !used.has_others {
            return None;
        }
        let last = self.heard.filter(|_| !used.is_compared).map_or(asked, |heard| heard.max(asked));
        Some(last + sparse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const WANTED: MemberUse = MemberUse { has_others: true, is_wanted: true, is_compared: false };
    const IDLE: MemberUse = MemberUse { has_others: true, is_wanted: false, is_compared: false };

    /// One that was asked and has answered.
    fn proven(now: Instant) -> MemberStanding {
        let mut standing = MemberStanding::default();
        standing.ask(now);
        standing.question_ended(now);
        assert!(!standing.answered(now));
        standing
    }

    fn fails(standing: &mut MemberStanding, at: Instant) -> u32 {
        standing.ask(at);
        standing.question_ended(at);
        standing.unanswered(at)
    }

    #[test]
    fn one_that_is_being_asked_is_unproven_until_it_answers() {
        let (mut standing, now) = (MemberStanding::default(), Instant::now());
        assert_eq!(standing.rank(now), Rank::Good, "nobody asks");
        assert_eq!(standing.next_question(IDLE, 0.5, now), Some(now));
        standing.ask(now);
        assert_eq!(standing.rank(now), Rank::Unproven);
        assert_eq!(standing.next_question(WANTED, 0.5, now), None);
        standing.question_ended(now);
        standing.answered(now);
        assert_eq!(standing.rank(now), Rank::Good);
    }

    #[test]
    fn an_outage_ends_with_an_answer_and_a_trial() {
        let now = Instant::now();
        let mut standing = proven(now);
        for outage in 1..5u32 {
            let down = now + SECOND * 100 * outage;
            assert_eq!(fails(&mut standing, down), 1);
            assert_eq!(standing.rank(down + SECOND * 99), Rank::Down, "time alone heals nothing");
            let up = down + SECOND * 20;
            assert!(standing.answered(up));
            let trial = (FIRST_TRIAL * 2u32.pow(outage - 1)).min(LONGEST_TRIAL);
            assert_eq!(standing.rank(up + trial - SECOND), Rank::OnTrial);
            assert_eq!(standing.rank(up + trial), Rank::Good);
        }
        // Long afterwards it is a first one again.
        let later = now + RECENT * 2;
        fails(&mut standing, later);
        assert!(standing.answered(later));
        assert_eq!(standing.rank(later + FIRST_TRIAL), Rank::Good);
    }

    /// The worst case: it is back just after a question failed.
    #[test]
    fn it_is_back_within_a_minute() {
        let now = Instant::now();
        let mut standing = proven(now);
        let mut at = now;
        for _ in 0..20 {
            fails(&mut standing, at);
            at = standing.next_question(WANTED, 0.0, at).unwrap();
        }
        let asked = at;
        fails(&mut standing, asked);
        let next = standing.next_question(WANTED, 0.0, asked).unwrap();
        standing.answered(next);
        assert_eq!(standing.rank(asked + SECOND * 60), Rank::Good);
    }

    #[test]
    fn a_doubt_passes_it_over_until_it_answers() {
        let now = Instant::now();
        let mut standing = proven(now);
        standing.doubt(now + SECOND, now);
        assert_eq!(standing.rank(now), Rank::Good, "not yet");
        assert_eq!(standing.next_question(WANTED, 0.0, now), Some(now), "but it is asked");
        assert_eq!(standing.rank(now + SECOND), Rank::Doubted);
        standing.heard(now, now + SECOND);
        assert_eq!(standing.rank(now + SECOND), Rank::Doubted, "it was sent before that");
        standing.heard(now + SECOND, now + SECOND);
        assert_eq!(standing.rank(now + SECOND), Rank::Good);
    }

    #[test]
    fn bytes_that_were_asked_for_before_an_outage_do_not_end_it() {
        let now = Instant::now();
        let mut standing = proven(now);
        fails(&mut standing, now);
        assert!(!standing.heard(now - SECOND, now + SECOND));
        assert_eq!(standing.rank(now + SECOND), Rank::Down);
        assert!(standing.heard(now + SECOND, now + SECOND * 2));
    }

    #[test]
    fn false_alarms_are_believed_less_and_less() {
        let now = Instant::now();
        let mut standing = proven(now);
        let mut asked = 0;
        for second in 0..3600 {
            let at = now + SECOND * second;
            standing.doubt(at, at);
            if standing.rank(at) == Rank::Doubted {
                asked += 1;
                standing.ask(at);
                standing.question_ended(at);
                standing.answered(at);
            }
        }
        assert!((20..40).contains(&asked), "{asked} questions in an hour of alarms");
    }

    #[test]
    fn a_member_that_is_well_or_idle_is_asked_twice_an_hour_at_most() {
        let now = Instant::now();
        for (used, jitter) in [(IDLE, 0.0), (IDLE, 0.99), (WANTED, 0.3)] {
            let (mut standing, mut at, mut questions) = (proven(now), now, 0);
            while at < now + SECOND * 10 * 3600 {
                at = standing.next_question(used, jitter, at).unwrap();
                standing.ask(at);
                standing.question_ended(at);
                standing.answered(at);
                questions += 1;
            }
            assert!((10..=21).contains(&questions), "{questions} in ten hours");
        }
        // Nor is a dead one that nobody wants.
        let mut standing = proven(now);
        fails(&mut standing, now);
        assert!(standing.next_question(IDLE, 0.0, now) >= Some(now + SPARSE));
        // One that carries connections is not asked at all.
        let mut standing = proven(now);
        standing.heard(now + SPARSE, now + SPARSE);
        assert!(standing.next_question(WANTED, 0.0, now + SPARSE) >= Some(now + SPARSE * 2));
    }
}
