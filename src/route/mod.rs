//! Where a destination goes: the one decision of the data path, pure and total.
//!
//! The kernel makes the same decision first (see `firewall`), from the same [`Rules`]; what reaches
//! this process is judged again, because names learned by the resolver and a changed
//! configuration may know better. Order of precedence, the same as in the kernel (which has
//! this machine, its links and the proxies' servers besides): `block`, `proxy`, `direct`, what the
//! resolver learned, reserved and China addresses, the rest. Only this process knows the name that
//! a connection itself tells ([`Rules::route_claimed`]).

mod learned;
mod matches;
mod told;
mod via;

use crate::domain::{DomainMap, Name, NameList, Specificity};
use crate::ipset::IpSet;
use crate::stats::DecidedBy;
use crate::target::Target;
use std::sync::Arc;
use std::time::Instant;

pub use learned::{Learned, NamedWay, Teach};
pub use told::{ClientHost, Telling, ToldName, ToldNames};
pub use via::{GroupPlace, GroupRules};

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// Straight to the destination.
    Direct,
    /// Through one of the upstream proxies; never direct, also when all of them are down.
    Proxy,
    /// Refused.
    Block,
}

/// The operator's rules and the lists, by address and by name. One value, shared by the dispatcher
/// (which routes connections), the firewall (which decides the same in the kernel) and the resolver
/// (which asks by name, and judges answers by address).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// Prefixes of `rules.block`, which are refused.
    pub block: IpSet,
    /// Prefixes of `rules.proxy`, which always take the proxy.
    pub proxy: IpSet,
    /// Prefixes of `rules.direct`, which never take the proxy.
    pub direct: IpSet,
    /// Addresses that never leave the local networks, see [`crate::ipset::reserved`].
    pub reserved: IpSet,
    /// The China list: embedded, or `rules.china-ip-file`; empty with `scope = "global"`.
    pub china: Arc<IpSet>,
    /// Names of all three. A name that two of them hold is an error; the longest suffix wins.
    pub names: DomainMap<Route>,
    /// `rules.block-domain-file`: names that do not exist.
    pub blocked_names: NameList,
    /// `rules.proxy-domain-file`: names that are foreign.
    pub proxy_names: NameList,
    /// `rules.china-domain-file`: names that only the domestic side is asked for.
    pub china_names: NameList,
    /// `rules.via`: whose prefixes and names are among those that take the proxy.
    pub via: GroupRules,
}

/// What becomes of a connection, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What becomes of it.
    pub route: Route,
    /// What said so.
    pub reason: Reason,
    /// Which group of proxies carries it, if one does.
    pub group: GroupPlace,
    /// The rule or list that said so; none: nothing of the file did.
    pub by: Option<DecidedBy>,
}

/// What decided about a destination; the first that applies, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The destination is a name, which the far end of a proxy resolves.
    Name,
    /// A prefix of `rules.block`, `rules.proxy` or `rules.direct`.
    Rule,
    /// It is the address of a name that a rule sends this way.
    Learned,
    /// A rule sends the name this way by which the connection itself calls its destination.
    Claimed,
    /// It never leaves the local networks.
    Reserved,
    /// It is on the China list.
    China,
    /// Nothing of all this: it is foreign.
    Foreign,
    /// It was asked for this way, whatever the rules say: by snet itself.
    Asked,
}

impl Reason {
    /// In a word or two, for those who look.
    pub fn word(self) -> &'static str {
        match self {
            Reason::Name => "name",
            Reason::Rule => "rule",
            Reason::Learned => "rule of its name",
            Reason::Claimed => "rule of its claimed name",
            Reason::Reserved => "reserved",
            Reason::China => "domestic list",
            Reason::Foreign => "foreign",
            Reason::Asked => "snet's own",
        }
    }
}

impl Rules {
    /// Decides for one destination at this moment. A name is not resolved here: it takes the proxy,
    /// whose far end resolves it.
    pub fn route(&self, target: &Target, learned: &Learned, now: Instant) -> Decision {
        let because = |reason, route, by| Decision {
            route,
            reason,
            group: GroupPlace::default(),
            by: Some(by),
        };
        let Some(address) = target.address() else {
            let (route, group) = (Route::Proxy, GroupPlace::default());
            return Decision { route, reason: Reason::Name, group, by: None };
        };
        let ip = address.ip().to_canonical();
        let group = self.via.of_address(ip);
        if self.block.contains(ip) {
            return because(Reason::Rule, Route::Block, DecidedBy::BlockPrefixes);
        }
        if self.proxy.contains(ip) {
            let by_rule = because(Reason::Rule, Route::Proxy, DecidedBy::ProxyPrefixes);
            return Decision { group, ..by_rule };
        }
        if self.direct.contains(ip) {
            return because(Reason::Rule, Route::Direct, DecidedBy::DirectPrefixes);
        }
        if let Some(NamedWay { route, group, by }) = learned.route(ip, now) {
            return Decision { group, ..because(Reason::Learned, route, by) };
        }
        if self.reserved.contains(ip) {
            return because(Reason::Reserved, Route::Direct, DecidedBy::LocalNetworks);
        }
        if self.china.contains(ip) {
            return because(Reason::China, Route::Direct, DecidedBy::ChinaAddresses);
        }
        because(Reason::Foreign, Route::Proxy, DecidedBy::Rest)
    }
}

impl Rules {
    /// Decides for one destination whose name nobody but the program itself tells, in the first
    /// bytes that it sends. A rule for that name stands where what the resolver learned would
    /// stand: behind the rules for addresses, before the lists; and as there, nobody's name steers
    /// what stays in the local networks.
    pub fn route_claimed(
        &self,
        target: &Target,
        claimed: &Name,
        learned: &Learned,
        now: Instant,
    ) -> Decision {
        let by_address = self.route(target, learned, now);
        if matches!(by_address.reason, Reason::Rule | Reason::Reserved | Reason::Name) {
            return by_address;
        }
        match self.name_way(claimed.as_wire()) {
            Some(NamedWay { route, group, by }) => {
                Decision { route, reason: Reason::Claimed, group, by: Some(by) }
            }
            None => by_address,
        }
    }
}

/// What is known of a name, given in lower-case wire form. What mentions more of the name wins;
/// where two mention as much, what the operator wrote beats a list, and so it can be corrected,
/// and blocking beats the proxy, which beats the domestic list.
impl Rules {
    /// The route of a name.
    pub fn name_route(&self, name: &[u8]) -> Option<Route> {
        self.name_decision(name).map(|(route, _)| route)
    }

    /// The same, with the group of proxies and with what says so.
    pub fn name_way(&self, name: &[u8]) -> Option<NamedWay> {
        let (route, by) = self.name_decision(name)?;
        let group = match route {
            Route::Proxy => self.via.of_name(name),
            Route::Direct | Route::Block => GroupPlace::default(),
        };
        Some(NamedWay { route, group, by })
    }

    fn name_decision(&self, name: &[u8]) -> Option<(Route, DecidedBy)> {
        let written = self.names.longest(name);
        let by_operator = written.map(|(suffix, _)| Specificity::of(suffix));
        if self.blocked_names.find(name) > by_operator {
            return Some((Route::Block, DecidedBy::BlockList));
        }
        let foreign = self.proxy_names.find(name);
        if foreign > by_operator && foreign >= self.china_names.find(name) {
            return Some((Route::Proxy, DecidedBy::ProxyList));
        }
        written.map(|(_, route)| (*route, by_name_of(*route)))
    }

    /// Whether only the domestic side is asked for a name that has no route.
    pub fn is_domestic_name(&self, name: &[u8]) -> bool {
        self.china_names.find(name).is_some()
    }

    /// Whether these rules say the same of every name.
    pub fn same_names(&self, other: &Rules) -> bool {
        self.names == other.names
            && self.blocked_names == other.blocked_names
            && self.proxy_names == other.proxy_names
            && self.china_names == other.china_names
            && self.via == other.via
    }
}

/// Whose names have this route, of those that the operator wrote.
fn by_name_of(route: Route) -> DecidedBy {
    match route {
        Route::Block => DecidedBy::BlockNames,
        Route::Proxy => DecidedBy::ProxyNames,
        Route::Direct => DecidedBy::DirectNames,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn set(text: &str) -> IpSet {
        text.split(' ')
            .filter(|s| !s.is_empty())
            .map(|s| s.parse::<ipnet::IpNet>().unwrap())
            .collect()
    }

    fn rules() -> Rules {
        Rules {
            direct: set("198.51.100.0/25 203.0.113.9/32"),
            proxy: set("192.0.2.128/25"),
            block: set("203.0.113.0/28"),
            china: Arc::new(set("192.0.2.0/24 2001:db8:c::/48")),
            reserved: crate::ipset::reserved(),
            ..Rules::default()
        }
    }

    fn decide(ip: &str, learned: &Learned) -> Decision {
        let address = std::net::SocketAddr::new(ip.parse().unwrap(), 443);
        rules().route(&Target::addr(address), learned, Instant::now())
    }

    fn route(ip: &str, learned: &Learned) -> Route {
        decide(ip, learned).route
    }

    #[test]
    fn precedence() {
        let learned = Learned::default();
        assert_eq!(route("203.0.113.9", &learned), Route::Block, "block beats direct");
        assert_eq!(route("192.0.2.200", &learned), Route::Proxy, "proxy beats the China list");
        assert_eq!(route("192.0.2.1", &learned), Route::Direct);
        assert_eq!(route("2001:db8:c::1", &learned), Route::Direct);
        assert_eq!(route("198.51.100.1", &learned), Route::Direct);
        assert_eq!(route("198.51.100.200", &learned), Route::Proxy);
        assert_eq!(route("::ffff:192.0.2.1", &learned), Route::Direct);
        assert_eq!(route("192.168.1.1", &learned), Route::Direct);
    }

    #[test]
    fn learned_beats_the_list_but_not_the_rules() {
        let learned = Learned::default();
        let minute = Duration::from_secs(60);
        learned.learn("192.0.2.1".parse().unwrap(), Route::Proxy, minute);
        learned.learn("203.0.113.200".parse().unwrap(), Route::Direct, minute);
        learned.learn("203.0.113.1".parse().unwrap(), Route::Direct, minute);
        assert_eq!(route("192.0.2.1", &learned), Route::Proxy);
        assert_eq!(route("203.0.113.200", &learned), Route::Direct);
        assert_eq!(route("203.0.113.1", &learned), Route::Block);
    }

    #[test]
    fn what_was_learned_expires() {
        let learned = Learned::default();
        let (ttl, now) = (Duration::from_secs(60), Instant::now());
        learned.learn("192.0.2.1".parse().unwrap(), Route::Proxy, ttl);
        let target = Target::addr("192.0.2.1:443".parse().unwrap());
        assert_eq!(rules().route(&target, &learned, now).route, Route::Proxy);
        assert_eq!(rules().route(&target, &learned, now + ttl * 2).route, Route::Direct);
    }

    #[test]
    fn names_take_the_proxy() {
        let target = Target::Name("example.com".into(), 80);
        let decision = rules().route(&target, &Learned::default(), Instant::now());
        assert_eq!(
            decision,
            Decision { group: GroupPlace(0), route: Route::Proxy, reason: Reason::Name, by: None }
        );
        let address = "192.0.2.1:80".parse().unwrap();
        let target = Target::Named { address, name: "example.com".into() };
        let decision = rules().route(&target, &Learned::default(), Instant::now());
        assert_eq!(
            decision,
            Decision {
                group: GroupPlace(0),
                route: Route::Direct,
                reason: Reason::China,
                by: Some(DecidedBy::ChinaAddresses)
            }
        );
    }

    #[test]
    fn a_decision_tells_its_reason() {
        let learned = Learned::default();
        learned.learn("203.0.113.200".parse().unwrap(), Route::Direct, Duration::from_secs(60));
        for (ip, reason) in [
            ("203.0.113.9", Reason::Rule),
            ("192.0.2.200", Reason::Rule),
            ("198.51.100.1", Reason::Rule),
            ("203.0.113.200", Reason::Learned),
            ("192.168.1.1", Reason::Reserved),
            ("192.0.2.1", Reason::China),
            ("198.51.100.200", Reason::Foreign),
        ] {
            assert_eq!(decide(ip, &learned).reason, reason, "{ip}");
        }
    }

    /// What was learned was learned because of something.
    #[test]
    fn a_decision_tells_what_decided() {
        let listed: Name = "listed.example".parse().unwrap();
        let written: Name = "written.example".parse().unwrap();
        let mut names = Rules {
            proxy_names: [(listed.clone(), crate::domain::Listed::In)].into_iter().collect(),
            ..Rules::default()
        };
        names.names.insert(&written, Route::Direct);
        let (learned, minute) = (Learned::default(), Duration::from_secs(60));
        for (name, ip) in [(&listed, "192.0.2.1"), (&written, "203.0.113.200")] {
            let way = names.name_way(name.as_wire()).unwrap();
            learned.learn_via(ip.parse().unwrap(), way, minute);
        }
        for (ip, by) in [
            ("203.0.113.1", DecidedBy::BlockPrefixes),
            ("192.0.2.200", DecidedBy::ProxyPrefixes),
            ("198.51.100.1", DecidedBy::DirectPrefixes),
            ("192.0.2.1", DecidedBy::ProxyList),
            ("203.0.113.200", DecidedBy::DirectNames),
            ("192.168.1.1", DecidedBy::LocalNetworks),
            ("192.0.2.2", DecidedBy::ChinaAddresses),
            ("198.51.100.200", DecidedBy::Rest),
        ] {
            assert_eq!(decide(ip, &learned).by, Some(by), "{ip}");
        }
    }

    fn claimed(ip: &str, wanted: &str, learned: &Learned) -> (Route, usize, Reason) {
        let mut rules = rules();
        let name = |text: &str| text.parse::<Name>().unwrap();
        for (suffix, route) in [
            ("direct.example", Route::Direct),
            ("proxy.example", Route::Proxy),
            ("us.example", Route::Proxy),
            ("block.example", Route::Block),
        ] {
            rules.names.insert(&name(suffix), route);
        }
        rules.via.add_name(&name("us.example"), GroupPlace(1));
        let target = Target::addr(std::net::SocketAddr::new(ip.parse().unwrap(), 443));
        let decision = rules.route_claimed(&target, &name(wanted), learned, Instant::now());
        (decision.route, decision.group.0, decision.reason)
    }

    #[test]
    fn a_claimed_name_stands_where_a_learned_one_would() {
        let learned = Learned::default();
        const FOREIGN: &str = "198.51.100.200";
        for (ip, name, route, group, reason) in [
            (FOREIGN, "other.example", Route::Proxy, 0, Reason::Foreign),
            (FOREIGN, "www.direct.example", Route::Direct, 0, Reason::Claimed),
            (FOREIGN, "www.us.example", Route::Proxy, 1, Reason::Claimed),
            (FOREIGN, "block.example", Route::Block, 0, Reason::Claimed),
            ("192.0.2.1", "proxy.example", Route::Proxy, 0, Reason::Claimed),
            ("192.0.2.1", "other.example", Route::Direct, 0, Reason::China),
            // The rules for addresses come first, and the local networks are nobody's.
            ("203.0.113.1", "direct.example", Route::Block, 0, Reason::Rule),
            ("192.0.2.200", "us.example", Route::Proxy, 0, Reason::Rule),
            ("198.51.100.1", "block.example", Route::Direct, 0, Reason::Rule),
            ("192.168.1.1", "proxy.example", Route::Direct, 0, Reason::Reserved),
        ] {
            assert_eq!(claimed(ip, name, &learned), (route, group, reason), "{ip} {name}");
        }
        // What was learned of the address was another name's.
        learned.learn(FOREIGN.parse().unwrap(), Route::Direct, Duration::from_secs(60));
        assert_eq!(claimed(FOREIGN, "us.example", &learned), (Route::Proxy, 1, Reason::Claimed));
        let other = claimed(FOREIGN, "other.example", &learned);
        assert_eq!(other, (Route::Direct, 0, Reason::Learned));
    }
}
