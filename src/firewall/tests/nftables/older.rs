//! A table that another program can remove, or that a dead process has left: what was direct stays
//! so.

use super::super::datagrams::listener::{Listener, asked};
use super::super::datagrams::{FOREIGN, PORT, serve, with_udp};
use super::super::installed::Handle;
use super::super::life_cycle::state;
use super::super::policy_routes::routing;
use super::{listed, ruleset};
use crate::firewall::nftables::TableOwner;
use crate::firewall::nftables::kernel_table::KernelTable;
use crate::firewall::policy_routes::PolicyRoutes;
use crate::firewall::{Ruleset, Switches, cleanup};
use snet_lab::in_variants;
use snet_lab::internet::{Internet, Seen, any, at, udp};
use snet_lab::kernel::{run, sealed_for};
use std::net::UdpSocket;

in_variants!([Native]
    what_was_direct_stays_so_when_a_table_is_made_again,
    what_a_dead_process_left_is_taken_over_or_removed
);

fn capturing() -> Ruleset {
    with_udp(ruleset())
}

/// As on a kernel without owner tables.
fn plain() -> KernelTable {
    KernelTable::install_plain(TableOwner::open().unwrap(), capturing()).unwrap()
}

fn clients() -> [UdpSocket; 2] {
    FOREIGN.map(|to| udp(any(at(to, PORT), 0)))
}

fn seen(clients: &[UdpSocket; 2]) -> [Option<Seen>; 2] {
    [0, 1].map(|family| asked(&clients[family], at(FOREIGN[family], PORT)))
}

const CAPTURED: [Option<Seen>; 2] = [Some(Seen::Captured); 2];
const DIRECT: [Option<Seen>; 2] = [Some(Seen::Direct); 2];

fn what_was_direct_stays_so_when_a_table_is_made_again() {
    let internet = Internet::build();
    let _listener = Listener::start(1111);
    FOREIGN.into_iter().for_each(|to| drop(serve(&internet, to, PORT)));
    let _routes = PolicyRoutes::put(&capturing().policy).unwrap();
    let table = plain();
    let before = clients();
    assert_eq!(seen(&before), DIRECT, "nothing is captured yet");
    table.beat(Switches::CAPTURE).unwrap();
    let later = clients();
    assert_eq!(seen(&later), CAPTURED);
    for damage in [
        // What is known of it then is what was noted.
        "delete table inet snet",
        "flush ruleset",
        "flush chain inet snet udp-own",
        "flush chain inet snet udp-flows4",
        "flush table inet snet",
    ] {
        assert!(table.is_intact().unwrap());
        table.note_older();
        run(&format!("nft {damage}"));
        assert!(!table.is_intact().unwrap(), "{damage}");
        table.restore().unwrap();
        assert_eq!(seen(&before), DIRECT, "{damage}");
        assert_eq!(seen(&later), CAPTURED, "{damage}");
        assert_eq!(seen(&clients()), CAPTURED, "{damage}: new ones");
    }
    table.remove().unwrap();
}

fn what_a_dead_process_left_is_taken_over_or_removed() {
    let internet = Internet::build();
    let _listener = Listener::start(1111);
    FOREIGN.into_iter().for_each(|to| drop(serve(&internet, to, PORT)));
    let there = || state() + &listed() + &routing();
    let nothing = there();
    let before = clients();
    let leave = || {
        std::mem::forget(PolicyRoutes::put(&capturing().policy).unwrap());
        let table = plain();
        assert_eq!(seen(&before), DIRECT, "it is noted by the rules that were left");
        std::mem::forget(table);
    };
    leave();
    let cleaned = cleanup().unwrap().to_string();
    for left in ["the nftables table inet snet", "routing rules of captured UDP"] {
        assert!(cleaned.contains(left), "{left} in {cleaned}");
    }
    assert_eq!(there(), nothing);
    leave();
    let handle = Handle::install(capturing()).unwrap();
    assert_eq!(seen(&before), DIRECT);
    assert_eq!(seen(&clients()), CAPTURED);
    handle.remove().unwrap();
    assert_eq!(there(), nothing);
}
