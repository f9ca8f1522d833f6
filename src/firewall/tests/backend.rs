//! What the two backends have to do with each other, and nftables as the daemon uses it.

use super::ruleset;
use crate::firewall::iptables::IptablesRules;
use crate::firewall::nftables::kernel_table::KernelTable;
use crate::firewall::{Backend, Error, Installed, Ruleset, Switches, cleanup, nftables};
use snet_lab::internet::{Internet, Seen, at, greet, tcp};
use snet_lab::kernel::{run, sealed_for, until};
use snet_lab::{in_both_variants, in_variants};
use std::net::TcpListener;

in_both_variants!(either_removes_what_the_other_left, a_cleanup_removes_both);
in_variants!([Native] the_network_is_followed);

fn install(backend: Backend, ruleset: Ruleset) -> Result<Box<dyn Installed>, Error> {
    backend.prepare()?.install(ruleset)
}

/// As an snet leaves it that was killed on a kernel without owner tables.
fn left_table() -> KernelTable {
    KernelTable::install_plain(nftables::TableOwner::open().unwrap(), ruleset()).unwrap()
}

fn has_rules() -> bool {
    run("iptables-save").contains("SNET") || run("ipset list -name").contains("snet-")
}

fn has_table() -> bool {
    run("nft list tables").contains("table inet snet")
}

fn either_removes_what_the_other_left() {
    std::mem::forget(IptablesRules::install(ruleset()).unwrap());
    assert!(has_rules());
    let handle = install(Backend::Nftables, ruleset()).unwrap();
    assert_eq!((has_rules(), has_table()), (false, true));
    handle.remove().unwrap();
    assert_eq!((has_rules(), has_table()), (false, false));

    std::mem::forget(left_table());
    assert!(has_table());
    let handle = install(Backend::Iptables, ruleset()).unwrap();
    // The one that keeps connections translated.
    assert!(has_rules() && !run("nft list table inet snet").contains("redirect"));
    drop(handle);
    assert_eq!((has_rules(), has_table()), (false, false));
}

fn a_cleanup_removes_both() {
    std::mem::forget(IptablesRules::install(ruleset()).unwrap());
    std::mem::forget(left_table());
    let cleaned = cleanup().unwrap().to_string();
    assert!(cleaned.contains("inet snet") && cleaned.contains("snet-china4"), "{cleaned}");
    assert_eq!((has_rules(), has_table()), (false, false));
    assert_eq!(cleanup().unwrap().to_string(), "nothing to clean");

    let living = install(Backend::Nftables, ruleset()).unwrap();
    let refused = cleanup().unwrap_err();
    assert!(matches!(refused, Error::Nftables(nftables::Error::Owned { .. })), "{refused}");
    living.beat(Switches::CAPTURE).unwrap();
}

fn the_network_is_followed() {
    let internet = Internet::build();
    internet.greet(80, b'I');
    greet(TcpListener::bind(at("127.0.0.1", 1111)).unwrap(), b'S');
    let ruleset = ruleset().surveyed();
    let handle = install(Backend::Nftables, ruleset).unwrap();
    let seen = |address| {
        handle.beat(Switches::CAPTURE).unwrap();
        tcp(at(address, 80), None)
    };
    handle.exempt(vec!["198.51.100.9".parse().unwrap()]);
    assert_eq!(seen("198.51.100.129"), Seen::Captured);
    let connected = || run("nft list set inet snet connected4");
    run("ip address add 198.51.100.130/29 dev uplink");
    internet.run(|| run("ip address add 198.51.100.129/29 dev downlink"));
    until("the new prefix", || connected().contains("198.51.100.128/29"));
    assert_eq!(seen("198.51.100.129"), Seen::Direct);
    assert_eq!(seen("198.51.100.9"), Seen::Direct, "what was exempted stays so");
    run("ip address del 198.51.100.130/29 dev uplink");
    until("the old prefixes", || !connected().contains("198.51.100.128/29"));
    assert_eq!(seen("198.51.100.129"), Seen::Captured);
    handle.release().unwrap();
    assert_eq!(seen("198.51.100.129"), Seen::Direct);
    handle.remove().unwrap();
    assert!(!has_table());
}
