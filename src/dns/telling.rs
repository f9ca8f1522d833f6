//! Remembers which client was told which addresses of which name, for the dispatcher: it may tell
//! a proxy the name in place of the address.
//!
//! Told are the addresses that public servers gave, under the name that the client asked for,
//! whatever aliases lie between. Not told is what only this machine or a near server knows (hosts,
//! special names, the servers of `dns.forward` and of local names, the asked server): the far side
//! of a proxy would look for it in vain.

use super::client_query::{Came, ClientQuery};
use super::policy::{Ask, QueryPolicy};
use super::reply::Stored;
use super::wire::rr;
use crate::dispatch::Current;
use crate::domain::Name;
use crate::route::ClientHost;
use std::time::Duration;

/// A program connects a little after the answer has ended: so long a name stays known.
const TOLD_BEYOND_TTL: Duration = Duration::from_secs(60);

/// Addresses of one answer that are remembered.
const MOST_TOLD: usize = 64;

/// The way to the dispatcher.
#[derive(Clone)]
pub(super) struct ClientTelling {
    current: Current,
}

impl ClientTelling {
    pub(super) fn new(current: Current) -> Self {
        ClientTelling { current }
    }

    /// The client is given this answer, which lives so long.
    pub(super) fn tell(
        &self,
        policy: &QueryPolicy,
        asked: &ClientQuery<'_>,
        stored: &Stored,
        life: Duration,
    ) {
        let ClientQuery { query, client, came, at, .. } = *asked;
        if !matches!(query.qtype(), rr::A | rr::AAAA) {
            return;
        }
        let local = match came {
            Came::Datagram(local) => Some(local.ip()),
            Came::Redirected(_) | Came::DatagramToUs | Came::ToUs => None,
        };
        let host = ClientHost::of(client.ip(), local);
        let expiry = at + life + TOLD_BEYOND_TTL;
        let dispatcher = self.current.load();
        let mut telling = dispatcher.told().telling();
        // The common case, without an allocation.
        if telling.renew(host, query.name(), stored.records_of_addresses(), expiry) {
            return;
        }
        if matches!(policy.ask(query), Ask::Forward(_) | Ask::Local) {
            return;
        }
        let Some(name) = query.to_name().filter(is_of_a_host) else { return };
        for address in stored.addresses().into_iter().take(MOST_TOLD) {
            telling.tell(host, &name, address, expiry, at);
        }
    }
}

/// Whether a proxy can be told it: letters, digits, `-` and `_`, of more than one label, and not
/// what would pass for an address.
fn is_of_a_host(name: &Name) -> bool {
    let is_usual = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let mut labels = name.labels();
    labels.by_ref().all(|label| label.iter().all(is_usual))
        && name.labels().count() > 1
        && name.labels().last().is_some_and(|top| top.iter().any(u8::is_ascii_alphabetic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_hosts_are_told() {
        let of_a_host = |wire: &[u8]| is_of_a_host(&Name::from_wire(wire).unwrap());
        assert!(of_a_host(b"\x03www\x07example\x00"));
        assert!(of_a_host(b"\x05a_b-c\x07example\x00"));
        assert!(!of_a_host(b"\x00"));
        assert!(!of_a_host(b"\x07example\x00"), "a search list may complete it elsewhere");
        assert!(!of_a_host(b"\x03a\r\n\x07example\x00"));
        assert!(!of_a_host(b"\x03a.b\x07example\x00"));
        assert!(!of_a_host(b"\x03192\x010\x012\x011\x00"));
    }
}
