//! The name server that a program asked before its query was redirected to us, and what it told us.
//!
//! Such a server may be the only one that knows some names: a container bridge's, a cluster's, a
//! VPN's, the company's. It counts if its address is not a public one, or is one of this machine
//! (then another program listens there). What it says is kept apart for each server, and only
//! programs that asked that very server hear it. [`split_horizon`](super::split_horizon) says when
//! it is asked.

use super::cache::Cache;
use super::client_query::{Came, ClientQuery};
use super::reply::is_private;
use super::settings::Settings;
use crate::net;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Bytes for answers of asked servers: they are few, and short-lived.
const ANSWERS: usize = 256 * 1024;

/// A server that said nothing is not waited for again within this.
const SILENT_FOR: Duration = Duration::from_secs(20);

/// Whether an address is this machine's own may change.
const OWN_FOR: Duration = Duration::from_secs(10);

/// Servers that are remembered. A household has a handful.
const MOST_SERVERS: usize = 256;

/// Where redirected queries wanted to go. `daemon` provides it where rules redirect.
pub trait Origins: Debug + Send {
    /// The name server that a datagram was meant for which came from `client` to `local`, an
    /// address of ours; `None` if it was meant for us. Never waits.
    fn of_datagram(&self, client: SocketAddr, local: SocketAddr) -> Option<SocketAddr>;
}

/// Everything that is known of asked servers.
#[derive(Debug)]
pub(super) struct Horizon {
    origins: Option<Rc<dyn Origins>>,
    pub(super) answers: RefCell<Cache>,
    /// Until when they are passed over.
    silent: RefCell<ShortLived<SocketAddr, ()>>,
    own: RefCell<ShortLived<SocketAddr, bool>>,
}

impl Horizon {
    /// Knows nothing yet. Without origins it never will.
    pub(super) fn new(origins: Option<Rc<dyn Origins>>) -> Self {
        Horizon {
            origins,
            answers: RefCell::new(Cache::new(ANSWERS)),
            silent: RefCell::default(),
            own: RefCell::default(),
        }
    }

    /// Another one that knows nothing yet.
    pub(super) fn afresh(&self) -> Self {
        Horizon::new(self.origins.clone())
    }

    /// Whether it can be told which server a program asked.
    pub(super) fn is_open(&self) -> bool {
        self.origins.is_some()
    }

    /// The server that the program asked, if it counts.
    pub(super) fn server(
        &self,
        asked: &ClientQuery<'_>,
        settings: &Settings,
    ) -> Option<SocketAddr> {
        let server = match asked.came {
            Came::ToUs | Came::DatagramToUs => return None,
            Came::Redirected(server) => server,
            Came::Datagram(local) => {
                on_link_of(self.origins.as_ref()?.of_datagram(asked.client, local)?, local)?
            }
        };
        let counts = is_private(server.ip()) || self.is_own(server, asked.at);
        let is_us = || {
            settings.household.plain.contains(&server)
                || settings.listen.iter().any(|own| own.port() == server.port())
                    && self.is_own(server, asked.at)
        };
        (counts && !is_us()).then_some(server)
    }

    /// Whether the address is one of this machine.
    pub(super) fn is_own(&self, address: SocketAddr, now: Instant) -> bool {
        if let Some(known) = self.own.borrow().get(&address, now) {
            return known;
        }
        let is_own = net::is_own_address(address);
        self.own.borrow_mut().insert(address, is_own, now, OWN_FOR);
        is_own
    }

    pub(super) fn is_silent(&self, server: SocketAddr, now: Instant) -> bool {
        self.silent.borrow().get(&server, now).is_some()
    }

    pub(super) fn was_silent(&self, server: SocketAddr, now: Instant) {
        self.silent.borrow_mut().insert(server, (), now, SILENT_FOR);
    }
}

/// The server, with the link that its address means if it is a link-local one: that of the address
/// to which the query was redirected. `None` if that cannot be told.
pub(super) fn on_link_of(server: SocketAddr, local: SocketAddr) -> Option<SocketAddr> {
    match (server, local) {
        (SocketAddr::V6(mut server), local) if server.ip().is_unicast_link_local() => {
            let SocketAddr::V6(local) = local else { return None };
            server.set_scope_id(local.scope_id());
            (local.scope_id() != 0).then_some(server.into())
        }
        _ => Some(server),
    }
}

/// A few facts that hold for a while.
#[derive(Debug)]
struct ShortLived<K, V>(HashMap<K, (V, Instant)>);

impl<K, V> Default for ShortLived<K, V> {
    fn default() -> Self {
        ShortLived(HashMap::new())
    }
}

impl<K: Eq + Hash, V: Copy> ShortLived<K, V> {
    fn get(&self, key: &K, now: Instant) -> Option<V> {
        self.0.get(key).filter(|(_, end)| now < *end).map(|(value, _)| *value)
    }

    fn insert(&mut self, key: K, value: V, now: Instant, lifetime: Duration) {
        if self.0.len() >= MOST_SERVERS {
            self.0.retain(|_, (_, end)| now < *end);
        }
        // What does not fit is found out again.
        if self.0.len() < MOST_SERVERS || self.0.contains_key(&key) {
            self.0.insert(key, (value, now + lifetime));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_local_server_is_on_the_link_of_the_query() {
        let on_link = |server: &str, local: &str| {
            on_link_of(server.parse().unwrap(), local.parse().unwrap()).map(|at| at.to_string())
        };
        assert_eq!(on_link("[fe80::1]:53", "[fe80::2%3]:1211").unwrap(), "[fe80::1%3]:53");
        assert_eq!(on_link("[fe80::1]:53", "[fd00::2]:1211"), None);
        assert_eq!(on_link("[fd00::1]:53", "[fe80::2%3]:1211").unwrap(), "[fd00::1]:53");
        assert_eq!(on_link("10.0.0.1:53", "127.0.0.1:1211").unwrap(), "10.0.0.1:53");
    }

    #[test]
    fn facts_end_and_are_bounded() {
        let (now, mut memory) = (Instant::now(), ShortLived::default());
        let minute = Duration::from_secs(60);
        for number in 0..=MOST_SERVERS {
            memory.insert(number, true, now, minute);
        }
        assert_eq!((memory.0.len(), memory.get(&0, now)), (MOST_SERVERS, Some(true)));
        assert_eq!(memory.get(&MOST_SERVERS, now), None, "no room");
        assert_eq!(memory.get(&0, now + minute), None);
        memory.insert(MOST_SERVERS, false, now + minute, minute);
        assert_eq!((memory.0.len(), memory.get(&MOST_SERVERS, now + minute)), (1, Some(false)));
    }
}
