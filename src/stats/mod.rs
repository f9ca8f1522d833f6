//! Counters. Plain atomics, relaxed: they inform, they do not synchronise.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// The bytes of one connection.
#[derive(Debug, Default)]
pub struct Meter {
    /// From the client to the destination.
    pub up: Counter,
    /// From the destination to the client.
    pub down: Counter,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the whole process has done since it started. What was accepted and is neither refused nor
/// ended is open. The stop logs it.
#[derive(Debug, Default)]
pub struct Stats {
    /// Connections accepted, less the daemon's own questions.
    pub accepted: Counter,
    /// Connections relayed through a proxy.
    pub proxied: Counter,
    /// Connections relayed directly.
    pub direct: Counter,
    /// Connections refused: by rule, by a guard, for want of room, or because no dial succeeded.
    pub refused: Counter,
    /// Connections that have ended, or were cut.
    pub ended: Counter,
    /// Bytes of all ended connections.
    pub bytes: Meter,
    /// Captured datagrams.
    pub datagrams: DatagramStats,
}

/// What became of captured datagrams.
#[derive(Debug, Default)]
pub struct DatagramStats {
    /// Sessions begun: one for each socket of a client.
    pub sessions: Counter,
    /// Sessions that have ended.
    pub ended: Counter,
    /// Sessions that had to make room.
    pub evicted: Counter,
    /// Datagrams that went to a proxy.
    pub up: Counter,
    /// Datagrams that went to a client.
    pub down: Counter,
    /// Datagrams dropped since they are larger than the protocol or the interface takes.
    pub too_large: Counter,
    /// Datagrams dropped for want of room, of a proxy, or of a way to the client.
    pub dropped: Counter,
    /// Datagrams dropped by rule or by a guard.
    pub rejected: Counter,
    /// Packets from a proxy's server that are not of the protocol and key.
    pub unopenable: Counter,
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stats { accepted, proxied, direct, refused, ended: _, bytes, datagrams: _ } = self;
        let [accepted, proxied, direct, refused, up, down] =
            [accepted, proxied, direct, refused, &bytes.up, &bytes.down].map(Counter::get);
        write!(
            f,
            "{accepted} connections were accepted: {proxied} relayed through a proxy, \
             {direct} directly, {refused} refused; {up} bytes went up and {down} down"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_stands_at_its_word() {
        let stats = Stats::default();
        let Stats { accepted, proxied, direct, refused, ended, bytes, .. } = &stats;
        let counters = [accepted, proxied, direct, refused, ended, &bytes.up, &bytes.down];
        for (counter, n) in counters.into_iter().zip(1..) {
            counter.add(n);
        }
        assert_eq!(
            stats.to_string(),
            "1 connections were accepted: 2 relayed through a proxy, 3 directly, 4 refused; \
             6 bytes went up and 7 down"
        );
    }
}
