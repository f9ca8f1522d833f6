//! Questions that just failed (RFC 9520): they are not asked again for a few seconds.

use super::second_chance::SecondChance;
use crate::dns::reply::Ede;
use crate::dns::wire::Query;
use std::time::{Duration, Instant};

/// RFC 9520, 3.2: at least 1 s, at most 5 minutes. Short, since a proxy that comes back should be
/// noticed.
const LIFETIME: Duration = Duration::from_secs(5);

/// Bytes: some hundred questions. Who asks more at a moment when everything fails is flooding.
const LIMIT: usize = 128 * 1024;

/// Failed questions, and what was said of them.
#[derive(Debug)]
pub struct Failures {
    entries: SecondChance<(Failure, Instant)>,
}

/// How a question failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub ede: Ede,
    /// Whether an answer past its TTL is better than none.
    pub allows_stale: bool,
}

impl Default for Failures {
    fn default() -> Self {
        Failures { entries: SecondChance::new(LIMIT) }
    }
}

impl Failures {
    /// Remembers a failure.
    pub fn insert(&mut self, query: &Query, failure: Failure, now: Instant) {
        let entry = (failure, now + LIFETIME);
        self.entries.insert(query.key(), entry, 0, |(_, expiry)| *expiry <= now);
    }

    /// How the question failed, if that was a moment ago.
    pub fn get(&mut self, query: &Query, now: Instant) -> Option<Failure> {
        let (failure, expiry) = *self.entries.get(query.key())?;
        (now < expiry).then_some(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::wire::rr;

    #[test]
    fn a_failure_is_remembered_for_five_seconds() {
        let (now, mut failures) = (Instant::now(), Failures::default());
        let query = |text: &str| Query::new(&text.parse().unwrap(), rr::A);
        let why = Failure { ede: Ede::unreachable("test"), allows_stale: true };
        failures.insert(&query("a.example"), why, now);
        assert_eq!(failures.get(&query("A.example"), now + Duration::from_secs(4)), Some(why));
        assert_eq!(failures.get(&query("a.example"), now + Duration::from_secs(5)), None);
        assert_eq!(failures.get(&query("b.example"), now), None);
    }
}
