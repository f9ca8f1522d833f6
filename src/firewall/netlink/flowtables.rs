//! The flowtables that other programs have, as a dump over nfnetlink; no tool is needed.
//!
//! A kernel that was built without flowtables answers with an empty list: the question is
//! nf_tables' own (net/netfilter/nf_tables_api.c, nf_tables_getflowtable,
//! nf_tables_fill_flowtable_info).
//!
//! Source: linux/netfilter/nf_tables.h (enum nft_flowtable_attributes).

use super::{NFGENMSG, OF_ALL_FAMILIES, attribute, attributes, dump};
use crate::firewall::names::TABLE;
use std::io;

/// NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWFLOWTABLE and NFT_MSG_GETFLOWTABLE.
const FLOWTABLE: u16 = 10 << 8 | 22;
const GET: u16 = 10 << 8 | 23;

pub(in crate::firewall) const NFTA_FLOWTABLE_TABLE: u16 = 1;
pub(in crate::firewall) const NFTA_FLOWTABLE_NAME: u16 = 2;
pub(in crate::firewall) const NFTA_FLOWTABLE_HOOK: u16 = 3;
pub(in crate::firewall) const NFTA_FLOWTABLE_HOOK_DEVS: u16 = 3;
pub(in crate::firewall) const NFTA_DEVICE_NAME: u16 = 1;

/// A flowtable of another program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::firewall) struct ThirdPartyFlowtable {
    /// As nft(8) names it: `inet fw4`.
    pub(in crate::firewall) table: String,
    pub(in crate::firewall) name: String,
    /// The interfaces at which it looks at packets.
    pub(in crate::firewall) devices: Vec<String>,
}

/// Those of all tables but ours.
///
/// # Errors
/// What the kernel says, for instance that it has no nf_tables.
pub(in crate::firewall) fn third_party() -> io::Result<Vec<ThirdPartyFlowtable>> {
    let mut found = Vec::new();
    dump(GET, FLOWTABLE, &[&OF_ALL_FAMILIES], |body| {
        found.extend(read(body));
        true
    })?;
    Ok(found)
}

/// `None`: it is ours, or cut off.
fn read(body: &[u8]) -> Option<ThirdPartyFlowtable> {
    let (head, list) = body.split_at_checked(NFGENMSG)?;
    let text = |value: &[u8]| {
        String::from_utf8_lossy(value.split(|byte| *byte == 0).next().unwrap_or_default())
            .into_owned()
    };
    let family = match *head.first()? {
        1 => "inet",
        2 => "ip",
        10 => "ip6",
        _ => "other",
    };
    let table = text(attribute(list, NFTA_FLOWTABLE_TABLE)?);
    if (family, table.as_str()) == ("inet", TABLE) {
        return None;
    }
    let hook = attribute(list, NFTA_FLOWTABLE_HOOK).unwrap_or_default();
    let devices = attribute(hook, NFTA_FLOWTABLE_HOOK_DEVS).unwrap_or_default();
    let devices = attributes(devices).filter(|(kind, _)| *kind == NFTA_DEVICE_NAME);
    Some(ThirdPartyFlowtable {
        table: format!("{family} {table}"),
        name: text(attribute(list, NFTA_FLOWTABLE_NAME)?),
        devices: devices.map(|(_, name)| text(name)).collect(),
    })
}

/// Reads a flowtable. For `reading`.
pub(in crate::firewall) fn read_any(body: &[u8]) {
    let _ = read(body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::netlink::{Attributes, nfgenmsg};

    fn body(family: u8, table: &str, devices: &[&str]) -> Vec<u8> {
        let mut attributes = Attributes::default();
        attributes.text(NFTA_FLOWTABLE_TABLE, table);
        attributes.text(NFTA_FLOWTABLE_NAME, "ft");
        attributes.nest(NFTA_FLOWTABLE_HOOK, |hook| {
            hook.number(1, 0);
            hook.nest(NFTA_FLOWTABLE_HOOK_DEVS, |list| {
                devices.iter().for_each(|device| list.text(NFTA_DEVICE_NAME, device));
            });
        });
        [&nfgenmsg(family, 0), attributes.as_bytes()].concat()
    }

    #[test]
    fn tables_of_others_and_their_devices() {
        let whole = body(1, "fw4", &["br-lan", "eth0"]);
        let found = read(&whole).unwrap();
        assert_eq!((found.table.as_str(), found.name.as_str()), ("inet fw4", "ft"));
        assert_eq!(found.devices, ["br-lan", "eth0"]);
        for length in 0..whole.len() {
            let cut = read(&whole[..length]);
            assert!(cut.is_none_or(|cut| found.devices.starts_with(&cut.devices)), "{length}");
        }
        assert_eq!(read(&body(10, "mine", &[])).unwrap().table, "ip6 mine");
        assert_eq!(read(&body(1, TABLE, &["br-lan"])), None, "ours");
        assert_eq!(read(&body(2, TABLE, &[])).unwrap().table, "ip snet", "of that name, not ours");
    }
}
