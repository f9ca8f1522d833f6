//! Whether a table of nft's own translates what leaves: a dump over nfnetlink; no tool is needed.
//!
//! Source: linux/netfilter/nf_tables.h (enum nft_chain_attributes).

use super::{NFGENMSG, OF_ALL_FAMILIES, attribute, dump};
use crate::family::Family;
use std::io;

/// NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWCHAIN and NFT_MSG_GETCHAIN.
const CHAIN: u16 = 10 << 8 | 3;
const GET: u16 = 10 << 8 | 4;

const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;

/// NF_INET_POST_ROUTING
const POSTROUTING: u32 = 4;

/// The table that iptables-nft has.
const OF_IPTABLES: &[u8] = b"nat\0";

/// Whether another table than that of iptables-nft has a chain of nat at POSTROUTING.
///
/// # Errors
/// What the kernel says, for instance that it has no nf_tables.
pub(in crate::firewall) fn are_elsewhere(family: Family) -> io::Result<bool> {
    let mut found = false;
    dump(GET, CHAIN, &[&OF_ALL_FAMILIES], |body| {
        found = is_elsewhere(body, family).unwrap_or(false);
        !found
    })?;
    Ok(found)
}

/// `None`: it is no base chain, or cut off.
fn is_elsewhere(body: &[u8], family: Family) -> Option<bool> {
    let (head, list) = body.split_at_checked(NFGENMSG)?;
    let own = match family {
        Family::V4 => 2,
        Family::V6 => 10,
    };
    let is_of_family = [own, 1].contains(head.first()?);
    let hook = attribute(list, NFTA_CHAIN_HOOK)?;
    let hook: [u8; 4] = attribute(hook, NFTA_HOOK_HOOKNUM)?.try_into().ok()?;
    Some(
        is_of_family
            && attribute(list, NFTA_CHAIN_TYPE)? == b"nat\0"
            && u32::from_be_bytes(hook) == POSTROUTING
            && attribute(list, NFTA_CHAIN_TABLE)? != OF_IPTABLES,
    )
}

/// Reads a chain. For `reading`.
pub(in crate::firewall) fn read_any(body: &[u8]) {
    let _ = is_elsewhere(body, Family::V4);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::netlink::{Attributes, nfgenmsg};

    fn body(family: u8, table: &str, kind: &str, hook: u32) -> Vec<u8> {
        let mut attributes = Attributes::default();
        attributes.text(NFTA_CHAIN_TABLE, table);
        attributes.nest(NFTA_CHAIN_HOOK, |nest| nest.number(NFTA_HOOK_HOOKNUM, hook));
        attributes.text(NFTA_CHAIN_TYPE, kind);
        [&nfgenmsg(family, 0), attributes.as_bytes()].concat()
    }

    #[test]
    fn a_masquerade_of_another_table_is_known() {
        let is = |body: &[u8]| is_elsewhere(body, Family::V4);
        let whole = body(2, "home", "nat", POSTROUTING);
        assert_eq!(is(&whole), Some(true));
        assert_eq!(is(&body(1, "fw4", "nat", POSTROUTING)), Some(true));
        for other in [
            body(10, "home", "nat", POSTROUTING),
            body(2, "nat", "nat", POSTROUTING),
            body(2, "home", "filter", POSTROUTING),
            body(2, "home", "nat", 0),
        ] {
            assert_eq!(is(&other), Some(false));
        }
        for length in 0..whole.len() {
            assert_ne!(is(&whole[..length]), Some(true), "{length}");
        }
    }
}
