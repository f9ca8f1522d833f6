//! The capture of UDP beside other programs, over reloads and deaths.

use super::listener::{Listener, asked};
use super::{FOREIGN, PORT, house, serve, with_udp};
use crate::exempt_programs::ExemptPrograms;
use crate::firewall::iptables::IptablesRules;
use crate::firewall::tests::installed::{Handle, backend};
use crate::firewall::tests::life_cycle::state;
use crate::firewall::tests::policy_routes::routing;
use crate::firewall::tests::{of_the_network, router_of_the_network, ruleset};
use crate::firewall::{Backend, Flow, Installed, OnFailure, Ruleset, Switches, cleanup};
use snet_lab::house::House;
use snet_lab::internet::{Internet, Seen, any, at, udp};
use snet_lab::kernel::{run, sealed_for, until};
use snet_lab::{in_both_variants, in_every_variant};
use std::net::{SocketAddr, UdpSocket};

in_every_variant!(
    programs_that_are_exempt_are_not_captured,
    flows_from_before_a_reload_stay_direct,
    a_router_becomes_a_machine_that_captures_its_own,
    a_closed_network_keeps_its_older_flows,
    what_others_lead_away_is_captured_or_lost
);
in_both_variants!(
    a_cleanup_leaves_nothing,
    what_another_program_flushes_comes_back,
    rules_of_others_in_mangle_take_nothing_away
);

const TOOLS: [&str; 2] = ["iptables", "ip6tables"];

/// The internet, which answers and notes who asked.
fn answering(internet: &snet_lab::internet::Host) -> [Callers; 2] {
    FOREIGN.map(|to| serve(internet, to, PORT))
}

type Callers = std::sync::Arc<std::sync::Mutex<Vec<SocketAddr>>>;

/// One client of each family.
fn own() -> [(UdpSocket, SocketAddr); 2] {
    FOREIGN.map(|to| (udp(any(at(to, PORT), 0)), at(to, PORT)))
}

fn of_the_lan(house: &House) -> [(UdpSocket, SocketAddr); 2] {
    FOREIGN.map(|to| (house.one.udp(any(at(to, PORT), 0)), at(to, PORT)))
}

fn seen(clients: &[(UdpSocket, SocketAddr); 2]) -> [Option<Seen>; 2] {
    [0, 1].map(|family| asked(&clients[family].0, clients[family].1))
}

const CAPTURED: [Option<Seen>; 2] = [Some(Seen::Captured); 2];
const DIRECT: [Option<Seen>; 2] = [Some(Seen::Direct); 2];

fn router() -> Ruleset {
    with_udp(router_of_the_network())
}

fn what_another_program_flushes_comes_back() {
    let house = house();
    let _listener = Listener::start(1111);
    let callers = answering(&house.internet);
    let _handle = Handle::install(router()).unwrap();
    let ours = || {
        let state = state();
        let ours = state.lines().filter(|line| line.contains("SNET"));
        ours.map(str::to_owned).collect::<Vec<_>>()
    };
    let whole = ours();
    for table in ["mangle", "raw", "nat", "filter"] {
        for tool in TOOLS {
            run(&format!("{tool} -t {table} -F"));
        }
        // Not at once, but never directly.
        if table != "filter" {
            seen(&own());
            seen(&of_the_lan(&house));
        }
        until(table, || ours() == whole);
        assert_eq!([seen(&own()), seen(&of_the_lan(&house))], [CAPTURED; 2], "{table}");
    }
    assert!(callers.iter().all(|callers| callers.lock().unwrap().is_empty()));
}

fn rules_of_others_in_mangle_take_nothing_away() {
    let house = house();
    let _listener = Listener::start(1111);
    let callers = answering(&house.internet);
    let others = ["OUTPUT", "PREROUTING"];
    // As another program marks everything that goes by, for routes of its own.
    for tool in TOOLS {
        for chain in others {
            run(&format!("{tool} -t mangle -A {chain} -p udp -j MARK --set-mark 0x1"));
        }
    }
    let _handle = Handle::install(router()).unwrap();
    assert_eq!([seen(&own()), seen(&of_the_lan(&house))], [CAPTURED; 2]);
    for tool in TOOLS {
        for chain in others {
            run(&format!("{tool} -t mangle -I {chain} -p udp -j ACCEPT"));
        }
    }
    until("ours stand first", || {
        TOOLS.iter().all(|tool| {
            let listed = run(&format!("{tool} -t mangle -S"));
            let first = |chain: &str| {
                let rule = format!("-A {chain} ");
                listed.lines().find(|line| line.starts_with(&rule)).unwrap().contains("SNET")
            };
            others.into_iter().all(first)
        })
    });
    assert_eq!([seen(&own()), seen(&of_the_lan(&house))], [CAPTURED; 2]);
    assert!(callers.iter().all(|callers| callers.lock().unwrap().is_empty()));
}

/// As a chain of another program in a table of nf_tables: it comes behind ours.
const MARKS: &str = "table inet others {
    chain output {
        type route hook output priority mangle;
        meta l4proto udp meta mark set 0x1
    }
}";

fn what_others_lead_away_is_captured_or_lost() {
    let house = house();
    let _listener = Listener::start(1111);
    let callers = answering(&house.internet);
    let _handle = Handle::install(router()).unwrap();
    assert_eq!(seen(&own()), CAPTURED);
    std::fs::write("/run/others.nft", MARKS).unwrap();
    run("nft -f /run/others.nft");
    let is_native = backend() == Backend::Nftables;
    assert_eq!(seen(&own()), if is_native { CAPTURED } else { [None; 2] }, "their mark");
    // And routes of theirs before ours, for whatever mark.
    for family in ["-4", "-6"] {
        run(&format!("ip {family} rule add priority 1000 lookup main"));
    }
    let clients = own();
    assert_eq!(seen(&clients), [None; 2], "their routes");
    run("nft delete table inet others");
    assert_eq!(seen(&clients), [None; 2], "their routes alone");
    assert!(callers.iter().all(|callers| callers.lock().unwrap().is_empty()));
}

fn a_cleanup_leaves_nothing() {
    let _house = house();
    let before = (state(), routing());
    let installed = IptablesRules::install(router()).unwrap();
    installed.beat(Switches::CAPTURE).unwrap();
    assert_ne!(routing(), before.1);
    // As a SIGKILL leaves it.
    installed.abandon();
    std::mem::forget(installed);
    let cleaned = cleanup().unwrap().to_string();
    for left in ["mangle: 3 jumps", "snet-taken4", "snet-older6", "rules of captured UDP"] {
        assert!(cleaned.contains(left), "{left} in {cleaned}");
    }
    assert_eq!((state(), routing()), before);
    assert_eq!(cleanup().unwrap().to_string(), "nothing to clean");
}

fn programs_that_are_exempt_are_not_captured() {
    let internet = Internet::build();
    let _listener = Listener::start(1111);
    let _callers = answering(&internet);
    let root = ExemptPrograms { users: vec![0], ..ExemptPrograms::default() };
    let exempt = with_udp(ruleset().with(|policy| policy.exempt = root));
    let handle = Handle::install(exempt).unwrap();
    let first = own();
    assert_eq!(seen(&first), DIRECT);
    handle.replace(with_udp(ruleset())).unwrap();
    assert_eq!(seen(&first), DIRECT, "it is older now");
    assert_eq!(seen(&own()), CAPTURED);
}

fn flows_from_before_a_reload_stay_direct() {
    let house = house();
    let _listener = Listener::start(1111);
    let _callers = answering(&house.internet);
    // As on any machine with a stateful firewall: conntrack knows what goes by.
    for tool in TOOLS {
        run(&format!("{tool} -A OUTPUT -m conntrack --ctstate INVALID -j DROP"));
    }
    let handle = Handle::install(router_of_the_network()).unwrap();
    let clients = [own(), of_the_lan(&house)];
    assert_eq!(clients.each_ref().map(seen), [DIRECT; 2]);
    handle.replace(router()).unwrap();
    assert_eq!(clients.each_ref().map(seen), [DIRECT; 2], "UDP is captured now");
    assert_eq!([seen(&own()), seen(&of_the_lan(&house))], [CAPTURED; 2]);
}

fn a_router_becomes_a_machine_that_captures_its_own() {
    let house = house();
    let _listener = Listener::start(1111);
    let _callers = answering(&house.internet);
    let listens = vec!["::".parse().unwrap()];
    let local = || with_udp(ruleset().with(|policy| policy.listeners.clone_from(&listens)));
    let handle = Handle::install(router_of_the_network()).unwrap();
    for _ in 0..2 {
        assert_eq!([seen(&own()), seen(&of_the_lan(&house))], [DIRECT; 2]);
        handle.replace(local()).unwrap();
        assert_eq!([seen(&own()), seen(&of_the_lan(&house))], [CAPTURED, DIRECT]);
        handle.replace(router()).unwrap();
        assert_eq!([seen(&own()), seen(&of_the_lan(&house))], [CAPTURED; 2]);
        handle.replace(local()).unwrap();
        assert_eq!([seen(&own()), seen(&of_the_lan(&house))], [CAPTURED, DIRECT]);
        handle.replace(router_of_the_network()).unwrap();
    }
    handle.remove().unwrap();
}

/// What a dead snet knew of them is in its sets only: conntrack is not asked where the network was
/// closed.
fn a_closed_network_keeps_its_older_flows() {
    let internet = Internet::build();
    let _listener = Listener::start(1111);
    let _callers = answering(&internet);
    let closed = || {
        let closed = ruleset().with(|policy| policy.on_failure = OnFailure::Closed);
        of_the_network(with_udp(closed))
    };
    let clients = own();
    let flows = [0, 1].map(|family| {
        let from = ["192.0.2.2", "2001:db8:2::2"][family];
        let port = clients[family].0.local_addr().unwrap().port();
        Flow { source: at(from, port), destination: clients[family].1 }
    });
    let first = backend().prepare().unwrap().install(closed()).unwrap();
    first.exempt_flows(&flows);
    first.beat(Switches::CAPTURE).unwrap();
    first.commit();
    assert_eq!([seen(&clients), seen(&own())], [DIRECT, CAPTURED]);
    assert!(first.abandon());
    drop(first);
    let second = backend().prepare().unwrap().install(closed()).unwrap();
    second.beat(Switches::CAPTURE).unwrap();
    assert_eq!([seen(&clients), seen(&own())], [DIRECT, CAPTURED]);
    second.remove().unwrap();
}
