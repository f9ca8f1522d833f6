//! Queries that wait for upstream servers, and each client's share of the places.
//!
//! A program that asks for thousands of new names a second, while servers are slow or silent, must
//! not keep the names of other clients out. Two things run short: places, which bound memory, and
//! the sockets from which domestic servers are asked over UDP, a few hundred. They are not divided
//! among clients; what is *left* is:
//!
//! - While more than a quarter of the places and half of the sockets are free, everyone gets in.
//! - Beyond, a host gets one more only if it has fewer than are left, of the thing that is short.
//! - Of the last eighth of the places, or quarter of the sockets, its network has to have fewer
//!   too: over UDP a source is easily made up. That is the /64 of IPv6 and the /24 of IPv4. Not
//!   earlier, since a household lives in one, and its hosts deserve to be told apart.
//!
//! So a client that is alone has three quarters, and there is always room for a newcomer. This
//! machine is one client: its programs cannot be told apart, and a dnsmasq here asks for a whole
//! household.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};
use tracing::warn;

/// Queries that wait at one moment, unless the daemon says another number.
const MOST: u32 = 4096;

/// A line in the log at most so often.
const QUIET: Duration = Duration::from_secs(600);

/// All queries that wait.
#[derive(Debug)]
pub(super) struct PendingQueries {
    places: u32,
    state: RefCell<WaitingCounts>,
}

impl Default for PendingQueries {
    fn default() -> Self {
        PendingQueries { places: MOST, state: RefCell::default() }
    }
}

/// From which questions are asked over UDP.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sockets {
    /// In no use.
    pub(super) free: usize,
    /// Used or not.
    pub(super) all: usize,
}

#[derive(Debug, Default)]
struct WaitingCounts {
    count: u32,
    /// By host and by network; no entry is 0.
    held: HashMap<Origin, u32>,
    told: Option<Instant>,
}

/// Where queries come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Origin {
    Host(IpAddr),
    /// The first address of a /24 or a /64.
    Network(IpAddr),
}

/// One query that waits; counted down also when its task panics.
#[derive(Debug)]
pub(super) struct PendingPlace<'a> {
    queries: &'a PendingQueries,
    client: IpAddr,
}

impl PendingQueries {
    /// With so many places.
    pub(super) fn new(places: u32) -> Self {
        PendingQueries { places, ..PendingQueries::default() }
    }

    /// As many places, and nobody there.
    pub(super) fn afresh(&self) -> Self {
        PendingQueries::new(self.places)
    }

    /// A place for one more query of this client, if there is one for it.
    pub(super) fn enter(
        &self,
        client: IpAddr,
        sockets: Sockets,
        now: Instant,
    ) -> Option<PendingPlace<'_>> {
        let client = client.to_canonical();
        let mut waiting = self.state.borrow_mut();
        if let Some(held) = self.refuses(&waiting, client, sockets) {
            waiting.tell(client, held, now);
            return None;
        }
        waiting.count += 1;
        for origin in origins(client) {
            *waiting.held.entry(origin).or_default() += 1;
        }
        Some(PendingPlace { queries: self, client })
    }

    /// The number of queries for which the client is refused another.
    fn refuses(&self, waiting: &WaitingCounts, client: IpAddr, sockets: Sockets) -> Option<u32> {
        let free = self.places.saturating_sub(waiting.count);
        let is_short = |origin: &Origin, held: u32| {
            let (part, sockets_part) = match origin {
                Origin::Host(_) => (4, 2),
                Origin::Network(_) => (8, 4),
            };
            free <= self.places / part && held >= free
                || sockets.free <= sockets.all / sockets_part
                    && held as usize >= sockets.free.max(1)
        };
        let held = |origin| waiting.held.get(&origin).copied().unwrap_or(0);
        let refusing = origins(client).find(|origin| is_short(origin, held(*origin)));
        refusing.map(held)
    }
}

impl WaitingCounts {
    /// One line, and no flood of them.
    fn tell(&mut self, client: IpAddr, held: u32, now: Instant) {
        if self.told.is_some_and(|told| now < told + QUIET) {
            return;
        }
        self.told = Some(now);
        let count = self.count;
        warn!(
            %client,
            "{count} queries wait for name servers, {held} of them of this client or its network. \
             More of its names fail until servers answer, so that other clients are served. Is \
             the proxy up, or does a program there ask without end?"
        );
    }
}

impl Drop for PendingPlace<'_> {
    fn drop(&mut self) {
        let mut waiting = self.queries.state.borrow_mut();
        waiting.count = waiting.count.saturating_sub(1);
        for origin in origins(self.client) {
            let Some(held) = waiting.held.get_mut(&origin) else { continue };
            *held = held.saturating_sub(1);
            if *held == 0 {
                waiting.held.remove(&origin);
            }
        }
    }
}

/// The host, and its network unless it is this machine.
fn origins(client: IpAddr) -> impl Iterator<Item = Origin> {
    let network = match client {
        _ if client.is_loopback() => None,
        IpAddr::V4(v4) => Some(Ipv4Addr::from_bits(v4.to_bits() & 0xffff_ff00).into()),
        IpAddr::V6(v6) => Some(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into()),
    };
    std::iter::once(Origin::Host(client)).chain(network.map(Origin::Network))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOCKETS: usize = 336;

    fn enter<'a>(
        queries: &'a PendingQueries,
        client: &str,
        tries: usize,
        free: usize,
    ) -> Vec<PendingPlace<'a>> {
        let (client, now) = (client.parse().unwrap(), Instant::now());
        let sockets = Sockets { free, all: SOCKETS };
        (0..tries).map_while(|_| queries.enter(client, sockets, now)).collect()
    }

    #[test]
    fn a_flood_leaves_places_for_others_and_a_client_alone_has_most() {
        let queries = PendingQueries::default();
        let flood = enter(&queries, "192.168.1.9", 9999, SOCKETS);
        assert_eq!(flood.len(), 3072);
        let second = enter(&queries, "192.168.1.8", 9999, SOCKETS);
        assert_eq!(second.len(), 512, "as many as are left");
        let third = enter(&queries, "10.0.0.1", 100, SOCKETS);
        assert_eq!(third.len(), 100);
        drop((flood, second, third));
        assert_eq!(queries.state.borrow().count, 0);
        assert!(queries.state.borrow().held.is_empty());
    }

    #[test]
    fn made_up_sources_leave_places_for_other_networks() {
        for (host, other) in
            [("192.168.7.", "192.168.8.1"), ("2001:db8::", "2001:db8:0:1::1"), ("10.0.0.", "::1")]
        {
            let queries = PendingQueries::default();
            let sources: Vec<_> = (0..250)
                .flat_map(|number| enter(&queries, &format!("{host}{number}"), 40, SOCKETS))
                .collect();
            assert_eq!(sources.len(), 4096 - 512, "{host}");
            assert_eq!(enter(&queries, other, 100, SOCKETS).len(), 100, "{other}");
            assert!(enter(&queries, &format!("{host}255"), 1, SOCKETS).is_empty(), "{host}");
        }
    }

    #[test]
    fn who_waits_for_sockets_leaves_some() {
        let queries = PendingQueries::default();
        // Each query holds two.
        let mut flood = Vec::new();
        while let Some(place) = enter(&queries, "10.0.0.9", 1, SOCKETS - 2 * flood.len()).pop() {
            flood.push(place);
        }
        assert_eq!(flood.len(), SOCKETS / 3);
        let left = SOCKETS - 2 * flood.len();
        assert_eq!(enter(&queries, "10.0.0.8", 50, left).len(), 50);
        assert_eq!(enter(&queries, "::ffff:10.0.0.9", 1, left).len(), 0, "the same host");
        assert_eq!(enter(&queries, "10.0.0.9", 1, SOCKETS).len(), 1, "servers have answered");
    }

    /// The trusted side can answer it without a socket.
    #[test]
    fn without_any_socket_a_newcomer_gets_in() {
        let queries = PendingQueries::default();
        assert_eq!(enter(&queries, "10.0.0.9", 2, 0).len(), 1);
    }

    #[test]
    fn it_is_said_once() {
        let queries = PendingQueries::default();
        let flood = enter(&queries, "10.0.0.9", 9999, SOCKETS);
        let told = queries.state.borrow().told;
        assert!(told.is_some());
        assert!(enter(&queries, "10.0.0.9", 1, SOCKETS).is_empty());
        assert_eq!(queries.state.borrow().told, told);
        drop(flood);
    }
}
