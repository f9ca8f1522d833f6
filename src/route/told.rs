//! By which name a client found an address: what the resolver told it, for as long as the answer
//! lives.
//!
//! The resolver writes it when it answers, the dispatcher reads it when that client connects. It
//! decides on no route. Invariants: at most [`TOLD_LIMIT`] addresses in all and [`SHARE`] of a
//! client, the oldest going first unless they were told again; renewing what is known allocates
//! nothing.

use crate::domain::Name;
use crate::sync::lock;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

/// At most so many addresses of all clients together.
const TOLD_LIMIT: usize = 16_384;

/// At most so many of one client.
const SHARE: usize = 4096;

/// Who asks and connects: this machine, whichever of its addresses it uses, or another host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientHost {
    /// This machine itself.
    ThisMachine,
    /// The host with this address.
    Other(IpAddr),
}

impl ClientHost {
    /// The host at `client` whose packets came to the address `at`, if that is known. The kernel
    /// redirects what this machine sends to a loopback address (nf_nat_redirect.c), and what
    /// others send to the address of the interface.
    pub fn of(client: IpAddr, at: Option<IpAddr>) -> Self {
        let client = client.to_canonical();
        let at = at.map(|at| at.to_canonical());
        let came_by_loopback = at.is_some_and(|at| at.is_loopback());
        if client.is_loopback() || came_by_loopback || at == Some(client) {
            return ClientHost::ThisMachine;
        }
        ClientHost::Other(client)
    }
}

/// By which name a client found an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldName {
    /// Dotted, without a final dot; letters, digits, `-` and `_` alone.
    pub name: Box<str>,
    /// No other name led the client to the same address lately.
    pub is_sole: bool,
}

/// What the resolver told each client. It outlives reloads.
#[derive(Default)]
pub struct ToldNames(Mutex<ToldHosts>);

/// The same, held: for one answer with all its addresses.
pub struct Telling<'a>(MutexGuard<'a, ToldHosts>);

#[derive(Default)]
struct ToldHosts {
    hosts: HashMap<ClientHost, ToldHost>,
    addresses: usize,
}

#[derive(Default)]
struct ToldHost {
    addresses: HashMap<IpAddr, ToldAddress>,
    /// Each address once, the oldest in front.
    order: VecDeque<IpAddr>,
}

struct ToldAddress {
    name: Name,
    expiry: Instant,
    /// Until when another name leads there too.
    shared_until: Option<Instant>,
    /// It was told again since it stood in front.
    is_renewed: bool,
}

impl std::fmt::Debug for ToldNames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ToldNames({} addresses)", lock(&self.0).addresses)
    }
}

impl ToldNames {
    /// Begins to tell.
    pub fn telling(&self) -> Telling<'_> {
        Telling(lock(&self.0))
    }

    /// The name by which the client found the address, unless that was too long ago: of several,
    /// the latest.
    pub fn find(&self, client: ClientHost, address: IpAddr, now: Instant) -> Option<ToldName> {
        let told = lock(&self.0);
        let known = told.hosts.get(&client)?.addresses.get(&address.to_canonical())?;
        if known.expiry <= now {
            return None;
        }
        let is_sole = known.shared_until.is_none_or(|until| until <= now);
        let name = known.name.clone();
        drop(told);
        Some(ToldName { name: name.to_string().into(), is_sole })
    }
}

impl Telling<'_> {
    /// Tells once more that the name (lower-case wire form) leads to these addresses, until
    /// `expiry`. False if one of them is new, or led elsewhere.
    pub fn renew(
        &mut self,
        client: ClientHost,
        name: &[u8],
        addresses: impl Iterator<Item = IpAddr>,
        expiry: Instant,
    ) -> bool {
        let mut host = self.0.hosts.get_mut(&client);
        let mut renew = |address| {
            let known = host.as_mut()?.addresses.get_mut(&address)?;
            if known.name.as_wire() != name {
                return None;
            }
            known.expiry = known.expiry.max(expiry);
            known.is_renewed = true;
            Some(())
        };
        let mut all = true;
        for address in addresses {
            all &= renew(address).is_some();
        }
        all
    }

    /// Tells that the name leads to the address until `expiry`; with this it is the latest.
    pub fn tell(
        &mut self,
        client: ClientHost,
        name: &Name,
        address: IpAddr,
        expiry: Instant,
        now: Instant,
    ) {
        let told = &mut *self.0;
        let host = told.hosts.entry(client).or_default();
        if let Some(known) = host.addresses.get_mut(&address) {
            known.lead_to(name, expiry, now);
            return;
        }
        if host.addresses.len() >= SHARE {
            told.addresses -= host.drop_oldest();
        }
        let name = name.clone();
        let new = ToldAddress { name, expiry, shared_until: None, is_renewed: false };
        host.addresses.insert(address, new);
        host.order.push_back(address);
        told.addresses += 1;
        if told.addresses > TOLD_LIMIT {
            told.make_room(now);
        }
    }
}

impl ToldHosts {
    /// What has expired goes; if nothing has, the oldest address of the host that has most.
    fn make_room(&mut self, now: Instant) {
        self.hosts.retain(|_, host| {
            host.addresses.retain(|_, known| known.expiry > now);
            host.order.retain(|address| host.addresses.contains_key(address));
            !host.addresses.is_empty()
        });
        self.addresses = self.hosts.values().map(|host| host.addresses.len()).sum();
        // A part of it at once, so that not every new address pays for the look at all of them.
        while self.addresses > TOLD_LIMIT - TOLD_LIMIT / 16 {
            let Some(largest) = self.hosts.values_mut().max_by_key(|it| it.addresses.len()) else {
                return;
            };
            let most = largest.addresses.len();
            let dropped: usize =
                (0..most.div_ceil(8)).map(|_| largest.drop_oldest()).take_while(|n| *n > 0).sum();
            self.addresses -= dropped;
            self.hosts.retain(|_, host| !host.addresses.is_empty());
        }
    }
}

impl ToldHost {
    /// Returns how many went: one, unless there is none.
    fn drop_oldest(&mut self) -> usize {
        while let Some(address) = self.order.pop_front() {
            match self.addresses.get_mut(&address) {
                Some(known) if known.is_renewed => {
                    known.is_renewed = false;
                    self.order.push_back(address);
                }
                _ => return usize::from(self.addresses.remove(&address).is_some()),
            }
        }
        0
    }
}

impl ToldAddress {
    fn lead_to(&mut self, name: &Name, expiry: Instant, now: Instant) {
        self.is_renewed = true;
        if self.name == *name {
            self.expiry = self.expiry.max(expiry);
            return;
        }
        if self.expiry > now {
            self.shared_until = self.shared_until.max(Some(self.expiry));
        }
        self.name = name.clone();
        self.expiry = expiry;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const ADDRESS: &str = "203.0.113.1";

    fn host(number: u16) -> ClientHost {
        ClientHost::of(ip(number), Some("192.168.1.1".parse().unwrap()))
    }

    fn ip(number: u16) -> IpAddr {
        let [high, low] = number.to_be_bytes();
        IpAddr::from([10, 0, high, low])
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn tell(told: &ToldNames, client: ClientHost, name: &str, address: IpAddr, until: Instant) {
        let now = until.checked_sub(seconds(60)).unwrap();
        told.telling().tell(client, &name.parse().unwrap(), address, until, now);
    }

    fn found(told: &ToldNames, client: ClientHost, now: Instant) -> Option<(String, bool)> {
        let found = told.find(client, ADDRESS.parse().unwrap(), now)?;
        Some((found.name.into(), found.is_sole))
    }

    fn start() -> Instant {
        Instant::now() + seconds(3600)
    }

    #[test]
    fn a_client_is_told_for_itself_and_for_a_time() {
        let (told, now) = (ToldNames::default(), start());
        tell(&told, host(1), "a.example", ADDRESS.parse().unwrap(), now + seconds(60));
        let a = Some(("a.example".to_owned(), true));
        assert_eq!(found(&told, host(1), now), a);
        assert_eq!(found(&told, host(1), now + seconds(59)), a);
        assert_eq!(found(&told, host(1), now + seconds(60)), None);
        assert_eq!(found(&told, host(2), now), None, "another client");
        assert_eq!(found(&told, ClientHost::ThisMachine, now), None);
    }

    #[test]
    fn of_two_names_the_latest_counts_and_both_are_in_doubt() {
        let (told, now) = (ToldNames::default(), start());
        let address = ADDRESS.parse().unwrap();
        tell(&told, host(1), "a.example", address, now + seconds(60));
        tell(&told, host(1), "b.example", address, now + seconds(90));
        let b = |is_sole| Some(("b.example".to_owned(), is_sole));
        assert_eq!(found(&told, host(1), now), b(false));
        assert_eq!(found(&told, host(1), now + seconds(60)), b(true), "the other one is over");
        tell(&told, host(1), "a.example", address, now + seconds(200));
        assert_eq!(found(&told, host(1), now + seconds(150)), Some(("a.example".into(), true)));
    }

    #[test]
    fn what_is_known_is_renewed() {
        let (told, now) = (ToldNames::default(), start());
        let address: IpAddr = ADDRESS.parse().unwrap();
        let renew = |name: &str, addresses: &[IpAddr]| {
            let name: Name = name.parse().unwrap();
            let addresses = addresses.iter().copied();
            told.telling().renew(host(1), name.as_wire(), addresses, now + seconds(100))
        };
        assert!(!renew("a.example", &[address]));
        assert!(renew("a.example", &[]));
        tell(&told, host(1), "a.example", address, now + seconds(60));
        assert!(!renew("b.example", &[address]));
        assert!(!renew("a.example", &[address, ip(7)]));
        assert!(renew("a.example", &[address]));
        assert!(found(&told, host(1), now + seconds(99)).is_some());
    }

    #[test]
    fn all_addresses_of_this_machine_are_one_client() {
        let of = |client: &str, at: Option<&str>| {
            ClientHost::of(client.parse().unwrap(), at.map(|at| at.parse().unwrap()))
        };
        for (client, at) in [
            ("127.0.0.1", None),
            ("::1", Some("::1")),
            ("192.168.1.5", Some("127.0.0.1")),
            ("2001:db8::5", Some("::1")),
            ("::ffff:192.168.1.5", Some("192.168.1.5")),
        ] {
            assert_eq!(of(client, at), ClientHost::ThisMachine, "{client}");
        }
        let other = ClientHost::Other("192.168.1.5".parse().unwrap());
        assert_eq!(of("::ffff:192.168.1.5", Some("192.168.1.1")), other);
        assert_eq!(of("192.168.1.5", None), other);
    }

    #[test]
    fn a_client_keeps_its_share_and_the_oldest_goes_unless_it_was_told_again() {
        let (told, until) = (ToldNames::default(), start());
        let count = u16::try_from(SHARE).unwrap();
        for number in 0..count {
            tell(&told, host(1), "a.example", ip(number), until);
        }
        tell(&told, host(1), "a.example", ip(0), until);
        tell(&told, host(1), "a.example", ip(count), until);
        let now = until - seconds(1);
        let known = |number| told.find(host(1), ip(number), now).is_some();
        assert!(known(0) && !known(1) && known(2) && known(count));
        assert_eq!(lock(&told.0).addresses, SHARE);
    }

    #[test]
    fn a_flood_of_clients_is_bounded_and_takes_from_the_largest() {
        let (told, until) = (ToldNames::default(), start());
        tell(&told, host(9), "a.example", ip(1), until);
        for client in 10..20 {
            for number in 0..2000 {
                tell(&told, host(client), "a.example", ip(number), until);
            }
        }
        let state = lock(&told.0);
        assert!(state.addresses <= TOLD_LIMIT);
        assert!(state.addresses > TOLD_LIMIT / 2);
        assert_eq!(state.hosts.len(), 11, "the small one kept its place");
        for host in state.hosts.values() {
            assert_eq!(host.addresses.len(), host.order.len());
        }
        drop(state);
        // What has expired goes first.
        for client in 30..39 {
            for number in 0..2000 {
                tell(&told, host(client), "a.example", ip(number), until + seconds(100));
            }
        }
        assert!(lock(&told.0).addresses <= TOLD_LIMIT);
    }
}
