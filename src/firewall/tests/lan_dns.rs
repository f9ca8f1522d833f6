//! Router mode: whom LAN hosts ask for names, and who answers.

use super::installed::Handle;
use super::router::{asked, our_ports, seen};
use super::set;
use super::{of_the_network, router_of_the_network as router};
use snet_lab::Variant;
use snet_lab::house::House;
use snet_lab::in_every_variant;
use snet_lab::internet::{Seen, any, at, datagram, settled, tcp, udp};
use snet_lab::kernel::{run, sealed_for, until, variant};
use std::net::SocketAddrV6;

in_every_variant!(
    the_dns_of_the_lan_is_captured_whatever_server_is_asked,
    a_name_server_by_link_local_address,
    the_machines_own_link_local_name_servers,
    a_published_name_server_is_reached_if_it_is_named
);

fn the_dns_of_the_lan_is_captured_whatever_server_is_asked() {
    let house = House::build();
    house.internet.greet(53, b'I');
    house.two.greet(53, b'T');
    let resolver = our_ports();
    let _handle = Handle::install(router()).unwrap();
    for (address, expected, why) in [
        ("198.51.100.1", Seen::Captured, "foreign"),
        ("203.0.113.1", Seen::Captured, "China"),
        ("10.9.0.1", Seen::Captured, "reserved"),
        ("192.0.2.1", Seen::Captured, "beyond the uplink, on its link"),
        ("192.0.2.2", Seen::Captured, "the router's outer address"),
        ("192.168.1.1", Seen::Captured, "the router"),
        ("198.51.100.33", Seen::Direct, "rules.direct"),
        ("2001:db8:f::1", Seen::Captured, "foreign"),
        ("2001:db8:1::1", Seen::Captured, "the router"),
        ("2001:db8:d::1", Seen::Direct, "rules.direct"),
    ] {
        assert_eq!(asked(&house, &house.one, address, &resolver), expected, "UDP {address}: {why}");
        assert_eq!(seen(&house.one, address, 53), expected, "TCP {address}: {why}");
    }
    for neighbour in ["192.168.1.20", "2001:db8:1::20"] {
        let to = at(neighbour, 53);
        let there = house.two.udp(to);
        let client = house.one.udp(any(to, 0));
        assert_eq!(datagram(&client, to, &there, Some(&resolver)), Seen::Direct, "{neighbour}");
        assert_eq!(seen(&house.one, neighbour, 53), Seen::Direct, "{neighbour}");
    }
}

/// As a router advertises itself (RDNSS, RFC 8106).
fn a_name_server_by_link_local_address() {
    let house = House::build();
    let resolver = our_ports();
    let _handle = Handle::install(router()).unwrap();
    let shown = run("ip -6 -brief address show dev br-lan scope link");
    let own = shown.split_whitespace().nth(2).and_then(|word| word.split('/').next()).unwrap();
    let own = own.parse().unwrap();
    let scope = house.one.run(|| nix::net::if_::if_nametoindex("lan").unwrap());
    let to = SocketAddrV6::new(own, 53, 0, scope).into();
    let client = house.one.udp(at("::", 0));
    let there = udp(at("::", 53));
    assert_eq!(datagram(&client, to, &there, Some(&resolver)), Seen::Captured);
    assert_eq!(house.one.run(move || tcp(to, None)), Seen::Captured);
}

/// As an upstream router advertises itself to this machine.
fn the_machines_own_link_local_name_servers() {
    let house = House::build();
    let resolver = our_ports();
    let handle = Handle::install(router()).unwrap();
    let scope = nix::net::if_::if_nametoindex("uplink").unwrap();
    let gateway = "fe80::1".parse().unwrap();
    let to = SocketAddrV6::new(gateway, 53, 0, scope).into();
    house.internet.run(|| {
        run("ip address add fe80::1/64 dev downlink nodad");
        settled("fe80::1");
    });
    house.internet.greet(53, b'I');
    let there = house.internet.udp(at("::", 53));
    let client = udp(at("::", 0));
    for _ in 0..2 {
        assert_eq!(datagram(&client, to, &there, Some(&resolver)), Seen::Captured);
    }
    assert_eq!(tcp(to, None), Seen::Captured);
    // Another address of our own on that link.
    run("ip address del fe80::2/64 dev uplink");
    run("ip address add fe80::3/64 dev uplink nodad");
    settled("fe80::3");
    until("the new address is where the queries go", || {
        let rules = match variant() {
            Variant::Native => run("nft list chain inet snet link6"),
            Variant::Nft | Variant::Legacy => run("ip6tables -t nat -S SNET-LINK"),
        };
        rules.contains("[fe80::3]:1211") && !rules.contains("[fe80::2]")
    });
    let client = udp(at("::", 0));
    assert_eq!(datagram(&client, to, &there, Some(&resolver)), Seen::Captured);
    assert_eq!(tcp(to, None), Seen::Captured);
    handle.remove().unwrap();
    assert_eq!(datagram(&client, to, &there, Some(&resolver)), Seen::Direct);
    assert_eq!(tcp(to, None), Seen::Direct);
}

fn a_published_name_server_is_reached_if_it_is_named() {
    let house = House::build();
    let resolver = our_ports();
    let forward = "-p udp --dport 53 -j DNAT --to-destination 192.168.1.10:53";
    run(&format!("iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL {forward}"));
    run("iptables -t nat -A POSTROUTING -s 192.168.1.0/24 -d 192.168.1.0/24 -j MASQUERADE");
    let to = at("192.168.1.1", 53);
    let published = house.one.udp(at("192.168.1.10", 53));
    let ask = || datagram(&house.two.udp(any(to, 0)), to, &published, Some(&resolver));
    let handle = Handle::install(router()).unwrap();
    assert_eq!(ask(), Seen::Captured);
    handle.remove().unwrap();
    let direct = set("192.168.1.1/32");
    let _handle =
        Handle::install(of_the_network(router().with_rules(|rules| rules.direct = direct)))
            .unwrap();
    assert_eq!(ask(), Seen::Direct);
}
