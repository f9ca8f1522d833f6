//! How often each rule and list decided.
//!
//! Counted are decisions that this process made: about a connection, a UDP session, a query of a
//! program. What the kernel sent directly never came here; its bytes are counted there
//! (`firewall/direct.rs`). The rules of one key are one row, so that a reload begins nothing anew.

use super::Counter;
use crate::sync::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What decided: the rules of one key, or a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecidedBy {
    /// A prefix of `rules.block`.
    BlockPrefixes,
    /// A prefix of `rules.proxy`.
    ProxyPrefixes,
    /// A prefix of `rules.direct`.
    DirectPrefixes,
    /// A name of `rules.block`.
    BlockNames,
    /// A name of `rules.proxy`, or of `rules.via`.
    ProxyNames,
    /// A name of `rules.direct`.
    DirectNames,
    /// `rules.block-domain-file`
    BlockList,
    /// `rules.proxy-domain-file`
    ProxyList,
    /// `rules.china-domain-file`
    ChinaList,
    /// Addresses that never leave the local networks.
    LocalNetworks,
    /// The list of domestic addresses.
    ChinaAddresses,
    /// Nothing else knows the destination: it is foreign.
    Rest,
}

impl DecidedBy {
    /// All of them, in the order of their counters.
    pub const ALL: [DecidedBy; 12] = [
        DecidedBy::BlockPrefixes,
        DecidedBy::ProxyPrefixes,
        DecidedBy::DirectPrefixes,
        DecidedBy::BlockNames,
        DecidedBy::ProxyNames,
        DecidedBy::DirectNames,
        DecidedBy::BlockList,
        DecidedBy::ProxyList,
        DecidedBy::ChinaList,
        DecidedBy::LocalNetworks,
        DecidedBy::ChinaAddresses,
        DecidedBy::Rest,
    ];
}

/// The decisions since the start, by what decided.
#[derive(Debug)]
pub struct HitStats {
    began: Instant,
    rows: [RowHits; DecidedBy::ALL.len()],
}

#[derive(Debug, Default)]
struct RowHits {
    count: Counter,
    /// Milliseconds after the beginning; nothing that does not count has one.
    last: AtomicU64,
}

impl Default for HitStats {
    fn default() -> Self {
        HitStats { began: Instant::now(), rows: Default::default() }
    }
}

impl HitStats {
    /// This one decided once more.
    pub fn decided(&self, by: DecidedBy) {
        let row = &self.rows[by as usize];
        row.count.add(1);
        let after = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        row.last.store(after, Ordering::Relaxed);
    }

    /// How often it did by now.
    pub fn get(&self, by: DecidedBy) -> u64 {
        self.rows[by as usize].count.get()
    }

    /// How long ago it did last.
    pub fn since(&self, by: DecidedBy) -> Option<Duration> {
        let last = Duration::from_millis(self.rows[by as usize].last.load(Ordering::Relaxed));
        (self.get(by) > 0).then(|| self.began.elapsed().saturating_sub(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_its_own_counter() {
        let hits = HitStats::default();
        for (by, count) in DecidedBy::ALL.into_iter().zip(0..) {
            assert_eq!(hits.since(by), None);
            (0..count).for_each(|_| hits.decided(by));
        }
        let counts = DecidedBy::ALL.map(|by| hits.get(by));
        assert_eq!(counts, std::array::from_fn::<u64, 12, _>(|place| place as u64));
        assert_eq!(hits.since(DecidedBy::BlockPrefixes), None, "it never did");
        assert!(hits.since(DecidedBy::Rest).is_some_and(|ago| ago < Duration::from_secs(60)));
    }
}
