//! Every reader of this room that is given bytes from outside, behind two doors: what cargo-fuzz
//! and `tests/corpus.rs` knock at.

use super::conflicts;
use super::environment::lan::{Interface, LanSide};
use super::iptables::residue;
use super::netlink::flows;
use super::netlink::flowtables;
use super::netlink::ipset;
use super::netlink::nat_chains;
use super::netlink::route;
use super::netlink::{Message, attributes};
use crate::ipset::IpSet;
use crate::mark::Fwmark;
use nix::sys::socket::AddressFamily;

/// Reads what netlink says: a datagram of rtnetlink, of ipset, of nf_tables.
pub fn netlink(datagram: &[u8]) {
    let mut bytes = 0;
    for message in Message::all(datagram) {
        bytes += message.body.len();
        let _ = message.errno();
        for family in [AddressFamily::Inet as u8, AddressFamily::Inet6 as u8] {
            route::read(message.body, family);
        }
        super::nftables::read(message);
        flows::read_any(message.body);
        flowtables::read_any(message.body);
        nat_chains::read_any(message.body);
        assert!(attributes(message.body).map(|(_, value)| value.len()).sum::<usize>() <= bytes);
    }
    assert!(bytes <= datagram.len(), "a byte was read twice");
    ipset::read(datagram);
}

/// Reads what `iptables-save` and `nft list ruleset` print, and removes it in thought.
pub fn rules(text: &str) {
    let found = residue::find(text);
    let removal = residue::removal(&found);
    assert_eq!(removal.matches("*").count() > 0, !found.is_empty());
    let _ = (residue::detachment(&found), residue::unreadable(text));
    for left in &found {
        for jump in &left.jumps {
            assert!(text.contains(jump.as_str()));
            let _ = residue::is_first(text, &left.table, jump, &[jump]);
        }
    }
    // What was removed leaves nothing to find.
    assert_eq!(residue::find(&removal), []);
    let at = |name: &str| Interface {
        name: name.into(),
        captured: [true; 2],
        on_link: IpSet::default(),
        is_bridge: false,
    };
    let lan = LanSide { interfaces: vec![at("br-lan"), at("wg0")], ..LanSide::default() };
    conflicts::read(text, &lan, Fwmark::SNET);
}
