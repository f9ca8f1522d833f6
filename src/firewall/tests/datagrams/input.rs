//! Beside a firewall that drops what comes in: captured UDP of LAN hosts is let in.

use super::{FOREIGN, Handle, Listener, PORT, asked, house, serve, with_udp};
use crate::family::Family;
use crate::firewall::conflicts;
use crate::firewall::tests::life_cycle::state;
use crate::firewall::tests::router_of_the_network;
use crate::firewall::tools::Iptables;
use snet_lab::house::House;
use snet_lab::internet::{Seen, any, at};
use snet_lab::kernel::{run, sealed_for, until, variant};
use snet_lab::{Variant, in_every_variant};
use std::net::SocketAddr;

in_every_variant!(iptables_lets_in_what_is_captured, others_are_told_with_the_key);

/// For nftables both variants of iptables at once.
fn tools() -> &'static [&'static str] {
    match variant() {
        Variant::Native => {
            &["iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"]
        }
        Variant::Nft | Variant::Legacy => &["iptables", "ip6tables"],
    }
}

fn of_the_lan(house: &House) -> [Option<Seen>; 2] {
    FOREIGN.map(|to| at(to, PORT)).map(|to: SocketAddr| asked(&house.one.udp(any(to, 0)), to))
}

/// As ufw has it.
fn iptables_lets_in_what_is_captured() {
    let house = house();
    let _listener = Listener::start(1111);
    let callers = FOREIGN.map(|to| serve(&house.internet, to, PORT));
    let close = || {
        for tool in tools() {
            run(&format!("{tool} -F INPUT"));
            run(&format!("{tool} -P INPUT DROP"));
            run(&format!("{tool} -A INPUT -i lo -j ACCEPT"));
            run(&format!("{tool} -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"));
            // Neighbours are found.
            run(&format!("{tool} -A INPUT -p ipv6-icmp -j ACCEPT"));
        }
    };
    close();
    let before = state();
    let handle = Handle::install(with_udp(router_of_the_network())).unwrap();
    assert_eq!(of_the_lan(&house), [Some(Seen::Captured); 2]);
    assert!(told().iter().all(|told| !told.contains("UDP that comes in")), "{:?}", told());
    close();
    until("it is let in again", || of_the_lan(&house) == [Some(Seen::Captured); 2]);
    assert!(callers.iter().all(|callers| callers.lock().unwrap().is_empty()));
    handle.replace(router_of_the_network()).unwrap();
    handle.replace(with_udp(router_of_the_network())).unwrap();
    assert_eq!(of_the_lan(&house), [Some(Seen::Captured); 2]);
    handle.remove().unwrap();
    assert_eq!(state(), before);
}

/// What the backend says.
fn told() -> Vec<String> {
    let tools =
        Family::ALL.map(|family| Iptables::every(family).into_iter().map(move |it| (family, it)));
    let tools: Vec<_> = tools.into_iter().flatten().collect();
    conflicts::all(&with_udp(router_of_the_network()), &tools, variant() != Variant::Native)
}

/// As fw4 has it for a zone whose input is rejected.
const GUARD: &str = "table inet fw4 {
    chain input {
        type filter hook input priority filter; policy drop;
        iif lo accept
        ct state established,related accept
        meta l4proto ipv6-icmp accept
        jump handle_reject
    }
    chain handle_reject {
        reject
    }
}";

fn others_are_told_with_the_key() {
    let house = house();
    let _listener = Listener::start(1111);
    let callers = FOREIGN.map(|to| serve(&house.internet, to, PORT));
    let _handle = Handle::install(with_udp(router_of_the_network())).unwrap();
    for guard in [GUARD, include_str!("../coexistence/firewalld.nft")] {
        std::fs::write("/run/guard.nft", guard).unwrap();
        run("nft -f /run/guard.nft");
        let seen = of_the_lan(&house);
        assert!(!seen.contains(&Some(Seen::Captured)), "{seen:?}");
        let told = told().into_iter().find(|told| told.contains("UDP that comes in")).unwrap();
        let (_, key) = told.split_once(": nft ").unwrap();
        run(&format!("nft {}", key.split(';').next().unwrap()));
        assert_eq!(of_the_lan(&house), [Some(Seen::Captured); 2]);
        assert!(self::told().iter().all(|told| !told.contains("UDP that comes in")));
    }
    assert!(callers.iter().all(|callers| callers.lock().unwrap().is_empty()));
}
