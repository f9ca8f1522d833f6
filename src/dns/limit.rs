//! How many queries of one client are answered over UDP: against floods with a forged source
//! address. A client above the limit is told to come again over TCP, which proves its address. This
//! machine itself is never limited ([`crate::net::udp::UdpListener::is_own`]).
//!
//! A generic cell rate algorithm: of each client one instant is kept, when its allowance will be
//! whole again. The table has a fixed size; two clients in one place share an allowance, which
//! neither will notice in a household.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

const PLACES: usize = 1024;

/// So much may come at once: a second's allowance.
const BURST: Duration = Duration::from_secs(1);

/// The allowances of all clients.
#[derive(Debug)]
pub struct RateLimit {
    /// Between two queries at full rate; zero: no limit.
    interval: Duration,
    /// When each allowance is whole again.
    places: Vec<Option<Instant>>,
    /// Keyed, so that a host cannot choose the client that it shares a place with.
    hasher: RandomState,
}

impl RateLimit {
    /// So many queries a second for each client; 0: no limit.
    pub fn new(rate: u16) -> Self {
        let interval = BURST.checked_div(rate.into()).unwrap_or_default();
        let places = if rate == 0 { Vec::new() } else { vec![None; PLACES] };
        RateLimit { interval, places, hasher: RandomState::new() }
    }

    /// Whether a query of this client is still within its allowance; counts it if so.
    pub fn allows(&mut self, client: IpAddr, now: Instant) -> bool {
        let client = client.to_canonical();
        if self.places.is_empty() {
            return true;
        }
        let place = self.hasher.hash_one(network(client)) as usize % PLACES;
        let place = &mut self.places[place];
        let whole_again = place.map_or(now, |former| former.max(now));
        if whole_again - now > BURST - self.interval {
            return false;
        }
        *place = Some(whole_again + self.interval);
        true
    }
}

/// An IPv6 host has a whole /64 of addresses.
fn network(client: IpAddr) -> [u8; 8] {
    let mut network = [0; 8];
    match client {
        IpAddr::V4(v4) => network[..4].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => network.copy_from_slice(&v6.octets()[..8]),
    }
    network
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(limit: &mut RateLimit, client: &str, tries: u32, now: Instant) -> u32 {
        let client = client.parse().unwrap();
        (0..tries).map(|_| u32::from(limit.allows(client, now))).sum()
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let (mut limit, now) = (RateLimit::new(10), Instant::now());
        assert_eq!(allowed(&mut limit, "192.0.2.1", 50, now), 10);
        assert_eq!(allowed(&mut limit, "192.0.2.1", 50, now + Duration::from_millis(300)), 3);
        assert_eq!(allowed(&mut limit, "::ffff:192.0.2.1", 5, now), 0, "the same host");
        assert_eq!(allowed(&mut limit, "192.0.2.1", 50, now + Duration::from_secs(9)), 10);
    }

    #[test]
    fn zero_is_no_limit() {
        let now = Instant::now();
        assert_eq!(allowed(&mut RateLimit::new(0), "192.0.2.1", 50, now), 50);
    }

    #[test]
    fn an_ipv6_host_is_a_network() {
        let (mut limit, now) = (RateLimit::new(5), Instant::now());
        assert_eq!(allowed(&mut limit, "2001:db8::1", 4, now), 4);
        assert_eq!(allowed(&mut limit, "2001:db8::2", 4, now), 1);
    }
}
