//! The text of the rules against files. `SNET_BLESS=1 cargo test --lib firewall::tests::golden`
//! writes them anew; read the difference before you commit it.

use super::{router, ruleset, set};
use crate::exempt_programs::{Cgroup, ExemptPrograms};
use crate::firewall::iptables::render;
use crate::firewall::policy::{Datagrams, Ipv6};
use crate::firewall::ruleset::Ruleset;
use crate::firewall::switch::OnFailure;
use std::path::Path;

fn compare(name: &str, ruleset: &Ruleset) {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src/firewall/iptables/golden").join(name);
    let text = render(ruleset);
    if std::env::var_os("SNET_BLESS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, golden, "{} differs", file.display());
}

#[test]
fn proxy() {
    compare("proxy.txt", &ruleset());
}

#[test]
fn ipv6_block_quic_direct() {
    let ruleset = ruleset().with(|policy| {
        policy.ipv6 = Ipv6::Block;
        policy.quic = Datagrams::Direct;
    });
    compare("ipv6-block-quic-direct.txt", &ruleset);
}

#[test]
fn ipv6_direct() {
    compare("ipv6-direct.txt", &ruleset().with(|policy| policy.ipv6 = Ipv6::Direct));
}

#[test]
fn a_family_without_a_listener_is_not_captured() {
    let listeners = vec!["127.0.0.1".parse().unwrap(), "2001:db8:2::2".parse().unwrap()];
    compare("no-listener.txt", &ruleset().with(|policy| policy.listeners = listeners));
}

#[test]
fn router_mode() {
    compare("router.txt", &router());
}

#[test]
fn what_goes_directly_is_counted() {
    compare("counted.txt", &ruleset().with(|policy| policy.counts_direct = true));
}

#[test]
fn udp_is_captured() {
    let ruleset = ruleset().with(|policy| policy.udp = Datagrams::Proxy);
    compare("udp.txt", &ruleset);
}

#[test]
fn udp_and_quic_of_a_router_are_captured() {
    let router = router().with(|policy| {
        policy.udp = Datagrams::Proxy;
        policy.quic = Datagrams::Proxy;
        policy.on_failure = OnFailure::Closed;
    });
    compare("router-udp.txt", &router);
}

#[test]
fn users_and_cgroups_are_exempt() {
    let cgroup = |path: &str, id| Cgroup { path: path.into(), id };
    let there = cgroup("system.slice/proxy.service", Some(4711));
    let cgroups = vec![there, cgroup("none.slice", None)];
    let exempt = ExemptPrograms {
        users: vec![990],
        cgroups: cgroups.iter().map(|cgroup| cgroup.path.clone()).collect(),
    };
    for (name, ruleset) in [("left-alone.txt", ruleset()), ("router-left-alone.txt", router())] {
        let mut ruleset = ruleset.with(|policy| policy.exempt = exempt.clone());
        ruleset.environment.cgroups.clone_from(&cgroups);
        compare(name, &ruleset);
    }
}

#[test]
fn router_mode_ipv6_block() {
    let router = router().with(|policy| policy.ipv6 = Ipv6::Block);
    compare("router-ipv6-block.txt", &router);
}

#[test]
fn the_unspecified_ipv6_address_serves_both_families() {
    let listeners = vec!["::".parse().unwrap()];
    // And the links' own addresses, to which queries to link-local name servers are translated; and
    // strangers come to it, and are turned away.
    let without_links = |ruleset: Ruleset| {
        let text = render(&ruleset);
        let own = ["SNET-LINK", "SNET-INPUT", "fe80::/10 -j"];
        let lines = text.lines().filter(|line| !own.iter().any(|word| line.contains(word)));
        lines.map(str::to_owned).collect::<Vec<String>>()
    };
    let both = without_links(ruleset().with(|policy| policy.listeners = listeners));
    assert_eq!(both, without_links(ruleset()));
}

#[test]
fn everything_is_two_halves() {
    let text = render(&ruleset().with_rules(|rules| rules.proxy = set("0.0.0.0/0 ::/0")));
    for half in ["4 0.0.0.0/1", "4 128.0.0.0/1", "6 ::/1", "6 8000::/1"] {
        assert!(text.contains(&format!("add snet-proxy{half}\n")), "{half}");
    }
    assert!(!text.contains("/0\n"));
}
