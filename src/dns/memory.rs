//! What the resolver remembers: answers, failures, verdicts, and what it found out about the
//! domestic side. Lives on one thread; nothing here asks or waits.

use super::cache::{Cache, Failures, NameVerdict, Verdicts};
use super::forged_addresses::ForgedAddresses;
use super::reply::{DomesticVerdict, Stored};
use super::settings::Settings;
use super::siblings::{Entered, Siblings};
use super::split::{Event, Patience};
use super::suspicion::Comparison;
use super::wire::Query;
use crate::stats::{Stats, TrustStats};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;

/// Bytes for the memory of verdicts: some ten thousand names.
const VERDICTS: usize = 1024 * 1024;

/// Where a judgement hears what happens. A server that failed without a message has no reply to
/// show; `split` never answers with it.
pub(super) type Events = mpsc::UnboundedSender<Event<Option<Stored>>>;

/// Everything that is remembered from one query to the next.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) cache: RefCell<Cache>,
    pub(super) failures: RefCell<Failures>,
    pub(super) patience: RefCell<Patience>,
    pub(super) bogus: RefCell<ForgedAddresses>,
    /// Such providers have been looked for.
    pub(super) looked_for_bogus: Cell<bool>,
    pub(super) suspicions: RefCell<Comparison>,
    verdicts: RefCell<Verdicts>,
    /// The judgements of this moment.
    siblings: Siblings<Events>,
    /// Questions of this moment, by key, of which the domestic side has said what rules out a stale
    /// answer.
    doubted: RefCell<HashSet<Box<[u8]>>>,
    stats: Arc<Stats>,
}

impl Memory {
    /// Remembers nothing yet.
    pub(super) fn new(settings: &Settings, stats: Arc<Stats>) -> Self {
        Memory {
            cache: RefCell::new(Cache::new(settings.cache.size)),
            failures: RefCell::default(),
            patience: RefCell::default(),
            bogus: RefCell::new(ForgedAddresses::new(&settings.answers.bogus)),
            looked_for_bogus: Cell::new(false),
            suspicions: RefCell::default(),
            verdicts: RefCell::new(Verdicts::new(VERDICTS)),
            siblings: Siblings::default(),
            doubted: RefCell::default(),
            stats,
        }
    }

    /// What is told of the domestic side's word.
    pub(super) fn trust(&self) -> &TrustStats {
        &self.stats.trust
    }

    /// Takes what other settings leave true out of a former memory: answers, of which `cache_size`
    /// bytes stay, verdicts and forged addresses.
    pub(super) fn inherit(&self, former: &Memory, cache_size: usize) {
        self.cache.swap(&former.cache);
        self.cache.borrow_mut().resize(cache_size);
        self.verdicts.swap(&former.verdicts);
        self.bogus.swap(&former.bogus);
        self.looked_for_bogus.swap(&former.looked_for_bogus);
        self.suspicions.swap(&former.suspicions);
    }

    /// Whose name it was judged to be.
    pub(super) fn verdict(&self, query: &Query, now: Instant) -> Option<NameVerdict> {
        self.verdicts.borrow_mut().of_name(query.name(), now)
    }

    /// Remembers whose name it is, and tells a judgement about the name's other addresses.
    pub(super) fn judged(&self, query: &Query, verdict: NameVerdict, now: Instant) {
        let mut verdicts = self.verdicts.borrow_mut();
        verdicts.note(query.name(), query.qtype(), verdict, now);
        if verdicts.get(query.name(), query.qtype(), now) == Some(NameVerdict::Domestic) {
            // A judgement that has just ended no longer listens.
            self.siblings.was_domestic(query, |events| drop(events.send(Event::SiblingWasCn)));
        }
    }

    /// A judgement begins; until the result is dropped it hears of its sibling.
    pub(super) fn judging<'a>(&'a self, query: &'a Query, events: Events) -> Entered<'a, Events> {
        self.siblings.enter(query, events)
    }

    /// The domestic side has spoken. Where its word is forged, or that there is no such name or
    /// address, the judgement will not end with a stale answer.
    pub(super) fn heard_domestic(&self, query: &Query, verdict: DomesticVerdict) {
        use DomesticVerdict::{Bogus, NoIp, Nx};
        let trust = self.trust();
        trust.weighed.add(1);
        match verdict {
            Bogus => trust.forged.add(1),
            DomesticVerdict::Foreign => trust.foreign.add(1),
            _ => {}
        }
        if matches!(verdict, Bogus | Nx | NoIp) {
            self.doubted.borrow_mut().insert(query.key().into());
        }
    }

    /// Whether a stale answer may be given before the question is answered.
    pub(super) fn allows_stale(&self, query: &Query) -> bool {
        !self.doubted.borrow().contains(query.key())
    }

    /// The question is answered.
    pub(super) fn is_answered(&self, query: &Query) {
        self.doubted.borrow_mut().remove(query.key());
    }

    /// Whether the name's other address type was judged domestic.
    pub(super) fn sibling_was_cn(&self, query: &Query, now: Instant) -> bool {
        self.verdicts.borrow_mut().sibling_was_cn(query.name(), query.qtype(), now)
    }
}
