//! `rules.via`: which group of proxies carries a destination.

use crate::domain::{DomainMap, Name};
use ipnet::IpNet;
use std::net::IpAddr;

/// A group of proxies, by its place among those of the configuration. The first one carries
/// whatever no rule gives to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupPlace(pub usize);

/// The groups of destinations; of several rules the most specific one counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupRules {
    /// The longest prefixes first.
    prefixes: Vec<(IpNet, GroupPlace)>,
    names: DomainMap<GroupPlace>,
    /// What the places mean: with other groups the same places say something else.
    groups: Vec<String>,
}

impl GroupRules {
    /// Of these groups, in their order.
    pub fn new(groups: Vec<String>) -> Self {
        GroupRules { groups, ..GroupRules::default() }
    }

    /// The names of the groups.
    pub fn groups(&self) -> &[String] {
        &self.groups
    }

    /// Gives a prefix to a group.
    pub fn add_prefix(&mut self, net: IpNet, group: GroupPlace) {
        let place =
            self.prefixes.partition_point(|(other, _)| other.prefix_len() >= net.prefix_len());
        self.prefixes.insert(place, (net, group));
    }

    /// Gives a name and what is below it to a group.
    pub fn add_name(&mut self, name: &Name, group: GroupPlace) {
        self.names.insert(name, group);
    }

    /// The group of an address that is proxied.
    pub(super) fn of_address(&self, ip: IpAddr) -> GroupPlace {
        let mut prefixes = self.prefixes.iter();
        prefixes.find(|(net, _)| net.contains(&ip)).map(|(_, group)| *group).unwrap_or_default()
    }

    /// The group of a name that is proxied, given in lower-case wire form.
    pub fn of_name(&self, name: &[u8]) -> GroupPlace {
        self.names.lookup(name).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_rule_counts() {
        let mut via = GroupRules::new(["main", "us", "jp"].map(str::to_owned).into());
        for (net, group) in [
            ("203.0.113.0/24", 1),
            ("203.0.113.8/29", 2),
            ("203.0.113.9/32", 0),
            ("2001:db8::/32", 2),
        ] {
            via.add_prefix(net.parse().unwrap(), GroupPlace(group));
        }
        for (address, group) in [
            ("203.0.113.1", 1),
            ("203.0.113.8", 2),
            ("203.0.113.9", 0),
            ("198.51.100.1", 0),
            ("2001:db8::1", 2),
        ] {
            assert_eq!(via.of_address(address.parse().unwrap()), GroupPlace(group), "{address}");
        }
        let name = |text: &str| text.parse::<Name>().unwrap();
        via.add_name(&name("example.com"), GroupPlace(1));
        via.add_name(&name("www.example.com"), GroupPlace(0));
        for (text, group) in
            [("example.com", 1), ("a.example.com", 1), ("www.example.com", 0), ("example", 0)]
        {
            assert_eq!(via.of_name(name(text).as_wire()), GroupPlace(group), "{text}");
        }
    }
}
