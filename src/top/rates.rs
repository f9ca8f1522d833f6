//! How fast bytes flow: the difference of what was carried at two times. Pure.

use super::snapshot::Snapshot;
use std::collections::VecDeque;
use std::time::Duration;

/// Rates are those of the last two seconds. A little less is asked for, so that a snapshot that
/// comes a moment early still counts.
const WINDOW: Duration = Duration::from_millis(1900);

/// Bytes a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) rx: u64,
    pub(super) tx: u64,
}

/// What was carried, as it was seen at some times, the latest last.
#[derive(Debug, Default)]
pub(super) struct Carried {
    seen: VecDeque<Sighting>,
}

#[derive(Debug)]
struct Sighting {
    at: Duration,
    pid: u32,
    all: Amount,
    /// By the connections' numbers, ascending.
    flows: Vec<(u64, Amount)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Amount {
    rx: u64,
    tx: u64,
}

/// Up to one snapshot, since an earlier one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rates {
    /// Of everything; zero until there were two snapshots.
    pub(super) all: Rate,
    /// In the order of the snapshot's connections.
    pub(super) flows: Vec<Rate>,
}

impl Carried {
    /// Takes note of one more snapshot. What another process has carried is forgotten.
    pub(super) fn rates(&mut self, snapshot: &Snapshot) -> Rates {
        let now = Sighting::of(snapshot);
        self.seen.retain(|seen| seen.pid == now.pid && seen.at < now.at);
        let is_old = |seen: &Sighting| seen.at + WINDOW <= now.at;
        while self.seen.get(1).is_some_and(is_old) {
            self.seen.pop_front();
        }
        let flows = &snapshot.flows;
        let rates = match self.seen.front() {
            None => Rates { all: Rate::default(), flows: vec![Rate::default(); flows.len()] },
            Some(before) => {
                let time = now.at - before.at;
                let of_flow = |flow: &crate::view::FlowView| {
                    Amount { rx: flow.down, tx: flow.up }.since(before.flow(flow.id), time)
                };
                Rates {
                    all: now.all.since(before.all, time),
                    flows: flows.iter().map(of_flow).collect(),
                }
            }
        };
        self.seen.push_back(now);
        rates
    }

    pub(super) fn forget(&mut self) {
        self.seen.clear();
    }
}

impl Sighting {
    fn of(snapshot: &Snapshot) -> Self {
        let flows = snapshot.flows.iter();
        let mut flows: Vec<_> =
            flows.map(|flow| (flow.id, Amount { rx: flow.down, tx: flow.up })).collect();
        // The daemon lists them so.
        if !flows.is_sorted_by_key(|(id, _)| *id) {
            flows.sort_unstable_by_key(|(id, _)| *id);
        }
        let traffic = &snapshot.status.traffic;
        Sighting {
            at: snapshot.at,
            pid: snapshot.status.pid,
            all: Amount { rx: traffic.down, tx: traffic.up },
            flows,
        }
    }

    /// What this one had carried; nothing, if it did not exist.
    fn flow(&self, id: u64) -> Amount {
        let place = self.flows.binary_search_by_key(&id, |(id, _)| *id);
        place.map(|place| self.flows[place].1).unwrap_or_default()
    }
}

impl Amount {
    /// The total may fall by a little: it is summed up while connections end.
    fn since(self, before: Amount, time: Duration) -> Rate {
        let rate = |now: u64, before: u64| {
            let bytes = u128::from(now.saturating_sub(before));
            u64::try_from(bytes * 1000 / time.as_millis().max(1)).unwrap_or(u64::MAX)
        };
        Rate { rx: rate(self.rx, before.rx), tx: rate(self.tx, before.tx) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{flow, snapshot};
    use super::*;

    fn rx(carried: &mut Carried, at: u64, flows: &[(u64, u64)]) -> Vec<u64> {
        let flows = flows.iter().map(|(id, down)| flow(*id, "a.example", *down));
        let rates = carried.rates(&snapshot(at, flows.collect()));
        rates.flows.iter().map(|rate| rate.rx).collect()
    }

    #[test]
    fn over_two_seconds_keyed_by_number() {
        let mut carried = Carried::default();
        assert_eq!(rx(&mut carried, 10_000, &[(1, 5_000), (2, 0)]), [0, 0], "not known yet");
        assert_eq!(rx(&mut carried, 11_000, &[(1, 6_000), (2, 0)]), [1000, 0], "of one second");
        // The first one has gone, and another has come.
        let flows = [(2, 800), (3, 400)];
        assert_eq!(rx(&mut carried, 12_000, &flows), [400, 200], "of two seconds");
        let flows = [(2, 800), (3, 400)];
        assert_eq!(rx(&mut carried, 12_950, &flows), [410, 205], "since 11.0, a moment early");
        assert_eq!(rx(&mut carried, 15_000, &[(2, 800), (3, 2450)]), [0, 1000]);
        assert_eq!(carried.seen.len(), 2, "no more is kept than it takes");
    }

    #[test]
    fn of_everything() {
        let mut carried = Carried::default();
        let mut seen = snapshot(1000, Vec::new());
        (seen.status.traffic.down, seen.status.traffic.up) = (100, 0);
        assert_eq!(carried.rates(&seen).all, Rate::default());
        seen.at = Duration::from_millis(3000);
        (seen.status.traffic.down, seen.status.traffic.up) = (4100, 2000);
        assert_eq!(carried.rates(&seen).all, Rate { rx: 2000, tx: 1000 });
        seen.at = Duration::from_millis(5000);
        seen.status.traffic.down = 4000;
        assert_eq!(carried.rates(&seen).all, Rate { rx: 0, tx: 0 }, "it fell");
    }

    #[test]
    fn another_process_counts_anew() {
        let mut carried = Carried::default();
        assert_eq!(rx(&mut carried, 1000, &[(1, 5000)]), [0]);
        let mut restarted = snapshot(3000, vec![flow(1, "a.example", 9000)]);
        restarted.status.pid = 78;
        assert_eq!(carried.rates(&restarted).flows, [Rate::default()]);
        restarted.at = Duration::from_millis(5000);
        restarted.flows[0].down = 11_000;
        assert_eq!(carried.rates(&restarted).flows[0].rx, 1000);
    }

    #[test]
    fn the_same_moment_twice_divides_by_nothing() {
        let mut carried = Carried::default();
        assert_eq!(rx(&mut carried, 1000, &[(1, 5000)]), [0]);
        assert_eq!(rx(&mut carried, 1000, &[(1, 9000)]), [0]);
    }
}
