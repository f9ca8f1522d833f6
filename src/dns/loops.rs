//! Notices that our own questions come back to us, which would go on for ever.
//!
//! Two ways lead there. Somebody's rule overwrites our mark, so that our own datagram is redirected
//! to us: its source is one of our sockets. Or a name server that we ask forwards to us: then a
//! name comes back that we made up for this server alone (see [`rewriting`](super::rewriting)).

use super::wire::Query;
use crate::domain::Name;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::rc::Rc;
use tracing::warn;

/// What tells our own questions from others.
#[derive(Debug, Default)]
pub(super) struct Loops {
    /// Our sockets that wait for replies.
    sockets: Rc<Sockets>,
    /// Made-up names and whom they were asked of.
    probes: RefCell<HashMap<Name, SocketAddr>>,
    warned: Cell<bool>,
}

type Sockets = RefCell<HashSet<SocketAddr>>;

/// One of our sockets, known as such until dropped.
#[derive(Debug)]
pub(super) struct Own {
    address: SocketAddr,
    sockets: Rc<Sockets>,
}

impl Drop for Own {
    fn drop(&mut self) {
        self.sockets.borrow_mut().remove(&self.address);
    }
}

impl Loops {
    /// Our socket with this address is about to ask.
    pub(super) fn note(&self, address: SocketAddr) -> Own {
        self.sockets.borrow_mut().insert(address);
        Own { address, sockets: Rc::clone(&self.sockets) }
    }

    /// The name is asked of this server and nowhere else.
    pub(super) fn note_probe(&self, name: Name, server: SocketAddr) {
        self.probes.borrow_mut().insert(name, server);
    }

    /// Whether a query is our own; says so once.
    pub(super) fn closes(&self, query: &Query, client: SocketAddr) -> bool {
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        if self.sockets.borrow().contains(&client) {
            self.warn_once(
                "our own queries come back to us: a rule of somebody else overwrites our mark; \
                 `iptables -t mangle -S` and `nft list ruleset` show who sets marks",
            );
            return true;
        }
        let probes = self.probes.borrow();
        let asked = query.to_name().and_then(|name| probes.get(&name).copied());
        if let Some(server) = asked {
            self.warn_once(&format!(
                "the name server {server} asks us what we ask it: take it out of [dns], or let it \
                 forward to another"
            ));
        }
        asked.is_some()
    }

    fn warn_once(&self, what: &str) {
        if !self.warned.replace(true) {
            warn!("{what}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::wire::rr;

    #[test]
    fn own_sockets_and_own_names() {
        let loops = Loops::default();
        let query = |name: &str| Query::new(&name.parse().unwrap(), rr::A);
        let own = loops.note("192.0.2.1:4000".parse().unwrap());
        let closes = |name, client: &str| loops.closes(&query(name), client.parse().unwrap());
        assert!(closes("a.example", "192.0.2.1:4000"));
        assert!(closes("a.example", "[::ffff:192.0.2.1]:4000"));
        assert!(!closes("a.example", "192.0.2.1:4001"));
        drop(own);
        assert!(!closes("a.example", "192.0.2.1:4000"));
        loops.note_probe("qwe.com".parse().unwrap(), "192.0.2.53:53".parse().unwrap());
        assert!(closes("QWE.com", "192.0.2.7:1"));
        assert!(loops.warned.get());
    }
}
