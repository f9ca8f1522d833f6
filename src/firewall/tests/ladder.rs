//! The ladder against the router: what the rules of both backends make of an address is what
//! [`Rules::route`] says of it, for every pair of sets that may hold it.
//!
//! The rules are walked here as the kernel walks them, by the first match. What only the kernel
//! knows stands before or between these sets and is no part of this: addresses of this machine and
//! of its links, and the proxy servers.

use super::{ruleset, set};
use crate::family::Family;
use crate::firewall::entry::Entry;
use crate::firewall::iptables;
use crate::firewall::nftables;
use crate::firewall::nftables::table::{Expression, Is};
use crate::firewall::policy::Datagrams;
use crate::firewall::ruleset::Ruleset;
use crate::firewall::sets::Set;
use crate::route::{Learned, Route, Rules};
use crate::target::Target;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The sets that the router knows as well.
const SETS: [Set; 8] = [
    Set::Block,
    Set::Proxy,
    Set::Direct,
    Set::LearnedBlock,
    Set::LearnedProxy,
    Set::LearnedDirect,
    Set::Reserved,
    Set::China,
];

/// What the router takes an address for that stands in the set of what was learned.
fn learned(set: Set) -> Option<Route> {
    let routes = [Route::Block, Route::Proxy, Route::Direct];
    routes.into_iter().find(|route| Set::learned(*route) == set)
}

/// An address, and the sets that hold it.
#[derive(Clone)]
struct Held<'a> {
    address: IpAddr,
    sets: &'a [Set],
    ruleset: Ruleset,
}

impl<'a> Held<'a> {
    fn new(address: IpAddr, sets: &'a [Set]) -> Self {
        let prefix = || set(&format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 }));
        let mut rules = Rules::default();
        for set in sets {
            match set {
                Set::Block => rules.block = prefix(),
                Set::Proxy => rules.proxy = prefix(),
                Set::Direct => rules.direct = prefix(),
                Set::Reserved => rules.reserved = prefix(),
                Set::China => rules.china = Arc::new(prefix()),
                learned => assert!(self::learned(*learned).is_some(), "{learned:?}"),
            }
        }
        let ruleset = ruleset().with(|policy| {
            policy.rules = Arc::new(rules);
            policy.udp = Datagrams::Proxy;
        });
        Held { address, sets, ruleset }
    }

    fn family(&self) -> Family {
        Family::of(self.address)
    }

    fn routed(&self) -> Route {
        let learned_routes = Learned::default();
        for route in self.sets.iter().copied().filter_map(learned) {
            learned_routes.learn(self.address, route, Duration::from_secs(60));
        }
        let target = Target::addr(SocketAddr::new(self.address, 443));
        self.ruleset.policy.rules.route(&target, &learned_routes, Instant::now()).route
    }

    /// Whether the set of this name, as it is in the kernel, holds the address.
    fn is_in(&self, name: &str) -> bool {
        let is_named = |set: &&Set| set.name(self.family()).ends_with(name);
        let set = Set::COMMON.iter().find(is_named).unwrap_or_else(|| panic!("no set {name}"));
        if learned(*set).is_some() {
            return self.sets.contains(set);
        }
        let content = set.content(&self.ruleset, self.family());
        content.iter().any(|entry| match entry {
            Entry::Prefix(prefix) => prefix.contains(&self.address),
            Entry::Address(address) => *address == self.address,
            Entry::At(..) => false,
        })
    }

    /// Where the first rule of a chain of iptables that matches leads.
    fn target_in(&self, part: &str, chain: &str) -> String {
        let tables = iptables::rules::tables(&self.ruleset, self.family());
        let table = tables.iter().find(|table| table.part.table() == part).unwrap();
        let chain = table.chains.iter().find(|known| known.name == chain).unwrap();
        let target = chain.rules.iter().find_map(|rule| {
            let rule = rule.strip_prefix("-p tcp ").unwrap_or(rule);
            let rule = match rule.strip_prefix("-m set --match-set ") {
                // It is no address of this machine, and none of multicast.
                None if rule.starts_with("-m addrtype ") => return None,
                None => rule,
                Some(matched) => {
                    let (name, target) = matched.split_once(" dst ").unwrap();
                    if !self.is_in(name) {
                        return None;
                    }
                    target
                }
            };
            let mut words = rule.split(' ');
            assert!(matches!(words.next(), Some("-j" | "-g")), "{rule}");
            words.next().map(str::to_owned)
        });
        target.unwrap()
    }

    /// The verdict of the first rule of a chain of nf_tables that matches.
    fn verdict_in(&self, chain: &str) -> Expression {
        let table = nftables::rules::table(&self.ruleset);
        let name = format!("{chain}{}", self.family().digit());
        let chain = table.chains.iter().find(|known| known.name == name).unwrap();
        let verdict = chain.rules.iter().find_map(|rule| {
            let (verdict, matches) = rule.split_last()?;
            let holds = |expression: &Expression| match expression {
                Expression::ToType(Is::In, _) => false,
                Expression::Protocol(_) => true,
                // It is the first datagram of its flow.
                Expression::FlowIn(..) => false,
                Expression::FamilyIn(Is::In, "alive" | "alive-udp") => true,
                Expression::ToSet(Is::In, family, name) => {
                    assert_eq!(*family, self.family());
                    self.is_in(&format!("-{name}"))
                }
                other => panic!("a ladder asks {other:?}"),
            };
            matches.iter().all(holds).then(|| verdict.clone())
        });
        verdict.unwrap()
    }
}

fn every_pair(address: &str) -> usize {
    let mut count = 0;
    for a in SETS {
        for b in SETS {
            // What is learned replaces what was learned.
            if a != b && learned(a).is_some() && learned(b).is_some() {
                continue;
            }
            let sets = [a, b];
            let held = Held::new(address.parse().unwrap(), &sets);
            agrees(&held);
            let counted = held.ruleset.clone().with(|policy| policy.counts_direct = true);
            agrees(&Held { ruleset: counted, ..held });
            count += 1;
        }
    }
    agrees(&Held::new(address.parse().unwrap(), &[]));
    count
}

fn agrees(held: &Held<'_>) {
    let route = held.routed();
    let what = format!("{} in {:?}, routed {route:?}", held.address, held.sets);
    let is_redirected = route == Route::Proxy;

    assert_eq!(held.target_in("nat", "SNET-TCP") == "REDIRECT", is_redirected, "{what}");
    let filtered = match held.target_in("filter", "SNET-FILTER").as_str() {
        "SNET-REJECT" => Route::Block,
        "SNET-FOREIGN" => Route::Proxy,
        "RETURN" => Route::Direct,
        other if other.starts_with("SNET-LABEL-") => Route::Direct,
        other => panic!("{other}"),
    };
    assert_eq!(filtered, route, "{what}");

    let verdict = held.verdict_in("tcp");
    assert_eq!(matches!(verdict, Expression::Redirect(_)), is_redirected, "{what}");
    let taken = match held.verdict_in("udp-flows") {
        Expression::Goto(chain) if chain.starts_with("udp-foreign") => true,
        Expression::Accept => false,
        other => panic!("{other:?}"),
    };
    assert_eq!(taken, is_redirected, "{what}");
    let filtered = match held.verdict_in("ladder") {
        Expression::Goto(chain) if chain == "refuse" => Route::Block,
        Expression::Goto(chain) if chain.starts_with("foreign") => Route::Proxy,
        Expression::Goto(chain) if chain.starts_with("label-") => Route::Direct,
        Expression::Return => Route::Direct,
        other => panic!("{other:?}"),
    };
    assert_eq!(filtered, route, "{what}");
}

#[test]
fn the_ladder_says_what_the_router_says_for_every_pair_of_sets() {
    for address in ["198.51.100.1", "2001:db8:f::1"] {
        // 8 by 8, without the 6 pairs of different learned sets.
        assert_eq!(every_pair(address), 58);
    }
}
