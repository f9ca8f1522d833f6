//! What the resolver remembers: answers ([`Cache`]) and verdicts about names ([`Verdicts`]).
//!
//! Both are bounded and have no clock of their own. Answers are bounded in bytes, everything that
//! an entry takes included; an answer past its TTL is kept for a day more (RFC 8767), to be served
//! when no server answers, and is the first to go when room is needed. Failures are kept for a
//! moment ([`Failures`]), so that a program that repeats itself does not become a flood upstream.

mod failures;
mod file;
mod second_chance;
mod verdicts;

pub use failures::{Failure, Failures};
pub use file::{FORMAT, Now};
pub use verdicts::{NameVerdict, Verdicts};

use super::reply::{Ede, Stored, Ttls};
use super::wire::Query;
use second_chance::SecondChance;
use std::time::{Duration, Instant};

/// How long an answer past its TTL may still be served (RFC 8767, 4: one to three days).
const STALE_FOR: Duration = Duration::from_secs(24 * 3600);

/// The TTL of an answer past its own (RFC 8767, 4).
const STALE_TTL: u32 = 30;

/// An answer that was given so often is asked for again before it ends.
const POPULAR: u32 = 3;

/// "Before it ends": when this part of its life is left. What lives shorter than a few seconds is
/// not worth it.
const LAST_PART: u32 = 10;
const LONG_ENOUGH: Duration = Duration::from_secs(10);

/// Answers by question, see [`Query::key`].
#[derive(Debug)]
pub struct Cache {
    entries: SecondChance<CachedAnswer>,
}

#[derive(Debug)]
struct CachedAnswer {
    stored: Stored,
    birth: Instant,
    expiry: Instant,
    /// How often it was given, while that matters.
    hits: u32,
}

/// An answer found in the cache.
#[derive(Clone, Copy, Debug)]
pub struct Hit<'a> {
    stored: &'a Stored,
    ttls: Ttls,
    /// How long it stays fresh; zero for a stale one.
    pub remaining: Duration,
    /// It is popular and will soon end: ask again now, so that no client has to wait then. True
    /// once.
    pub refresh: bool,
}

impl Cache {
    /// A cache of at most `limit` bytes; 0 keeps nothing.
    pub fn new(limit: usize) -> Self {
        Cache { entries: SecondChance::new(limit) }
    }

    /// Another limit in bytes; what is too much goes.
    pub fn resize(&mut self, limit: usize) {
        self.entries.resize(limit);
    }

    /// All answers are older by so much: time has passed that no [`Instant`] knows of.
    pub fn age(&mut self, by: Duration) {
        self.entries.for_each_mut(|entry| {
            // A clock that began later than that: the answer is as old as the clock.
            entry.expiry = entry.expiry.checked_sub(by).unwrap_or(entry.birth);
            entry.birth = entry.birth.checked_sub(by).unwrap_or(entry.birth);
        });
    }

    /// The fresh answer to a query.
    pub fn get(&mut self, query: &Query, now: Instant) -> Option<Hit<'_>> {
        let entry = self.entries.get(query.key())?;
        let remaining = entry.expiry.checked_duration_since(now).filter(|left| !left.is_zero())?;
        let age = now.saturating_duration_since(entry.birth).as_secs();
        let ttls = Ttls::Aged(u32::try_from(age).unwrap_or(u32::MAX));
        let refresh = entry.counts_as_due(remaining);
        Some(Hit { stored: &entry.stored, ttls, remaining, refresh })
    }

    /// The answer to a query even if it is past its TTL: for when no server answers.
    pub fn get_stale(&mut self, query: &Query, now: Instant) -> Option<Hit<'_>> {
        let entry = self.entries.get(query.key())?;
        if now >= entry.expiry + STALE_FOR {
            return None;
        }
        let remaining = entry.expiry.saturating_duration_since(now);
        Some(Hit {
            stored: &entry.stored,
            ttls: Ttls::AtMost(STALE_TTL),
            remaining,
            refresh: false,
        })
    }

    /// Remembers an answer for its lifetime, in the place of a former one. An answer that is not
    /// to be kept ([`Stored::lifetime`] is 0) leaves everything as it was: a stale answer is
    /// better than an error.
    pub fn insert(&mut self, query: &Query, stored: Stored, now: Instant) {
        if stored.lifetime() != 0 {
            self.put(query.key(), stored, now, now);
        }
    }

    fn put(&mut self, key: &[u8], stored: Stored, birth: Instant, now: Instant) {
        let (size, lifetime) = (stored.size(), Duration::from_secs(stored.lifetime().into()));
        let entry = CachedAnswer { stored, birth, expiry: birth + lifetime, hits: 0 };
        self.entries.insert(key, entry, size, |entry| entry.expiry <= now);
    }

    /// The number of answers, stale ones included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes in use; never above the limit.
    pub fn size(&self) -> usize {
        self.entries.weight()
    }
}

impl CachedAnswer {
    /// Counts a hit. True if it is time to ask again, once.
    fn counts_as_due(&mut self, remaining: Duration) -> bool {
        /// Has been told.
        const DONE: u32 = u32::MAX;
        if self.hits == DONE {
            return false;
        }
        self.hits = (self.hits + 1).min(POPULAR);
        let life = self.expiry.saturating_duration_since(self.birth);
        let due = self.hits == POPULAR && remaining <= life / LAST_PART && life >= LONG_ENOUGH;
        if due {
            self.hits = DONE;
        }
        due
    }
}

impl Hit<'_> {
    /// Appends the message for the client to `out`, TTLs counted down; `limit` as for
    /// [`Stored::write`]. A stale answer says so (RFC 8914, code 3).
    pub fn write(&self, query: &Query, limit: usize, out: &mut Vec<u8>) {
        let ede = self.remaining.is_zero().then_some(Ede::STALE);
        self.stored.write(query, self.ttls, ede, limit, out);
    }

    /// The answer itself.
    pub fn stored(&self) -> &Stored {
        self.stored
    }
}

#[cfg(test)]
mod tests;
