//! `[[group]]` and `rules.via`.

use super::{config, read};
use crate::dispatch::GroupPolicy;
use crate::domain::Name;
use crate::route::{GroupPlace, Learned, Reason, Route};
use crate::target::Target;
use std::time::Instant;

const PROXIES: &str = "
[[proxy]]
name = \"tokyo\"
type = \"http\"
server = \"a.example:80\"
[[proxy]]
name = \"osaka\"
type = \"http\"
server = \"b.example:80\"
[[proxy]]
name = \"us *\"
type = \"http\"
server = \"c.example:80\"
";

#[test]
fn without_a_group_all_proxies_are_one() {
    let config = read(PROXIES).unwrap().config;
    assert_eq!(config.groups.len(), 1);
    assert_eq!(config.groups[0].members(&config.proxies), [0, 1, 2]);
    assert_eq!(config.groups[0].settings.policy, GroupPolicy::First);
}

#[test]
fn members_stand_in_the_order_of_the_patterns() {
    let groups = "
[[group]]
name = \"auto\"
members = [\"osaka\", \"T*\", \"*\"]
policy = \"fastest\"
on-death = \"keep\"
[[group]]
name = \"one\"
members = [\"tokyo\"]
";
    let config = read(&format!("{PROXIES}{groups}")).unwrap().config;
    let [auto, one] = &config.groups[..] else { panic!("{:?}", config.groups) };
    assert_eq!(auto.members(&config.proxies), [1, 0, 2]);
    assert_eq!((auto.settings.policy, auto.settings.keeps_dead), (GroupPolicy::Fastest, true));
    assert_eq!(one.members(&config.proxies), [0]);
}

#[test]
fn destinations_have_a_group_or_a_proxy_of_their_own() {
    let text = "
[rules]
proxy = [\"www.example.com\", \"203.0.113.9\"]
via = { \"jp\" = [\"example.com\", \"203.0.113.0/24\"], \"us *\" = [\"198.51.100.0/24\"] }
[[group]]
name = \"auto\"
[[group]]
name = \"jp\"
members = [\"tokyo\", \"osaka\"]
";
    let config = read(&format!("{text}{PROXIES}")).unwrap().config;
    let members = |place: usize| config.groups[place].members(&config.proxies);
    assert_eq!([members(0), members(1), members(2)], [vec![0, 1, 2], vec![0, 1], vec![2]]);
    let rules = &config.rules.routes;
    for (address, group, reason) in [
        ("203.0.113.1", 1, Reason::Rule),
        ("203.0.113.9", 0, Reason::Rule),
        ("198.51.100.1", 2, Reason::Rule),
        ("192.0.2.1", 0, Reason::Foreign),
    ] {
        let target = Target::addr(format!("{address}:443").parse().unwrap());
        let decision = rules.route(&target, &Learned::default(), Instant::now());
        let found = (decision.route, decision.group, decision.reason);
        assert_eq!(found, (Route::Proxy, GroupPlace(group), reason), "{address}");
    }
    for (name, group) in [("example.com", 1), ("a.example.com", 1), ("www.example.com", 0)] {
        let name: Name = name.parse().unwrap();
        assert_eq!(rules.name_route(name.as_wire()), Some(Route::Proxy));
        assert_eq!(rules.via.of_name(name.as_wire()), GroupPlace(group));
    }
}

#[test]
fn members_that_nobody_is_are_told() {
    let text = format!("{PROXIES}[[group]]\nname = \"a\"\nmembers = [\"tokio\", \"osaka\"]\n");
    let warnings = read(&text).unwrap().warnings;
    let expected = "group \"a\": no [[proxy]] and no server of a subscription is called \"tokio\"";
    assert_eq!(warnings, [expected]);
    let warnings = read(&text.replace("\"osaka\"]", "\"kyoto\"]")).unwrap().warnings;
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(warnings[2].contains("has no member"), "{warnings:?}");
    assert_eq!(config("[[group]]\nname = \"a\"\n").groups.len(), 1);
}
