//! What goes into the flowtable of a router, and what ends it. A kernel that was built without
//! flowtables (CONFIG_NF_FLOW_TABLE) can show only that nothing else is lost there:
//! `scripts/flowtables.sh` runs these tests in one that has them.

use super::super::installed::Handle;
use super::super::router::{our_ports, seen};
use super::super::{of_the_network, router_of_the_network as router, set};
use super::{run, wait_for};
use crate::firewall::nftables::TableOwner;
use crate::firewall::nftables::kernel_table::KernelTable;
use crate::firewall::ruleset::Ruleset;
use crate::route::Route;
use snet_lab::house::House;
use snet_lab::in_variants;
use snet_lab::internet::{Seen, any, at, connect, echoes};
use snet_lab::kernel::sealed_for;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

in_variants!([Native]
    without_flowtables_nothing_else_is_lost,
    domestic_flows_are_offloaded_and_no_others,
    datagrams_are_offloaded_once_their_flow_lasts,
    what_ends_a_flow_takes_it_out,
    after_a_reload_the_long_way_sees_the_flows_again,
    what_is_learned_ends_what_it_contradicts,
    a_flowtable_of_others_is_left_alone,
    the_devices_follow_the_network,
    without_the_table_flows_go_on,
);

/// As nft says it of an empty table of its own.
pub(super) fn has_flowtables() -> bool {
    let tried = Command::new("nft")
        .arg("-c")
        .arg("table inet trial { flowtable ft { hook ingress priority 0; devices = { lo }; }; }")
        .output()
        .unwrap();
    if !tried.status.success() {
        eprintln!("this kernel has no flowtables: only scripts/flowtables.sh can try this");
    }
    tried.status.success()
}

fn offloading() -> Ruleset {
    wanted(router())
}

fn wanted(ruleset: Ruleset) -> Ruleset {
    of_the_network(ruleset.with(|policy| policy.lan.as_mut().unwrap().offload = true))
}

/// A house whose servers greet, with these rules.
fn house(ruleset: fn() -> Ruleset) -> (House, Handle) {
    let house = House::build();
    house.internet.greet(80, b'I');
    our_ports();
    let handle = Handle::install(ruleset()).unwrap();
    (house, handle)
}

/// A connection of the first LAN host that has been used.
fn connected(house: &House, address: &str) -> TcpStream {
    let to = at(address, 80);
    let (mut stream, seen) = house.one.run(move || connect(to, None)).unwrap();
    assert_eq!(seen, Seen::Direct, "{address}");
    assert!(echoes(&mut stream) && echoes(&mut stream), "{address}");
    stream
}

/// The flows to this address that conntrack knows as offloaded, or as not.
fn flows(address: &str, offloaded: bool) -> usize {
    let address = match at(address, 0).ip() {
        std::net::IpAddr::V4(v4) => format!("dst={v4} "),
        std::net::IpAddr::V6(v6) => {
            let groups: Vec<String> = v6.segments().iter().map(|it| format!("{it:04x}")).collect();
            format!("dst={} ", groups.join(":"))
        }
    };
    let known = std::fs::read_to_string("/proc/net/nf_conntrack").unwrap();
    let known = known.lines().filter(|line| line.contains(&address));
    known.filter(|line| line.contains("[OFFLOAD]") == offloaded).count()
}

/// The devices of our flowtable, as nft shows them; none: there is no flowtable.
fn devices() -> String {
    let listed = run("nft list flowtables inet");
    let (_, ours) = listed.split_once("table inet snet {").unwrap_or_default();
    let (_, devices) = ours.split_once("devices = {").unwrap_or_default();
    devices.split('}').next().unwrap().replace('"', "").trim().to_owned()
}

/// Tells one flowtable from the next.
fn flowtable() -> String {
    let listed = run("nft -a list flowtables inet");
    let line = listed.lines().find(|line| line.contains("flowtable direct"));
    line.unwrap_or_default().trim().to_owned()
}

fn without_flowtables_nothing_else_is_lost() {
    let (house, handle) = house(offloading);
    for (address, expected) in [
        ("198.51.100.1", Seen::Captured),
        ("203.0.113.1", Seen::Direct),
        ("2001:db8:f::1", Seen::Captured),
        ("2001:db8:c::1", Seen::Direct),
        ("198.51.100.65", Seen::Refused),
    ] {
        assert_eq!(seen(&house.one, address, 80), expected, "{address}");
    }
    assert_eq!(has_flowtables(), run("nft list table inet snet").contains("flow add @direct"));
    handle.replace(router()).unwrap();
    assert!(!run("nft list table inet snet").contains("flow add"));
    handle.replace(offloading()).unwrap();
    handle.remove().unwrap();
    assert!(!run("nft list ruleset").contains("snet"));
    // An interface that has gone since the network was looked at.
    let mut late = offloading();
    late.environment.offload.devices.insert("gone0".into());
    let table = KernelTable::install(TableOwner::open().unwrap(), late.clone()).unwrap();
    assert_eq!(devices(), "", "none rather than no rules");
    assert!(run("nft list table inet snet").contains("chain filter-lan4"));
    table.replace(&offloading(), &[]).unwrap_or_else(|error| assert!(!has_flowtables(), "{error}"));
    table.replace(&late, &[]).unwrap();
    assert_eq!(devices(), "");
    table.remove().unwrap();
}

fn domestic_flows_are_offloaded_and_no_others() {
    if !has_flowtables() {
        return;
    }
    let (house, _handle) = house(|| {
        let mut ruleset = router();
        ruleset = ruleset.with(|policy| {
            policy.lan.as_mut().unwrap().direct_sources = set("192.168.1.20/32 2001:db8:1::20/128");
        });
        wanted(ruleset)
    });
    assert_eq!(devices(), "br-lan, uplink");
    let domestic = ["203.0.113.1", "2001:db8:c::1", "198.51.100.33", "2001:db8:d::1"];
    let mut streams: Vec<TcpStream> =
        domestic.iter().map(|address| connected(&house, address)).collect();
    for address in domestic {
        assert_eq!((flows(address, true), flows(address, false)), (1, 0), "{address}");
    }
    for stream in &mut streams {
        assert!((0..100).all(|_| echoes(stream)), "both ways");
    }
    // Near, reserved, a server of ours: direct for other reasons, and not by much.
    let others = ["192.0.2.1", "10.9.0.1", "198.51.100.80"];
    let _others: Vec<TcpStream> = others.iter().map(|address| connected(&house, address)).collect();
    for address in others {
        assert_eq!((flows(address, true), flows(address, false)), (0, 1), "{address}");
    }
    for foreign in ["198.51.100.1", "203.0.113.33", "2001:db8:f::1"] {
        let to = at(foreign, 80);
        let (mut stream, seen) = house.one.run(move || connect(to, None)).unwrap();
        assert_eq!(seen, Seen::Captured, "{foreign}");
        assert!((0..10).all(|_| echoes(&mut stream)));
        assert_eq!((flows(foreign, true), flows(foreign, false)), (0, 1), "{foreign}");
    }
    // A host that is left alone.
    let to = at("203.0.113.9", 80);
    let (mut alone, _) = house.two.run(move || connect(to, None)).unwrap();
    assert!((0..10).all(|_| echoes(&mut alone)));
    assert_eq!((flows("203.0.113.9", true), flows("203.0.113.9", false)), (0, 1));
}

fn datagrams_are_offloaded_once_their_flow_lasts() {
    if !has_flowtables() {
        return;
    }
    let (house, _handle) = house(offloading);
    for domestic in ["203.0.113.1", "2001:db8:c::1"] {
        let to = at(domestic, 4433);
        let there = house.internet.udp(to);
        let client = house.one.udp(any(to, 0));
        let exchange = || {
            let mut buffer = [0; 64];
            client.send_to(b"question", to).unwrap();
            let (_, from) = there.recv_from(&mut buffer).unwrap();
            there.send_to(b"answer", from).unwrap();
            client.recv_from(&mut buffer).unwrap();
        };
        let began = Instant::now();
        (0..3).for_each(|_| exchange());
        let offloaded = flows(domestic, true);
        // Conntrack expects more of a flow that lasts two seconds (nf_conntrack_udp_packet).
        let is_young = began.elapsed() < Duration::from_secs(2);
        assert!(offloaded == 0 || !is_young, "{domestic}: a few questions are not worth it");
        while flows(domestic, true) == 0 {
            assert!(began.elapsed() < Duration::from_secs(20), "{domestic}");
            exchange();
            std::thread::sleep(Duration::from_millis(100));
        }
        (0..50).for_each(|_| exchange());
        let flow = (flows(domestic, true), flows(domestic, false));
        assert_eq!(flow, (1, 0), "{domestic}");
    }
}

fn what_ends_a_flow_takes_it_out() {
    if !has_flowtables() {
        return;
    }
    let (house, _handle) = house(offloading);
    let ended = connected(&house, "203.0.113.1");
    let reset = connected(&house, "203.0.113.2");
    assert_eq!((flows("203.0.113.1", true), flows("203.0.113.2", true)), (1, 1));
    drop(ended);
    socket2::SockRef::from(&reset).set_linger(Some(Duration::ZERO)).unwrap();
    drop(reset);
    // A FIN and a RST go the long way, so conntrack knows.
    wait_for(|| flows("203.0.113.1", true) + flows("203.0.113.2", true) == 0);
    let known = || std::fs::read_to_string("/proc/net/nf_conntrack").unwrap();
    wait_for(|| !known().lines().any(|line| line.contains("ESTABLISHED")));
}

fn after_a_reload_the_long_way_sees_the_flows_again() {
    if !has_flowtables() {
        return;
    }
    let (house, handle) = house(offloading);
    // A rule of another program that looks at every packet.
    run("nft add table inet other");
    run("nft add chain inet other forward { type filter hook forward priority 0 ; }");
    run("nft add rule inet other forward ip daddr 203.0.113.1 tcp dport 80 counter");
    let packets = || {
        let listed = run("nft list chain inet other forward");
        let (_, behind) = listed.split_once("packets ").unwrap();
        behind.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let mut blocked = connected(&house, "203.0.113.1");
    let mut other = connected(&house, "203.0.113.2");
    let before = packets();
    assert!((0..20).all(|_| echoes(&mut blocked)));
    assert!(packets() - before < 5, "the short way: {before}, {}", packets());
    let block = || wanted(router().with_rules(|rules| rules.block = set("203.0.113.1/32")));
    handle.replace(block()).unwrap();
    wait_for(|| flows("203.0.113.1", true) == 0);
    let before = packets();
    assert!((0..20).all(|_| echoes(&mut blocked)), "what lives goes on, as without offloading");
    assert!(packets() - before >= 20, "the long way");
    assert_eq!(flows("203.0.113.1", true), 0);
    assert_eq!(seen(&house.one, "203.0.113.1", 80), Seen::Refused, "what begins does not");
    // What is still domestic comes back.
    assert!(echoes(&mut other) && echoes(&mut other));
    assert_eq!(flows("203.0.113.2", true), 1);
    // And a rule of others that ends it has its way.
    run("nft add rule inet other forward ip daddr 203.0.113.1 reject with tcp reset");
    assert!(!echoes(&mut blocked));
}

fn what_is_learned_ends_what_it_contradicts() {
    if !has_flowtables() {
        return;
    }
    let (house, handle) = house(offloading);
    let mut stream = connected(&house, "203.0.113.1");
    let first = flowtable();
    assert!(!first.is_empty());
    let hour = Duration::from_secs(3600);
    handle.learn("198.51.100.1".parse().unwrap(), Route::Proxy, hour);
    handle.learn("203.0.113.1".parse().unwrap(), Route::Direct, hour);
    assert_eq!(flowtable(), first, "nothing that was direct is so no more");
    handle.learn("203.0.113.1".parse().unwrap(), Route::Proxy, hour);
    let second = flowtable();
    assert_ne!(second, first);
    wait_for(|| flows("203.0.113.1", true) == 0);
    assert!((0..10).all(|_| echoes(&mut stream)), "what lives goes on");
    assert_eq!(flows("203.0.113.1", true), 0, "by the long way");
    handle.learn("203.0.113.1".parse().unwrap(), Route::Proxy, hour);
    handle.learn("203.0.113.1".parse().unwrap(), Route::Block, hour);
    assert_eq!(flowtable(), second, "it was not direct any more");
    // What was learned as direct ends too.
    let learned = "198.51.100.1";
    handle.learn(learned.parse().unwrap(), Route::Direct, hour);
    let _stream = connected(&house, learned);
    assert_eq!(flows(learned, true), 1);
    handle.learn(learned.parse().unwrap(), Route::Block, hour);
    wait_for(|| flows(learned, true) == 0);
    let third = flowtable();
    handle.forget();
    assert_ne!(flowtable(), third);
}

fn a_flowtable_of_others_is_left_alone() {
    if !has_flowtables() {
        return;
    }
    let (house, handle) = house(offloading);
    drop(handle);
    for at in ["uplink", "br-lan.10"] {
        std::fs::write(
            "/run/fw4.nft",
            format!(
                "table inet fw4 {{\n flowtable ft {{ hook ingress priority 0; \
                 devices = {{ \"{at}\" }}; }}\n }}\n"
            ),
        )
        .unwrap();
        run("nft -f /run/fw4.nft");
        let wanted = offloading();
        let told = wanted.environment.offload.told(&wanted.policy).unwrap();
        assert!(told.contains("inet fw4") && told.contains(at), "{told}");
        let handle = Handle::install(wanted).unwrap();
        assert_eq!(devices(), "", "{at}");
        assert_eq!(seen(&house.one, "198.51.100.1", 80), Seen::Captured);
        handle.remove().unwrap();
        assert!(run("nft list flowtables inet").contains("fw4"), "not touched");
        run("nft delete table inet fw4");
    }
}

fn the_devices_follow_the_network() {
    if !has_flowtables() {
        return;
    }
    let (house, _handle) = house(offloading);
    let mut stream = connected(&house, "203.0.113.1");
    run("ip link add guest type bridge");
    run("ip address add 192.168.9.1/24 dev guest");
    run("ip link set guest up");
    wait_for(|| devices() == "br-lan, guest, uplink");
    assert!(echoes(&mut stream) && echoes(&mut stream));
    assert_eq!(flows("203.0.113.1", true), 1);
    run("ip link delete guest");
    wait_for(|| devices() == "br-lan, uplink");
    assert!((0..10).all(|_| echoes(&mut stream)));
}

fn without_the_table_flows_go_on() {
    if !has_flowtables() {
        return;
    }
    let (house, handle) = house(offloading);
    let mut stream = connected(&house, "203.0.113.1");
    handle.release().unwrap();
    assert!(echoes(&mut stream));
    // As at a death, and at a stop.
    drop(handle);
    assert_eq!(devices(), "");
    wait_for(|| flows("203.0.113.1", true) == 0);
    assert!((0..10).all(|_| echoes(&mut stream)));
}
