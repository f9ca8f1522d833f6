//! Notices that our own questions come back to us, which would go on for ever.
//!
//! Two ways lead there. A rule of another program overwrites our mark, so that our own datagram is
//! redirected to us: its source is one of our sockets. Or a name server that we ask forwards to us:
//! then a name comes back that we made up for this server alone (see
//! [`rewriting`](super::rewriting)). If it is the server that a program asked
//! ([`split_horizon`](super::split_horizon)), the very question comes back.

use super::wire::Query;
use crate::domain::Name;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use tracing::warn;

/// What tells our own questions from others.
#[derive(Debug, Default)]
pub(super) struct QueryLoops {
    /// Our sockets that wait for replies.
    sockets: Rc<OwnSockets>,
    /// Made-up names and the servers that they were asked of.
    probes: RefCell<HashMap<Name, SocketAddr>>,
    /// What is being asked of servers that programs asked.
    questions: Rc<Questions>,
    warned: Cell<bool>,
}

type OwnSockets = RefCell<HashSet<SocketAddr>>;

/// Name, type and server.
type AskedQuestion = (Box<[u8]>, u16, IpAddr);
type Questions = RefCell<HashSet<AskedQuestion>>;

/// A question to a server, known as ours until dropped.
#[derive(Debug)]
pub(super) struct Asking {
    question: AskedQuestion,
    questions: Rc<Questions>,
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.questions.borrow_mut().remove(&self.question);
    }
}

/// One of our sockets, known as such until dropped.
#[derive(Debug)]
pub(super) struct OwnSocket {
    address: SocketAddr,
    sockets: Rc<OwnSockets>,
}

impl Drop for OwnSocket {
    fn drop(&mut self) {
        self.sockets.borrow_mut().remove(&self.address);
    }
}

impl QueryLoops {
    /// Our socket with this address is about to ask.
    pub(super) fn note(&self, address: SocketAddr) -> OwnSocket {
        self.sockets.borrow_mut().insert(address);
        OwnSocket { address, sockets: Rc::clone(&self.sockets) }
    }

    /// The name is asked of this server and nowhere else.
    pub(super) fn note_probe(&self, name: Name, server: SocketAddr) {
        self.probes.borrow_mut().insert(name, server);
    }

    /// This server elsewhere is about to be asked the question that a program asked it.
    pub(super) fn note_question(&self, query: &Query, server: IpAddr) -> Asking {
        let question = (query.name().into(), query.qtype(), server);
        self.questions.borrow_mut().insert(question.clone());
        Asking { question, questions: Rc::clone(&self.questions) }
    }

    /// Whether a query is our own; says so once. Our sockets send datagrams: a program of this
    /// machine that asks over a connection may have the same address and port.
    pub(super) fn closes(&self, query: &Query, client: SocketAddr, is_datagram: bool) -> bool {
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        if is_datagram && self.sockets.borrow().contains(&client) {
            self.warn_once(
                "our own queries come back to us: a rule of somebody else overwrites our mark; \
                 `iptables -t mangle -S` and `nft list ruleset` show who sets marks",
            );
            return true;
        }
        let questions = self.questions.borrow();
        if !questions.is_empty()
            && questions.contains(&(query.name().into(), query.qtype(), client.ip()))
        {
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
        let loops = QueryLoops::default();
        let query = |name: &str| Query::new(&name.parse().unwrap(), rr::A);
        let own = loops.note("192.0.2.1:4000".parse().unwrap());
        let closes = |name, client: &str| loops.closes(&query(name), client.parse().unwrap(), true);
        assert!(closes("a.example", "192.0.2.1:4000"));
        assert!(closes("a.example", "[::ffff:192.0.2.1]:4000"));
        assert!(!closes("a.example", "192.0.2.1:4001"));
        let over_tcp = loops.closes(&query("a.example"), own.address, false);
        assert!(!over_tcp, "another socket, of whomever");
        drop(own);
        assert!(!closes("a.example", "192.0.2.1:4000"));
        loops.warned.set(false);
        let asking = loops.note_question(&query("b.example"), "192.0.2.1".parse().unwrap());
        assert!(closes("B.example", "192.0.2.1:4000") && !closes("b.example", "192.0.2.2:4000"));
        assert!(!loops.warned.get(), "that is nobody's fault");
        drop(asking);
        assert!(!closes("b.example", "192.0.2.1:4000"));
        loops.note_probe("qwe.com".parse().unwrap(), "192.0.2.53:53".parse().unwrap());
        assert!(closes("QWE.com", "192.0.2.7:1"));
        assert!(loops.warned.get());
    }
}
