//! The sets of the table. Pure.

use super::table::{Element, InterfaceName, NftSet, SetKey, Shape};
use crate::family::Family;
use crate::firewall::entry::Entry;
use crate::firewall::environment::lan::LanSide;
use crate::firewall::flow::Flow;
use crate::firewall::names::PREFIX;
use crate::firewall::ruleset::Ruleset;
use crate::firewall::sets;
use crate::firewall::switch::{OnFailure, RULE_LIFETIME};
use crate::route::Route;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The dead man's switch: the rules act while the family of the packet is in it.
pub(super) const ALIVE: &str = "alive";

/// Families that are rejected while the other one is captured.
pub(super) const REJECTED: &str = "rejected";

/// The same two for foreign UDP.
pub(super) const ALIVE_DATAGRAMS: &str = "alive-udp";
pub(super) const REJECTED_DATAGRAMS: &str = "rejected-udp";

/// In a closed table: both families, once its sets hold what they should.
pub(super) const SETTLED: &str = "settled";

/// The name, in the table, of a set of the other backend.
pub(super) fn set_name(set: sets::Set, family: Family) -> String {
    let name = set.name(family);
    name.strip_prefix(PREFIX).unwrap_or(&name).to_string()
}

/// The switch of this name, with these families.
pub(super) fn switch(name: &str, families: &[Family]) -> NftSet {
    NftSet {
        name: name.into(),
        key: SetKey::Family,
        shape: Shape::Switch { timeout: RULE_LIFETIME },
        elements: families.iter().copied().map(Element::Family).collect(),
    }
}

/// The set of addresses that were learned to take this route, with one address.
pub(super) fn learned(address: IpAddr, route: Route) -> NftSet {
    let family = Family::of(address);
    let set = sets::Set::learned(route);
    let elements = vec![Element::Range(address, address)];
    NftSet { elements, ..empty_set(set, family) }
}

/// The sets of what was learned, empty.
pub(super) fn all_learned() -> Vec<NftSet> {
    let of = |family| {
        [Route::Block, Route::Proxy, Route::Direct]
            .map(|route| empty_set(sets::Set::learned(route), family))
    };
    Family::ALL.into_iter().flat_map(of).collect()
}

/// The name of the set of domestic addresses that this address would be in.
pub(super) fn china(address: IpAddr) -> String {
    set_name(sets::Set::China, Family::of(address))
}

/// What asks whether a set holds an address; a switch holds families. A tree of ranges is asked by
/// one key, as if it were a set of values: of a key with an end it would be asked whether it has
/// just that range (nft_get_set_elem).
pub(super) fn single(set: sets::Set, address: IpAddr) -> NftSet {
    let family = Family::of(address);
    if set.kind() == sets::SetKind::Switch {
        let name = set.word();
        return NftSet { name: name.into(), ..switch(ALIVE, &[family]) };
    }
    let elements = vec![Element::Range(address, address)];
    NftSet { shape: Shape::Values, elements, ..empty_set(set, family) }
}

/// The set of upstream servers, with these addresses of one family.
pub(super) fn servers(addresses: &[IpAddr], family: Family) -> NftSet {
    let ours = addresses.iter().copied().filter(|address| Family::of(*address) == family);
    let elements = ours.map(|address| Element::Range(address, address)).collect();
    NftSet { elements, ..empty_set(sets::Set::Servers, family) }
}

/// The set of UDP flows that are older than the capture, with these of one family.
pub(super) fn older(flows: &[Flow], family: Family) -> NftSet {
    let ours = flows.iter().filter(|flow| Family::of(flow.source.ip()) == family);
    let elements = ours.map(|flow| Element::Flow(flow.source, flow.destination)).collect();
    NftSet { elements, ..empty_set(sets::Set::Older, family) }
}

pub(super) fn all_sets(ruleset: &Ruleset) -> Vec<NftSet> {
    let filled = Family::ALL.into_iter().flat_map(|family| {
        // The switch is another one here, and serves both families; the LAN side is in `lan`.
        let mut others = sets::Set::of(ruleset);
        others.retain(|set| {
            !matches!(set.kind(), sets::SetKind::Switch | sets::SetKind::AtInterfaces)
        });
        others.into_iter().map(move |set| {
            let content = set.content(ruleset, family);
            NftSet { elements: elements(&content), ..empty_set(set, family) }
        })
    });
    let lan = ruleset.policy.lan.iter().flat_map(|_| lan_side(&ruleset.environment.lan));
    let switches = [ALIVE, REJECTED, ALIVE_DATAGRAMS, REJECTED_DATAGRAMS];
    let mut sets = switches.map(|name| switch(name, &[])).to_vec();
    if ruleset.policy.on_failure == OnFailure::Closed {
        sets.push(NftSet {
            name: SETTLED.into(),
            key: SetKey::Family,
            shape: Shape::Latch,
            elements: Family::ALL.map(Element::Family).into(),
        });
    }
    sets.into_iter().chain(filled).chain(lan).collect()
}

fn empty_set(set: sets::Set, family: Family) -> NftSet {
    let size = u32::try_from(sets::GROWING).unwrap_or(u32::MAX);
    let shape = match set.kind() {
        sets::SetKind::Prefixes | sets::SetKind::Switch => Shape::Intervals,
        sets::SetKind::Addresses | sets::SetKind::AtInterfaces => Shape::Values,
        sets::SetKind::Expiring => Shape::Expiring { size },
        sets::SetKind::Flows { timeout } => Shape::Flows { size, timeout },
    };
    let key = match shape {
        Shape::Flows { .. } => SetKey::Flow(family),
        _ => SetKey::Address(family),
    };
    NftSet { name: set_name(set, family), key, shape, elements: Vec::new() }
}

/// The interfaces of the LAN side, of each family.
fn lan_side(lan: &LanSide) -> impl Iterator<Item = NftSet> {
    Family::ALL.into_iter().map(|family| {
        let captured = lan.interfaces.iter().filter(|interface| interface.captures(family));
        let elements =
            captured.map(|at| Element::Interface(InterfaceName::new(&at.name))).collect();
        let name = set_name(sets::Set::Lan, family);
        NftSet { name, key: SetKey::Interface, shape: Shape::Values, elements }
    })
}

/// Ascending prefixes as ranges. Those that touch become one: half the elements for the kernel.
/// Addresses stay what they are.
fn elements(entries: &[Entry]) -> Vec<Element> {
    let mut ranges: Vec<Element> = Vec::with_capacity(entries.len());
    for entry in entries {
        match (entry, ranges.last_mut()) {
            (Entry::Address(address), _) => ranges.push(Element::Range(*address, *address)),
            (Entry::Prefix(prefix), Some(Element::Range(_, last)))
                if successor(*last) == Some(prefix.network()) =>
            {
                *last = prefix.broadcast();
            }
            (Entry::Prefix(prefix) | Entry::At(prefix, _), _) => {
                ranges.push(Element::Range(prefix.network(), prefix.broadcast()));
            }
        }
    }
    ranges
}

/// The next address of the same family.
pub(super) fn successor(address: IpAddr) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(v4) => Ipv4Addr::from(u32::from(v4).checked_add(1)?).into(),
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6).checked_add(1)?).into(),
    })
}
