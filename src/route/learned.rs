//! The addresses of names that a rule sends one way, in this process and in the kernel.

use super::{GroupPlace, Route};
use crate::stats::DecidedBy;
use crate::sync::lock;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// At most so many addresses are remembered; beyond, the ones that expired go, then new ones are
/// not taken.
const LEARNED_LIMIT: usize = 65_536;

/// What the resolver learned: the addresses of names that a rule sends one way.
///
/// [`learn`](Learned::learn) is the only entry: it updates the map that
/// [`Rules::route`](super::Rules::route) reads and tells the kernel (through [`Teach`]) before the
/// client gets the answer.
#[derive(Default)]
pub struct Learned {
    entries: Mutex<HashMap<IpAddr, LearnedWay>>,
    kernel: Mutex<Option<Box<dyn Teach>>>,
}

/// The way of a name that a rule or a list sends one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedWay {
    /// What becomes of its connections.
    pub route: Route,
    /// The group of proxies that carries them, if one does.
    pub group: GroupPlace,
    /// What says so.
    pub by: DecidedBy,
}

/// The way of one address.
#[derive(Clone, Copy, PartialEq)]
struct LearnedWay {
    route: Route,
    group: GroupPlace,
    by: DecidedBy,
    expiry: Instant,
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
        let known: Vec<(IpAddr, LearnedWay)> =
            lock(&self.entries).iter().map(|(address, entry)| (*address, *entry)).collect();
        for portion in known.chunks(64) {
            let connected = lock(&self.kernel);
            let Some(kernel) = &*connected else { return };
            let now = Instant::now();
            for (address, entry) in portion {
                let still = lock(&self.entries).get(address) == Some(entry);
                if still && entry.expiry > now {
                    entry.teach(*address, kernel.as_ref(), now);
                }
            }
        }
    }

    fn teach_all(&self, kernel: &dyn Teach) {
        let now = Instant::now();
        for (address, entry) in &*lock(&self.entries) {
            if entry.expiry > now {
                entry.teach(*address, kernel, now);
            }
        }
    }

    /// Remembers that `address` takes `route` for `ttl`. Returns whether it was taken.
    pub fn learn(&self, address: IpAddr, route: Route, ttl: Duration) -> bool {
        let by = super::by_name_of(route);
        self.learn_via(address, NamedWay { route, group: GroupPlace::default(), by }, ttl)
    }

    /// The same with the group of proxies that carries it, where the route is the proxy.
    pub fn learn_via(&self, address: IpAddr, way: NamedWay, ttl: Duration) -> bool {
        let NamedWay { route, group, by } = way;
        let now = Instant::now();
        {
            let mut entries = lock(&self.entries);
            if entries.len() >= LEARNED_LIMIT && !entries.contains_key(&address) {
                entries.retain(|_, entry| entry.expiry > now);
                if entries.len() >= LEARNED_LIMIT {
                    return false;
                }
            }
            entries.insert(address, LearnedWay { route, group, by, expiry: now + ttl });
        }
        if let Some(kernel) = &*lock(&self.kernel) {
            kernel.teach(address, route, ttl);
        }
        true
    }

    /// The way of this address, unless it has expired.
    pub(super) fn route(&self, address: IpAddr, now: Instant) -> Option<NamedWay> {
        let entries = lock(&self.entries);
        if entries.is_empty() {
            return None;
        }
        let entry = entries.get(&address).filter(|entry| entry.expiry > now)?;
        let LearnedWay { route, group, by, .. } = *entry;
        Some(NamedWay { route, group, by })
    }
}

impl LearnedWay {
    fn teach(&self, address: IpAddr, kernel: &dyn Teach, now: Instant) {
        kernel.teach(address, self.route, self.expiry.saturating_duration_since(now));
    }
}
