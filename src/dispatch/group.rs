//! A group: the members that may carry a connection, and in which order they are tried.
//!
//! The order is decided by what is known ([`Rank`]), and among equals by the policy. It changes
//! only when something was learned, so that a group does not flap: delays are measured by questions
//! that all members answer alike, and a member is left for a faster one only for a clear gain.
//!
//! A member that the operator has pinned comes first while nothing speaks against it. Where
//! something does, the others carry as they would without it: a pin is a wish, never an outage.

use super::Upstream;
use super::standing::Rank;
use crate::sync::lock;
use crate::target::Target;
use crate::view::{ALL_PROXIES, GroupView};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};

/// `[[group]] policy`: which of its members a group prefers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupPolicy {
    /// The first, in the operator's order, that answers.
    #[default]
    First,
    /// The one with the least delay.
    Fastest,
    /// Each client and destination has one of its own.
    Spread,
}

impl GroupPolicy {
    /// As in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            GroupPolicy::First => "first",
            GroupPolicy::Fastest => "fastest",
            GroupPolicy::Spread => "spread",
        }
    }
}

/// What the operator says of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupSettings {
    /// For logs and rules.
    pub name: String,
    /// Which member is preferred.
    pub policy: GroupPolicy,
    /// What lives on a member that is surely dead goes on until its own program gives up.
    pub keeps_dead: bool,
}

/// Members that may stand in for each other.
#[derive(Debug)]
pub struct Group {
    settings: GroupSettings,
    /// Its name, to be handed out; `None`: the operator made no groups.
    label: Option<Arc<str>>,
    members: Vec<Arc<Upstream>>,
    state: Mutex<GroupState>,
}

#[derive(Debug, Default)]
struct GroupState {
    /// The member that "fastest" has chosen.
    chosen: Option<usize>,
    /// When a connection wanted the group last.
    wanted: Option<Instant>,
    /// The name of the member that the operator prefers. It may be gone, and come back with the
    /// next body of its subscription.
    pinned: Option<Arc<str>>,
    /// That the pinned member is passed over was said.
    is_pin_passed_over: bool,
}

/// Who wants what, as far as "spread" has to tell it apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Errand<'a> {
    /// Whose connection it is; `None`: snet's own.
    pub(super) client: Option<IpAddr>,
    /// Where to.
    pub(super) target: &'a Target,
}

/// For so long after a connection a group counts as in use.
const WANTED: Duration = Duration::from_secs(2 * 60);

/// A faster member must be so much faster.
const LEAST_GAIN: Duration = Duration::from_millis(30);
const LEAST_PART: u32 = 5;

impl Group {
    /// A group of these, in the operator's order.
    pub fn new(settings: GroupSettings, members: Vec<Arc<Upstream>>) -> Self {
        let label = (!settings.name.is_empty()).then(|| settings.name.as_str().into());
        Group { settings, label, members, state: Mutex::default() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Its name, where the operator made groups.
    pub(super) fn label(&self) -> Option<Arc<str>> {
        self.label.clone()
    }

    /// Its members, in the operator's order.
    pub fn members(&self) -> &[Arc<Upstream>] {
        &self.members
    }

    /// Whether what lives on a dead member is reset: there is another one for it.
    pub fn resets(&self) -> bool {
        !self.settings.keeps_dead && self.members.len() > 1
    }

    /// Whether it chooses by delay.
    pub(super) fn compares(&self) -> bool {
        self.settings.policy == GroupPolicy::Fastest && self.members.len() > 1
    }

    /// Whether connections want it now.
    pub(super) fn is_wanted(&self, now: Instant) -> bool {
        lock(&self.state).wanted.is_some_and(|wanted| now - wanted < WANTED)
    }

    /// Its name, for people and dashboards.
    pub(super) fn shown_name(&self) -> &str {
        if self.settings.name.is_empty() { ALL_PROXIES } else { &self.settings.name }
    }

    /// Prefers the member of this name from now on; `None`: as the policy says.
    pub(super) fn pin(&self, member: Option<Arc<str>>) {
        let mut state = lock(&self.state);
        (state.pinned, state.is_pin_passed_over) = (member, false);
    }

    /// The name of the member that is pinned.
    pub(super) fn pinned(&self) -> Option<Arc<str>> {
        lock(&self.state).pinned.clone()
    }

    /// The place of the pinned member, if it is one now.
    fn place_of_pinned(&self, state: &GroupState) -> Option<usize> {
        let pinned = state.pinned.as_ref()?;
        self.members.iter().position(|it| it.label() == pinned)
    }

    /// What it is, and which member it prefers now.
    pub fn view(&self, now: Instant) -> GroupView {
        let ranks: Vec<_> = self.members.iter().map(|it| it.rank(now)).collect();
        let state = lock(&self.state);
        let pinned = self.place_of_pinned(&state).filter(|place| is_usable(ranks[*place]));
        let best = pinned.or_else(|| match self.settings.policy {
            GroupPolicy::First => first(ranks.into_iter()).first().copied(),
            GroupPolicy::Spread => None,
            GroupPolicy::Fastest => {
                let delays = self.members.iter().map(|it| it.knowledge().delay);
                fastest(state.chosen, ranks.into_iter().zip(delays)).first().copied()
            }
        });
        GroupView {
            name: self.shown_name().into(),
            policy: self.settings.policy.word().into(),
            members: self.members.iter().map(|it| it.name().to_owned()).collect(),
            now: best.map(|place| self.members[place].name().to_owned()),
            pinned: state.pinned.as_deref().map(str::to_owned),
        }
    }

    /// The members that carry datagrams, the best one first, as far as TCP tells.
    pub(super) fn carrying(&self, errand: Errand<'_>) -> Vec<Arc<Upstream>> {
        let members = self.members.iter().filter(|it| it.proxy.carries_datagrams());
        let mut carrying: Vec<_> = members.cloned().collect();
        match self.settings.policy {
            GroupPolicy::First => {}
            GroupPolicy::Fastest => {
                let delay = |it: &Arc<Upstream>| it.knowledge().delay.unwrap_or(Duration::MAX);
                carrying.sort_by_key(delay);
            }
            GroupPolicy::Spread => carrying.sort_by_key(|it| score(errand, it.name())),
        }
        let pinned = self.pinned();
        if let Some(place) = carrying.iter().position(|it| Some(it.label()) == pinned.as_ref()) {
            carrying[..=place].rotate_right(1);
        }
        carrying
    }

    /// The members for a connection, the best one first. True if the group had not been wanted for
    /// a while.
    pub(super) fn candidates(
        &self,
        errand: Errand<'_>,
        now: Instant,
    ) -> (Vec<Arc<Upstream>>, bool) {
        let mut state = lock(&self.state);
        let was_idle = state.wanted.replace(now).is_none_or(|wanted| now - wanted >= WANTED);
        if let [only] = &self.members[..] {
            return (vec![Arc::clone(only)], was_idle);
        }
        let pinned = self.place_of_pinned(&state);
        let ranks = self.members.iter().map(|it| it.rank(now));
        let mut order = match self.settings.policy {
            GroupPolicy::First => first(ranks),
            GroupPolicy::Spread => {
                spread(ranks.zip(self.members.iter().map(|it| score(errand, it.name()))))
            }
            GroupPolicy::Fastest => {
                let delays = self.members.iter().map(|it| it.knowledge().delay);
                let order = fastest(state.chosen, ranks.zip(delays));
                state.chosen = order.first().copied();
                order
            }
        };
        if state.pinned.is_some() {
            let usable = pinned.filter(|place| is_usable(self.members[*place].rank(now)));
            if let Some(place) = usable {
                order.retain(|it| *it != place);
                order.insert(0, place);
            }
            self.tell_of_pin(&mut state, usable.is_none());
        }
        drop(state);
        (order.into_iter().map(|place| Arc::clone(&self.members[place])).collect(), was_idle)
    }
}

impl Group {
    /// Says once that another member carries than the pinned one, and once that it does again.
    fn tell_of_pin(&self, state: &mut GroupState, is_passed_over: bool) {
        if state.is_pin_passed_over == is_passed_over {
            return;
        }
        state.is_pin_passed_over = is_passed_over;
        let (group, pinned) = (self.shown_name(), state.pinned.as_deref().unwrap_or_default());
        match is_passed_over {
            true => warn!(
                "group {group}: the pinned {pinned} does not work now, and others carry until it \
                 does (`snet use {group}` ends the pin)"
            ),
            false => info!("group {group}: the pinned {pinned} carries again"),
        }
    }
}

/// Whether a pinned member is used: others are not better only because they have answered already.
fn is_usable(rank: Rank) -> bool {
    rank <= Rank::Unproven
}

/// How well a member suits an errand: the same client finds the same site through the same member,
/// so that logins stay on one address. Names of one owner belong together (the last two labels),
/// as do ports.
fn score(errand: Errand<'_>, member: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    errand.client.hash(&mut hasher);
    match errand.target {
        Target::Addr(address) => address.ip().hash(&mut hasher),
        Target::Name(name, _) | Target::Named { name, .. } => site(name).hash(&mut hasher),
    }
    member.hash(&mut hasher);
    hasher.finish()
}

fn site(name: &str) -> &str {
    let dots = name.rmatch_indices('.');
    dots.map(|(at, _)| at + 1).nth(1).map_or(name, |begin| &name[begin..])
}

/// By rank, then as they stand.
fn first(ranks: impl Iterator<Item = Rank>) -> Vec<usize> {
    sorted(ranks)
}

/// By rank, then by score: a member that fails gives its destinations to all others, and gets them
/// back (rendezvous hashing).
fn spread(members: impl Iterator<Item = (Rank, u64)>) -> Vec<usize> {
    sorted(members)
}

/// By rank, then by delay; the chosen one stays first unless another one is clearly faster.
fn fastest(
    chosen: Option<usize>,
    members: impl Iterator<Item = (Rank, Option<Duration>)>,
) -> Vec<usize> {
    let members: Vec<_> = members.collect();
    let key = |(rank, delay): (Rank, Option<Duration>)| (rank, delay.is_none(), delay);
    let mut order = sorted(members.iter().map(|member| key(*member)));
    if let (Some(chosen), Some(best)) = (chosen, order.first().copied())
        && let Some((rank, delay)) = members.get(chosen)
        && *rank <= members[best].0
        && !is_clear_gain(*delay, members[best].1)
    {
        order.retain(|place| *place != chosen);
        order.insert(0, chosen);
    }
    order
}

/// Whether it is worth a change. A member that was not measured yet is no reason for one.
fn is_clear_gain(present: Option<Duration>, other: Option<Duration>) -> bool {
    match (present, other) {
        (Some(present), Some(other)) => {
            present.saturating_sub(other) >= LEAST_GAIN.max(present / LEAST_PART)
        }
        (None, Some(_)) => true,
        (_, None) => false,
    }
}

fn sorted<T: Ord>(keys: impl Iterator<Item = T>) -> Vec<usize> {
    let mut keyed: Vec<_> = keys.zip(0..).collect();
    keyed.sort();
    keyed.into_iter().map(|(_, place)| place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    fn milliseconds(count: u64) -> Option<Duration> {
        Some(Duration::from_millis(count))
    }

    #[test]
    fn rank_decides_before_the_policy() {
        use Rank::{Doubted, Down, Good, OnTrial, Unproven};
        assert_eq!(first([Down, Good, Good].into_iter()), [1, 2, 0]);
        assert_eq!(first([Unproven, Good].into_iter()), [1, 0]);
        assert_eq!(first([Unproven, Unproven].into_iter()), [0, 1]);
        assert_eq!(first([OnTrial, Good, Down].into_iter()), [1, 0, 2]);
        assert_eq!(spread([(Doubted, 1), (Good, 3), (Good, 2)].into_iter()), [2, 1, 0]);
        let delays = [(Doubted, milliseconds(1)), (Good, milliseconds(90)), (Good, None)];
        assert_eq!(fastest(None, delays.into_iter()), [1, 2, 0]);
    }

    #[test]
    fn the_fastest_is_left_for_a_clear_gain_only() {
        let choose = |chosen, delays: [u64; 2]| {
            let members = delays.map(|delay| (Rank::Good, milliseconds(delay)));
            fastest(Some(chosen), members.into_iter())[0]
        };
        assert_eq!(choose(0, [100, 80]), 0, "less than 30 ms");
        assert_eq!(choose(0, [400, 340]), 0, "less than a fifth");
        assert_eq!(choose(0, [100, 65]), 1);
        assert_eq!(choose(1, [100, 65]), 1);
        let dead = [(Rank::Down, milliseconds(10)), (Rank::Good, milliseconds(900))];
        assert_eq!(fastest(Some(0), dead.into_iter())[0], 1);
        let unknown = [(Rank::Good, None), (Rank::Good, milliseconds(900))];
        assert_eq!(fastest(Some(0), unknown.into_iter())[0], 1);
    }

    /// Medians of three, as questions give them, 20 ms up or down, once in two minutes for an hour:
    /// whether they are equally fast or 10 ms apart.
    #[test]
    fn jitter_makes_nobody_flap() {
        let mut random = StdRng::seed_from_u64(1);
        for base in [[100, 100, 100], [100, 110, 105], [40, 45, 50]] {
            let (mut chosen, mut changes) = (None, 0);
            for _ in 0..30 {
                let delays = base.map(|base| {
                    let mut samples: [u64; 3] =
                        std::array::from_fn(|_| base - 20 + random.random_range(0..=40));
                    samples.sort_unstable();
                    (Rank::Good, milliseconds(samples[1]))
                });
                let now = fastest(chosen, delays.into_iter())[0];
                changes += u32::from(chosen.is_some_and(|chosen| chosen != now));
                chosen = Some(now);
            }
            assert!(changes <= 1, "{changes} changes with {base:?}");
        }
    }

    #[test]
    fn a_site_keeps_its_member() {
        let errand = |name: &str| Target::Name(name.into(), 443);
        let by = |client: u8, name: &str| {
            let (target, client) = (errand(name), Some(IpAddr::from([192, 168, 1, client])));
            let errand = Errand { client, target: &target };
            let scores = ["a", "b", "c", "d"].map(|member| (Rank::Good, score(errand, member)));
            spread(scores.into_iter())[0]
        };
        assert_eq!(by(1, "www.example.com"), by(1, "login.example.com"));
        let chosen: Vec<_> = (0..100).map(|client| by(client, "example.com")).collect();
        let counts = [0, 1, 2, 3].map(|member| chosen.iter().filter(|it| **it == member).count());
        assert!(counts.iter().all(|count| *count > 5), "{counts:?}");
        assert_eq!(site("a.b.example.com"), "example.com");
        assert_eq!(site("example.com"), "example.com");
        assert_eq!(site("localhost"), "localhost");
    }
}
