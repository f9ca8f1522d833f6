//! All that speaks of a name or an address, and not only what decides: for people who ask why.

use super::{Route, Rules};
use crate::domain::Name;
use std::net::IpAddr;

impl Rules {
    /// Everything that holds an address, the strongest first, as the configuration calls it. What
    /// the resolver learned stands behind the rules, and is not among it.
    pub fn holders(&self, ip: IpAddr) -> Vec<&'static str> {
        let ip = ip.to_canonical();
        let sets = [
            (&self.block, "rules.block"),
            (&self.proxy, "rules.proxy"),
            (&self.direct, "rules.direct"),
            (&self.reserved, "addresses that never leave the local networks"),
            (&*self.china, "the domestic list"),
        ];
        let holding = sets.into_iter().filter(|(set, _)| set.contains(ip));
        holding.map(|(_, what)| what).collect()
    }

    /// Everything that mentions a name, given in lower-case wire form: the longest suffix that the
    /// operator wrote, and the lists.
    pub fn mentions(&self, name: &[u8]) -> Vec<String> {
        let written = self.names.longest(name).map(|(suffix, route)| {
            let suffix = Name::from_wire(suffix).map(|name| name.to_string()).unwrap_or_default();
            let key = match route {
                Route::Direct => "rules.direct",
                Route::Proxy => "rules.proxy",
                Route::Block => "rules.block",
            };
            format!("{key} has {suffix}")
        });
        let lists = [
            (&self.blocked_names, "rules.block-domain-file"),
            (&self.proxy_names, "rules.proxy-domain-file"),
            (&self.china_names, "rules.china-domain-file"),
        ];
        let lists = lists.into_iter().filter(|(list, _)| list.find(name).is_some());
        written.into_iter().chain(lists.map(|(_, key)| format!("{key} has it"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Listed;
    use crate::route::{Learned, Reason};
    use crate::target::Target;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, SocketAddr};
    use std::sync::Arc;
    use std::time::Instant;

    #[test]
    fn a_name_is_mentioned_by_rule_and_list() {
        let mut rules = Rules::default();
        rules.names.insert(&"example.com".parse().unwrap(), Route::Proxy);
        let name: Name = "www.example.com".parse().unwrap();
        let listed = [("example.com".parse().unwrap(), Listed::In)];
        rules.china_names = listed.into_iter().collect();
        assert_eq!(
            rules.mentions(name.as_wire()),
            ["rules.proxy has example.com", "rules.china-domain-file has it"]
        );
        let other: Name = "example.net".parse().unwrap();
        assert!(rules.mentions(other.as_wire()).is_empty());
    }

    fn prefixes() -> impl Strategy<Value = Vec<(u8, u8)>> {
        prop::collection::vec((any::<u8>(), 24u8..=32), 0..4)
    }

    fn set(prefixes: &[(u8, u8)]) -> crate::ipset::IpSet {
        let net = |(last, length): &(u8, u8)| {
            let net = ipnet::Ipv4Net::new(Ipv4Addr::new(203, 0, 113, *last), *length).unwrap();
            ipnet::IpNet::V4(net.trunc())
        };
        prefixes.iter().map(net).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        /// What is shown first is what decides.
        #[test]
        fn the_strongest_holder_is_the_one_that_decides(
            block in prefixes(),
            proxy in prefixes(),
            direct in prefixes(),
            china in prefixes(),
            last in any::<u8>(),
        ) {
            let rules = Rules {
                block: set(&block),
                proxy: set(&proxy),
                direct: set(&direct),
                china: Arc::new(set(&china)),
                ..Rules::default()
            };
            let ip = IpAddr::from([203, 0, 113, last]);
            let target = Target::addr(SocketAddr::new(ip, 443));
            let decision = rules.route(&target, &Learned::default(), Instant::now());
            let expected = match rules.holders(ip).first() {
                Some(&"rules.block") => (Route::Block, Reason::Rule),
                Some(&"rules.proxy") => (Route::Proxy, Reason::Rule),
                Some(&"rules.direct") => (Route::Direct, Reason::Rule),
                Some(&"the domestic list") => (Route::Direct, Reason::China),
                Some(other) => panic!("{other}"),
                None => (Route::Proxy, Reason::Foreign),
            };
            prop_assert_eq!((decision.route, decision.reason), expected);
        }
    }
}
