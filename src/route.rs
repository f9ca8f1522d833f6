//! Where a destination goes: the one decision of the data path, pure and total.
//!
//! The kernel makes the same decision first (see `firewall`), from the same sets; what reaches
//! this process is judged again, because names learned by the resolver and a changed
//! configuration may know better. Order of precedence, the same as in the kernel: `block`,
//! `proxy`, `direct`, what the resolver learned, reserved and China addresses, the rest.

use crate::ipset::IpSet;
use crate::target::Target;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// Straight to the destination.
    Direct,
    /// Through one of the upstream proxies; never direct, also when all of them are down.
    Proxy,
    /// Refused.
    Block,
}

/// The operator's rules by address, and the set of domestic addresses.
#[derive(Debug, Default)]
pub struct Router {
    /// `rules.direct`: prefixes that never need the proxy.
    pub direct: IpSet,
    /// `rules.proxy`: prefixes that always take the proxy.
    pub proxy: IpSet,
    /// `rules.block`: prefixes that are refused.
    pub block: IpSet,
    /// The China list; empty with `scope = "global"`.
    pub china: Arc<IpSet>,
    /// Addresses that never leave the local networks, see [`crate::ipset::reserved`].
    pub reserved: IpSet,
}

impl Router {
    /// Decides for one destination. A name is not resolved here: it takes the proxy, whose far
    /// end resolves it.
    pub fn route(&self, target: &Target, learned: &Learned) -> Route {
        let Target::Addr(address) = target else { return Route::Proxy };
        let ip = address.ip().to_canonical();
        if self.block.contains(ip) {
            return Route::Block;
        }
        if self.proxy.contains(ip) {
            return Route::Proxy;
        }
        if self.direct.contains(ip) {
            return Route::Direct;
        }
        if let Some(route) = learned.get(ip, Instant::now()) {
            return route;
        }
        if self.reserved.contains(ip) || self.china.contains(ip) {
            return Route::Direct;
        }
        Route::Proxy
    }
}

/// At most so many addresses are remembered; beyond, the ones that expired go, then new ones are
/// not taken.
const LEARNED_LIMIT: usize = 65_536;

/// What the resolver learned: the addresses of names that a rule sends one way.
///
/// [`learn`](Learned::learn) is the one door: it updates the map that the router reads and tells
/// the kernel (through [`Teach`]) before the client gets the answer.
#[derive(Default)]
pub struct Learned {
    entries: Mutex<HashMap<IpAddr, (Route, Instant)>>,
    kernel: Mutex<Option<Box<dyn Teach>>>,
}

/// The kernel's side of [`Learned`]; `daemon` provides it where a firewall is installed.
pub trait Teach: Send {
    /// Puts `address` into the kernel's set for `route` for `ttl`.
    fn teach(&self, address: IpAddr, route: Route, ttl: Duration);
}

impl std::fmt::Debug for Learned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Learned({} addresses)", lock(&self.entries).len())
    }
}

impl Learned {
    /// From now on every learned address goes to the kernel too; first those learned before.
    pub fn connect_kernel(&self, kernel: Box<dyn Teach>) {
        let mut connected = lock(&self.kernel);
        self.teach_all(&*kernel);
        *connected = Some(kernel);
    }

    /// The kernel hears no more of what is learned here.
    pub fn disconnect_kernel(&self) {
        *lock(&self.kernel) = None;
    }

    /// Whether the kernel hears of it.
    pub fn is_connected(&self) -> bool {
        lock(&self.kernel).is_some()
    }

    /// Tells the kernel everything again, which has forgotten it. In small portions: who routes a
    /// connection or learns another address meanwhile must not wait for all of it.
    pub fn teach_again(&self) {
        let known: Vec<(IpAddr, (Route, Instant))> =
            lock(&self.entries).iter().map(|(address, entry)| (*address, *entry)).collect();
        for portion in known.chunks(64) {
            let connected = lock(&self.kernel);
            let Some(kernel) = &*connected else { return };
            let now = Instant::now();
            for (address, entry @ (route, expiry)) in portion {
                let still = lock(&self.entries).get(address) == Some(entry);
                if still && *expiry > now {
                    kernel.teach(*address, *route, expiry.saturating_duration_since(now));
                }
            }
        }
    }

    fn teach_all(&self, kernel: &dyn Teach) {
        let now = Instant::now();
        for (address, (route, expiry)) in &*lock(&self.entries) {
            if *expiry > now {
                kernel.teach(*address, *route, expiry.saturating_duration_since(now));
            }
        }
    }

    /// Remembers that `address` takes `route` for `ttl`. Returns whether it was taken.
    pub fn learn(&self, address: IpAddr, route: Route, ttl: Duration) -> bool {
        let now = Instant::now();
        {
            let mut entries = lock(&self.entries);
            if entries.len() >= LEARNED_LIMIT && !entries.contains_key(&address) {
                entries.retain(|_, (_, expiry)| *expiry > now);
                if entries.len() >= LEARNED_LIMIT {
                    return false;
                }
            }
            entries.insert(address, (route, now + ttl));
        }
        if let Some(kernel) = &*lock(&self.kernel) {
            kernel.teach(address, route, ttl);
        }
        true
    }

    fn get(&self, address: IpAddr, now: Instant) -> Option<Route> {
        let entries = lock(&self.entries);
        if entries.is_empty() {
            return None;
        }
        entries.get(&address).filter(|(_, expiry)| *expiry > now).map(|(route, _)| *route)
    }
}

/// A panic elsewhere leaves these maps whole: every change is one insertion.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> IpSet {
        text.split(' ')
            .filter(|s| !s.is_empty())
            .map(|s| s.parse::<ipnet::IpNet>().unwrap())
            .collect()
    }

    fn router() -> Router {
        Router {
            direct: set("198.51.100.0/25 203.0.113.9/32"),
            proxy: set("192.0.2.128/25"),
            block: set("203.0.113.0/28"),
            china: Arc::new(set("192.0.2.0/24 2001:db8:c::/48")),
            reserved: crate::ipset::reserved(),
        }
    }

    fn route(ip: &str, learned: &Learned) -> Route {
        router().route(&Target::addr(std::net::SocketAddr::new(ip.parse().unwrap(), 443)), learned)
    }

    #[test]
    fn precedence() {
        let learned = Learned::default();
        assert_eq!(route("203.0.113.9", &learned), Route::Block, "block beats direct");
        assert_eq!(route("192.0.2.200", &learned), Route::Proxy, "proxy beats the China list");
        assert_eq!(route("192.0.2.1", &learned), Route::Direct);
        assert_eq!(route("2001:db8:c::1", &learned), Route::Direct);
        assert_eq!(route("198.51.100.1", &learned), Route::Direct);
        assert_eq!(route("198.51.100.200", &learned), Route::Proxy);
        assert_eq!(route("::ffff:192.0.2.1", &learned), Route::Direct);
        assert_eq!(route("192.168.1.1", &learned), Route::Direct);
    }

    #[test]
    fn learned_beats_the_list_but_not_the_rules() {
        let learned = Learned::default();
        let minute = Duration::from_secs(60);
        learned.learn("192.0.2.1".parse().unwrap(), Route::Proxy, minute);
        learned.learn("203.0.113.200".parse().unwrap(), Route::Direct, minute);
        learned.learn("203.0.113.1".parse().unwrap(), Route::Direct, minute);
        assert_eq!(route("192.0.2.1", &learned), Route::Proxy);
        assert_eq!(route("203.0.113.200", &learned), Route::Direct);
        assert_eq!(route("203.0.113.1", &learned), Route::Block);
    }

    #[test]
    fn what_was_learned_expires() {
        let learned = Learned::default();
        learned.learn("192.0.2.1".parse().unwrap(), Route::Proxy, Duration::ZERO);
        assert_eq!(route("192.0.2.1", &learned), Route::Direct);
    }

    #[test]
    fn names_take_the_proxy() {
        let target = Target::Name("example.com".into(), 80);
        assert_eq!(router().route(&target, &Learned::default()), Route::Proxy);
    }
}
