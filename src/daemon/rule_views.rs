//! What decides, row by row, the strongest first: how often each row did, and what the kernel sent
//! directly because of it. The rules of one key, and a list, are one row.

use crate::config::Config;
use crate::ipset::IpSet;
use crate::route::Route;
use crate::stats::{DecidedBy, HitStats};
use crate::view::{ALL_PROXIES, DIRECT, DirectView, RuleTrafficView, RuleView};

/// The rows that there are, with what this process decided by them.
pub(super) fn rules(config: &Config, hits: &HitStats) -> Vec<RuleView> {
    let rules = &*config.rules.routes;
    let prefixes = |set: &IpSet| (set.prefixes_v4().count() + set.prefixes_v6().count()) as u64;
    let names = |route| rules.names.values().filter(|it| **it == route).count() as u64;
    let rest = config.groups.first().map_or(ALL_PROXIES, |group| &group.settings.name);
    let [block, proxy, direct] =
        ["rules.block", "rules.proxy", "rules.direct"].map(|payload| ("IPCIDR", payload));
    let [block_names, proxy_names, direct_names] =
        [block, proxy, direct].map(|(_, payload)| ("DomainSuffix", payload));
    let [block_list, proxy_list, china_list] =
        ["rules.block-domain-file", "rules.proxy-domain-file", "rules.china-domain-file"]
            .map(|payload| ("DomainSet", payload));
    let rows = [
        (DecidedBy::BlockPrefixes, block, "REJECT", prefixes(&rules.block)),
        (DecidedBy::ProxyPrefixes, proxy, ALL_PROXIES, prefixes(&rules.proxy)),
        (DecidedBy::DirectPrefixes, direct, DIRECT, prefixes(&rules.direct)),
        (DecidedBy::BlockNames, block_names, "REJECT", names(Route::Block)),
        (DecidedBy::ProxyNames, proxy_names, ALL_PROXIES, names(Route::Proxy)),
        (DecidedBy::DirectNames, direct_names, DIRECT, names(Route::Direct)),
        (DecidedBy::BlockList, block_list, "REJECT", rules.blocked_names.len() as u64),
        (DecidedBy::ProxyList, proxy_list, ALL_PROXIES, rules.proxy_names.len() as u64),
        (DecidedBy::ChinaList, china_list, DIRECT, rules.china_names.len() as u64),
        (DecidedBy::LocalNetworks, ("IPCIDR", "local networks"), DIRECT, prefixes(&rules.reserved)),
        (DecidedBy::ChinaAddresses, ("GeoIP", "CN"), DIRECT, prefixes(&rules.china)),
    ];
    let row = |by, (kind, payload): (&str, &str), proxy: &str, size| RuleView {
        kind: kind.into(),
        payload: payload.into(),
        proxy: proxy.into(),
        size,
        hits: hits.get(by),
        last_hit: hits.since(by).map(|ago| ago.as_secs()),
        past: None,
    };
    let there = rows.into_iter().filter(|(.., size)| *size > 0);
    let there = there.map(|(by, what, proxy, size)| row(by, what, proxy, Some(size)));
    there.chain([row(DecidedBy::Rest, ("Match", ""), rest, None)]).collect()
}

/// Lays what the kernel sent directly beside the rows that were the reason.
pub(super) fn add_direct(rules: &mut [RuleView], direct: Option<&[DirectView]>) {
    let Some(direct) = direct else { return };
    for rule in rules {
        let reason = match (&*rule.kind, &*rule.payload) {
            ("IPCIDR", "rules.direct") => "rule",
            ("DomainSuffix", "rules.direct") => "name",
            ("IPCIDR", "local networks") => "private",
            ("GeoIP", _) => "domestic",
            ("Match", _) => "foreign",
            // What these hold comes into the daemon, or nowhere.
            _ => continue,
        };
        let mut past = RuleTrafficView::default();
        for bytes in direct.iter().filter(|it| it.reason == reason) {
            past.up += bytes.up;
            past.down += bytes.down;
        }
        rule.past = Some(past);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Purpose;

    fn config(rules: &str) -> Config {
        let text = format!(
            "[[proxy]]\nname = \"a\"\ntype = \"http\"\nserver = \"192.0.2.1:8080\"\n\n\
             [rules]\n{rules}\n"
        );
        let name = format!("snet-rule-views-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        let loaded = Config::load(&path, Purpose::Daemon);
        std::fs::remove_file(&path).unwrap();
        loaded.unwrap().config
    }

    #[test]
    fn each_row_has_its_hits_and_its_bytes() {
        let config = config(
            "direct = [\"198.51.100.0/24\", \"direct.example\"]\n\
             block = [\"a.example\", \"b.example\"]",
        );
        let hits = HitStats::default();
        for (by, count) in DecidedBy::ALL.into_iter().zip(1..) {
            (0..count).for_each(|_| hits.decided(by));
        }
        let mut rules = rules(&config, &hits);
        let sent = |reason: &str, family: &str, up| DirectView {
            reason: reason.into(),
            family: family.into(),
            up,
            down: 10 * up,
        };
        let direct = [
            sent("rule", "IPv4", 1),
            sent("rule", "IPv6", 2),
            sent("name", "IPv4", 4),
            sent("private", "IPv4", 8),
            sent("domestic", "IPv4", 16),
            sent("foreign", "IPv4", 32),
        ];
        add_direct(&mut rules, Some(&direct));
        let rows: Vec<_> = rules
            .iter()
            .map(|it| (&*it.kind, &*it.payload, it.hits, it.past.as_ref().map(|past| past.up)))
            .collect();
        assert_eq!(
            rows,
            [
                ("IPCIDR", "rules.direct", 3, Some(3)),
                ("DomainSuffix", "rules.block", 4, None),
                ("DomainSuffix", "rules.direct", 6, Some(4)),
                ("IPCIDR", "local networks", 10, Some(8)),
                ("GeoIP", "CN", 11, Some(16)),
                ("Match", "", 12, Some(32)),
            ]
        );
        assert_eq!(rules[1].size, Some(2));
        assert!(rules.iter().all(|rule| rule.last_hit.is_some_and(|ago| ago < 60)));
        assert!(rules[0].past.as_ref().is_some_and(|past| past.down == 30));
    }
}
