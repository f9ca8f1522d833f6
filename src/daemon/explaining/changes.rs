//! What would be otherwise with the file on disk. Pure.

use super::decided::{about_name, decide, group_name, route_word};
use crate::domain::Name;
use crate::route::{Learned, Reason, Route, Rules};
use crate::view::AddressView;
use std::fmt;

/// What other rules would say otherwise.
pub(super) fn changes(
    rules: &Rules,
    learned: &Learned,
    next: &Rules,
    name: Option<&Name>,
    known: &[AddressView],
) -> Vec<String> {
    let mut changes = Vec::new();
    let mut named = None;
    if let Some(name) = name {
        let [before, after] = [rules, next].map(|rules| rules.name_route(name.as_wire()));
        named = after;
        if before != after {
            let words = |route: Option<Route>| route.map_or("as each address says", route_word);
            changes.push(format!("{name}: {} instead of {}", words(after), words(before)));
        } else {
            let [before, after] = [rules, next].map(|rules| about_name(rules, name).group);
            changes.extend(other_group(name, after, before));
        }
    }
    let forgotten = Learned::default();
    // What names taught is kept where the rules for names stay.
    let learned = if rules.same_names(next) { learned } else { &forgotten };
    for address in known {
        let decision = decide(next, address.address, None, learned);
        // A name teaches its addresses, and rules for addresses are stronger than that.
        let by_name = named.filter(|_| decision.reason != Reason::Rule);
        let after = route_word(by_name.unwrap_or(decision.route));
        if after != address.route {
            changes.push(format!("{}: {after} instead of {}", address.address, address.route));
        } else if after == route_word(Route::Proxy) && by_name.is_none() {
            let group = group_name(next, decision.group);
            changes.extend(other_group(&address.address, group, address.group.clone()));
        }
    }
    changes
}

/// A change of the group of proxies that serves something.
fn other_group(
    what: &dyn fmt::Display,
    after: Option<String>,
    before: Option<String>,
) -> Option<String> {
    let words = |group: Option<String>| group.map_or("no group".into(), |it| format!("group {it}"));
    (after != before).then(|| format!("{what}: {} instead of {}", words(after), words(before)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{about, rules};
    use super::*;
    use crate::route::GroupPlace;

    #[test]
    fn what_a_reload_would_change() {
        let name: Name = "example.com".parse().unwrap();
        let learned = Learned::default();
        let before = rules("", None);
        let known = [about(&before, &learned, "198.51.100.1")];
        let changed = |next: &Rules, name| changes(&before, &learned, next, name, &known);
        assert!(changed(&before, Some(&name)).is_empty());
        let next = rules("198.51.100.0/24", None);
        assert_eq!(changed(&next, None), ["198.51.100.1: direct instead of proxy"]);
        let next = rules("", Some(("example.com", Route::Block)));
        assert_eq!(
            changed(&next, Some(&name)),
            [
                "example.com: block instead of as each address says",
                "198.51.100.1: block instead of proxy"
            ]
        );
        // A rule for the address is stronger than one for the name.
        let next = rules("198.51.100.0/24", Some(("example.com", Route::Block)));
        assert_eq!(changed(&next, Some(&name))[1..], ["198.51.100.1: direct instead of proxy"]);
    }

    #[test]
    fn another_group_is_told() {
        let name: Name = "example.com".parse().unwrap();
        let grouped = |place, net: &str| {
            let mut rules = rules("", Some(("example.com", Route::Proxy)));
            let proxied: [ipnet::IpNet; 2] =
                ["198.51.100.0/24", "203.0.113.0/24"].map(|net| net.parse().unwrap());
            rules.proxy = proxied.into_iter().collect::<crate::ipset::IpSet>();
            rules.via = crate::route::GroupRules::new(["main", "video"].map(str::to_owned).into());
            rules.via.add_name(&name, GroupPlace(place));
            rules.via.add_prefix(net.parse().unwrap(), GroupPlace(1));
            rules
        };
        let (before, learned) = (grouped(0, "203.0.113.0/24"), Learned::default());
        let known = ["198.51.100.1", "203.0.113.1"].map(|ip| {
            let decision = decide(&before, ip.parse().unwrap(), None, &learned);
            let group = group_name(&before, decision.group);
            AddressView { group, ..about(&before, &learned, ip) }
        });
        let changed = |next: &Rules, name| changes(&before, &learned, next, name, &known);
        assert!(changed(&before, Some(&name)).is_empty());
        let next = grouped(1, "198.51.100.0/24");
        let told = changed(&next, Some(&name));
        assert_eq!(told[0], "example.com: group video instead of group main");
        assert_eq!(
            changed(&next, None),
            [
                "198.51.100.1: group video instead of group main",
                "203.0.113.1: group main instead of group video"
            ]
        );
    }

    #[test]
    fn what_was_learned_goes_with_the_rules_for_names() {
        let learned = Learned::default();
        let minute = std::time::Duration::from_secs(60);
        learned.learn("198.51.100.1".parse().unwrap(), Route::Direct, minute);
        let before = rules("", Some(("example.com", Route::Direct)));
        let known = [about(&before, &learned, "198.51.100.1")];
        assert_eq!(known[0].route, "direct");
        let same = rules("192.0.2.0/24", Some(("example.com", Route::Direct)));
        assert!(changes(&before, &learned, &same, None, &known).is_empty());
        let other = rules("", None);
        assert_eq!(
            changes(&before, &learned, &other, None, &known),
            ["198.51.100.1: proxy instead of direct"]
        );
    }
}
