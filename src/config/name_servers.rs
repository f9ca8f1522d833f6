//! Lists of name servers, and what may not stand in them.

use super::ListenConfig;
use super::address::{name_server, suffix};
use super::item::Item;
use crate::dns::household::Household;
use crate::dns::{NameServer, Transport};
use crate::domain::DomainMap;
use std::net::SocketAddr;

/// Name servers, none of them ourselves, each once.
pub(super) fn name_servers(
    elements: Vec<Item<'_>>,
    own: &OwnListeners<'_>,
) -> Option<Vec<NameServer>> {
    let mut servers = Vec::new();
    let mut sound = true;
    for item in elements {
        let server = item.parse(name_server).and_then(|server| {
            if own.has(server.address) {
                item.refuse(
                    "another name server than snet itself, which would ask itself in a circle",
                )
            } else if servers.contains(&server) {
                item.refuse("each name server once")
            } else {
                Some(server)
            }
        });
        sound &= server.is_some();
        servers.extend(server);
    }
    sound.then_some(servers)
}

/// Name servers in one's own network, or at the other end of a tunnel.
pub(super) fn plain_servers(
    elements: Vec<Item<'_>>,
    own: &OwnListeners<'_>,
) -> Option<Vec<SocketAddr>> {
    let plain = |(item, server): (&Item<'_>, &NameServer)| match server.transport {
        Transport::Plain => Some(server.address),
        _ => item.not_yet("ip, ip:port or [v6]:port"),
    };
    let items = elements.clone();
    let servers = name_servers(elements, own)?;
    let found: Vec<_> = items.iter().zip(&servers).map(plain).collect();
    found.into_iter().collect()
}

/// Where snet itself is a name server.
#[derive(Clone, Copy)]
pub(super) struct OwnListeners<'a> {
    pub(super) listen: &'a ListenConfig,
    pub(super) household: &'a Household,
}

impl OwnListeners<'_> {
    fn has(&self, server: SocketAddr) -> bool {
        server.port() == self.listen.dns_port && self.listen.is_own(server.ip())
            || self.household.addresses().any(|own| own == server)
    }
}

pub(super) fn not_empty<T>(item: &Item<'_>, servers: Vec<T>) -> Option<Vec<T>> {
    if servers.is_empty() { item.refuse("at least one name server") } else { Some(servers) }
}

/// A server on both sides would make every judgement worthless.
pub(super) fn apart(
    item: &Item<'_>,
    trusted: Vec<NameServer>,
    china: &[NameServer],
) -> Option<Vec<NameServer>> {
    // One server may be asked in several ways; on a port of its own it is another.
    let identity = |server: &NameServer| {
        let port = server.address.port();
        (server.address.ip(), (port != server.transport.port()).then_some(port))
    };
    let is_domestic =
        |server: &&NameServer| china.iter().any(|other| identity(other) == identity(server));
    match trusted.iter().find(is_domestic) {
        Some(both) => {
            item.refuse_as(format!("{both}, which is in china too"), "no server on both sides")
        }
        None => Some(trusted),
    }
}

/// Domains with name servers of their own.
pub(super) fn forward(
    item: &Item<'_>,
    own: &OwnListeners<'_>,
) -> Option<DomainMap<Vec<SocketAddr>>> {
    let mut forward = DomainMap::default();
    for (key, item) in item.entries()? {
        let name = match suffix(key) {
            Ok(name) if name.as_wire() != [0] => name,
            Ok(_) => {
                item.refuse_as::<()>(
                    "the root",
                    "a domain; for all others there are china and trusted",
                );
                continue;
            }
            Err(accepted) => {
                item.refuse_as::<()>("this name", accepted);
                continue;
            }
        };
        let Some(servers) = item.one_or_more().and_then(|list| plain_servers(list, own)) else {
            continue;
        };
        let Some(servers) = not_empty(&item, servers) else { continue };
        if forward.insert(&name, servers).is_some() {
            item.refuse_as::<()>(format!("{name} a second time"), "each name once");
        }
    }
    Some(forward)
}
