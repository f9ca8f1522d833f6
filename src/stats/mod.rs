//! What is known of what happens: counters, and what lives. Counters are plain atomics, relaxed:
//! they inform, they do not synchronise.

mod hits;
mod live;
mod names;
mod refusals;
mod told;
mod trust;

pub use hits::{DecidedBy, HitStats};
pub use live::{FlowWay, LiveFlow, LiveFlows, LiveKind};
pub use names::{NameOutcome, NameStats};
pub use refusals::{RecentRefusals, RefusalNote, RefusedKind};
pub use trust::TrustStats;

use crate::sync::AtomicU64;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use tokio::time::Instant;

/// The bytes of one connection.
#[derive(Debug, Default)]
pub struct Meter {
    /// From the client to the destination.
    pub up: ByteFlow,
    /// From the destination to the client.
    pub down: ByteFlow,
}

/// The bytes of one direction, and when the first of them passed.
#[derive(Debug, Default)]
pub struct ByteFlow {
    bytes: Counter,
    begun: OnceLock<Instant>,
}

impl ByteFlow {
    /// `n` bytes have passed.
    pub fn add(&self, n: u64) {
        if n > 0 && self.bytes.0.fetch_add(n, Ordering::Relaxed) == 0 {
            let _ = self.begun.set(Instant::now());
        }
    }

    /// How many have passed by now.
    pub fn get(&self) -> u64 {
        self.bytes.get()
    }

    /// When the first of them passed.
    pub fn begun(&self) -> Option<Instant> {
        self.begun.get().copied()
    }
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
    /// Bytes of all that has ended, from clients to destinations.
    pub bytes_up: Counter,
    /// And back.
    pub bytes_down: Counter,
    /// Those of them that went through no proxy.
    pub direct_up: Counter,
    /// And back.
    pub direct_down: Counter,
    /// Captured datagrams.
    pub datagrams: DatagramStats,
    /// Answered names.
    pub names: NameStats,
    /// Which of the domestic answers were believed.
    pub trust: TrustStats,
    /// What decided about connections, UDP sessions and names.
    pub hits: HitStats,
    /// What lives now.
    pub live: LiveFlows,
    /// What was refused lately.
    pub refusals: RecentRefusals,
}

impl Stats {
    /// The bytes of a flow that has ended.
    pub fn add_bytes(&self, flow: &LiveFlow) {
        let (up, down) = (flow.meter.up.get(), flow.meter.down.get());
        self.bytes_up.add(up);
        self.bytes_down.add(down);
        if flow.way().is_some_and(|way| way.proxy.is_none()) {
            self.direct_up.add(up);
            self.direct_down.add(down);
        }
    }
}

/// What went through one proxy, as far as it has ended.
#[derive(Debug, Default)]
pub struct ProxyTraffic {
    /// Connections.
    pub connections: Counter,
    /// UDP sessions.
    pub sessions: Counter,
    /// Bytes from clients.
    pub up: Counter,
    /// Bytes to clients.
    pub down: Counter,
}

impl ProxyTraffic {
    /// A flow has ended.
    pub fn ended(&self, flow: &LiveFlow) {
        match flow.kind {
            LiveKind::Connection => self.connections.add(1),
            LiveKind::Datagrams => self.sessions.add(1),
        }
        self.up.add(flow.meter.up.get());
        self.down.add(flow.meter.down.get());
    }
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
        let Stats { accepted, proxied, direct, refused, ended: _, datagrams, .. } = self;
        let [accepted, proxied, direct, refused, up, down] =
            [accepted, proxied, direct, refused, &self.bytes_up, &self.bytes_down]
                .map(Counter::get);
        let were = if accepted == 1 { "connection was" } else { "connections were" };
        write!(
            f,
            "{accepted} {were} accepted: {proxied} relayed through a proxy, \
             {direct} directly, {refused} refused; {up} bytes went up and {down} down"
        )?;
        if datagrams.sessions.get() == 0 {
            return Ok(());
        }
        write!(f, "; {datagrams}")
    }
}

impl fmt::Display for DatagramStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DatagramStats { sessions, ended: _, evicted, up, down, .. } = self;
        let DatagramStats { too_large, dropped, rejected, unopenable, .. } = self;
        let [sessions, evicted, up, down] = [sessions, evicted, up, down].map(Counter::get);
        let [too_large, dropped, rejected, unopenable] =
            [too_large, dropped, rejected, unopenable].map(Counter::get);
        write!(
            f,
            "{sessions} UDP sessions, of which {evicted} had to make room; {up} datagrams went up \
             and {down} down; {too_large} were too large, {dropped} found no way, {rejected} were \
             rejected, {unopenable} were not the proxy's"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_stands_at_its_word() {
        let stats = Stats::default();
        let Stats { accepted, proxied, direct, refused, ended, .. } = &stats;
        let bytes = [&stats.bytes_up, &stats.bytes_down];
        let counters = [accepted, proxied, direct, refused, ended].into_iter().chain(bytes);
        for (counter, n) in counters.zip(1..) {
            counter.add(n);
        }
        assert_eq!(
            stats.to_string(),
            "1 connection was accepted: 2 relayed through a proxy, 3 directly, 4 refused; \
             6 bytes went up and 7 down"
        );
    }

    #[test]
    fn datagrams_are_told_of_where_there_were_any() {
        let stats = Stats::default();
        assert!(!stats.to_string().contains("UDP"));
        let of = &stats.datagrams;
        let counters = [
            &of.sessions,
            &of.evicted,
            &of.up,
            &of.down,
            &of.too_large,
            &of.dropped,
            &of.rejected,
            &of.unopenable,
        ];
        for (counter, n) in counters.into_iter().zip(1..) {
            counter.add(n);
        }
        assert!(
            stats.to_string().ends_with(
                "; 1 UDP sessions, of which 2 had to make room; 3 datagrams went up and 4 down; \
                 5 were too large, 6 found no way, 7 were rejected, 8 were not the proxy's"
            ),
            "{stats}"
        );
    }
}
