//! Counters. Plain atomics, relaxed: they inform, they do not synchronise.

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
/// ended is open.
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
}
