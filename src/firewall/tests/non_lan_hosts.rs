//! Router mode on networks and under settings of many kinds, and what strangers find.

use super::installed::Handle;
use super::router::{FOREIGN, asked, our_ports, seen};
use super::{of_the_network, router_of_the_network as router};
use crate::firewall::LanPolicy;
use snet_lab::Variant;
use snet_lab::house::{House, bridge};
use snet_lab::in_every_variant;
use snet_lab::internet::{Seen, any, at, connect, datagram, echoes, tcp};
use snet_lab::kernel::{run, sealed_for, until, variant};
use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::Duration;

in_every_variant!(
    strangers_find_nobody,
    strangers_find_nobody_in_local_mode_either,
    what_a_bridge_passes_on_is_left_alone,
    policies_of_drop_let_the_captured_in,
    a_new_bridge_is_captured_and_a_new_address_exempted,
    a_router_with_one_interface,
    reverse_path_filters_are_no_obstacle
);

/// How many packets our door has turned away. nf_tables' rules of ours count nothing: a chain
/// before them counts what arrives.
fn dropped(tool: &str) -> u64 {
    if matches!(variant(), Variant::Native) {
        let listed = run("nft list counter inet watch arrived");
        let packets = listed.split_whitespace().skip_while(|word| *word != "packets").nth(1);
        return packets.unwrap().parse().unwrap();
    }
    let listed = run(&format!("{tool} -nvxL SNET-INPUT"));
    let drops = listed.lines().filter(|line| line.contains(" DROP "));
    drops.map(|line| line.split_whitespace().next().unwrap().parse::<u64>().unwrap()).sum()
}

fn strangers_find_nobody() {
    let house = House::build();
    let resolver = our_ports();
    resolver.set_nonblocking(true).unwrap();
    let _handle = Handle::install(router()).unwrap();
    run("nft add table inet watch");
    run("nft add counter inet watch arrived");
    run("nft add chain inet watch input { type filter hook input priority -20 ; }");
    for protocol in ["tcp", "udp"] {
        run(&format!(
            "nft add rule inet watch input {protocol} dport {{ 1111, 1211 }} counter name arrived"
        ));
    }
    for (host, own) in [
        (&*house.internet, ["192.0.2.2", "2001:db8:2::2"]),
        (&house.one, ["192.168.1.1", "2001:db8:1::1"]),
    ] {
        for (address, tool) in own.into_iter().zip(["iptables", "ip6tables"]) {
            for port in [1111, 1211] {
                let before = dropped(tool);
                let to = at(address, port);
                let error = host.run(move || {
                    TcpStream::connect_timeout(&to, Duration::from_millis(100)).unwrap_err()
                });
                assert_eq!(error.kind(), ErrorKind::TimedOut, "{to}");
                assert!(dropped(tool) > before, "{to}");
            }
            let before = dropped(tool);
            let to = at(address, 1211);
            host.udp(any(to, 0)).send_to(b"question", to).unwrap();
            while dropped(tool) == before {
                std::thread::yield_now();
            }
            // Whatever had passed would be here.
            std::thread::sleep(Duration::from_millis(20));
            let error = resolver.recv(&mut [0; 64]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
        }
    }
    // Nor are they captured on the way through us, or to port 53.
    house.internet.run(|| run("ip route add 198.51.100.200/32 via 192.0.2.2"));
    let through = house.internet.run(|| {
        let to = at("198.51.100.200", 80);
        TcpStream::connect_timeout(&to, Duration::from_millis(300)).unwrap_err().kind()
    });
    assert_eq!(through, ErrorKind::TimedOut);
    let refused = house.internet.run(|| {
        let to = at("192.0.2.2", 53);
        TcpStream::connect_timeout(&to, Duration::from_secs(5)).unwrap_err().kind()
    });
    assert_eq!(refused, ErrorKind::ConnectionRefused, "no open resolver on port 53");
}

/// Where all addresses are listened on, say for link-local name servers.
fn strangers_find_nobody_in_local_mode_either() {
    let house = House::build();
    let _resolver = our_ports();
    let _handle = Handle::install(router().with(|policy| policy.lan = None)).unwrap();
    for own in ["192.0.2.2", "2001:db8:2::2"] {
        for port in [1111, 1211] {
            let to = at(own, port);
            let end = house.internet.run(move || {
                TcpStream::connect_timeout(&to, Duration::from_millis(300)).unwrap_err().kind()
            });
            assert_eq!(end, ErrorKind::TimedOut, "{to}");
        }
    }
    for foreign in FOREIGN {
        assert_eq!(tcp(at(foreign, 80), None), Seen::Captured, "the machine itself");
    }
}

/// With br_netfilter, iptables sees what a bridge passes on.
fn what_a_bridge_passes_on_is_left_alone() {
    let house = House::build();
    house.internet.greet(80, b'I');
    house.two.greet(80, b'T');
    house.two.greet(53, b'T');
    let resolver = our_ports();
    let _handle = Handle::install(router()).unwrap();
    for called in ["0", "1"] {
        for family in ["iptables", "ip6tables"] {
            let setting = format!("/proc/sys/net/bridge/bridge-nf-call-{family}");
            if let Err(error) = std::fs::write(setting, called) {
                println!("without br_netfilter: {error}");
                assert_eq!(called, "0", "the kernel lacks br_netfilter");
            }
        }
        for neighbour in ["192.168.1.20", "2001:db8:1::20"] {
            assert_eq!(seen(&house.one, neighbour, 80), Seen::Direct, "{called} {neighbour}");
            assert_eq!(seen(&house.one, neighbour, 53), Seen::Direct, "{called} {neighbour}");
            let to = at(neighbour, 53);
            let client = house.one.udp(any(to, 0));
            let there = house.two.udp(to);
            let seen = datagram(&client, to, &there, Some(&resolver));
            assert_eq!(seen, Seen::Direct, "{called} {neighbour}");
        }
        for foreign in FOREIGN {
            assert_eq!(seen(&house.one, foreign, 80), Seen::Captured, "{called} {foreign}");
            let seen = asked(&house, &house.one, foreign, &resolver);
            assert_eq!(seen, Seen::Captured, "{called} {foreign}");
        }
        assert_eq!(seen(&house.one, "203.0.113.1", 80), Seen::Direct, "{called}");
    }
}

fn policies_of_drop_let_the_captured_in() {
    let house = House::build();
    house.internet.greet(80, b'I');
    let resolver = our_ports();
    for tool in ["iptables", "ip6tables"] {
        run(&format!("{tool} -A INPUT -i lo -j ACCEPT"));
        run(&format!("{tool} -A INPUT -p ipv6-icmp -j ACCEPT")
            .replace("ipv6-icmp", if tool == "iptables" { "icmp" } else { "ipv6-icmp" }));
        run(&format!("{tool} -P INPUT DROP"));
        run(&format!("{tool} -P FORWARD DROP"));
        // What nothing is forwarded from is not served.
        run(&format!("{tool} -A FORWARD -i br-lan -j ACCEPT"));
        if matches!(variant(), Variant::Native) {
            // The remedy that is told.
            run(&format!("{tool} -I INPUT -m conntrack --ctstate DNAT -j ACCEPT"));
        }
    }
    let handle = Handle::install(router()).unwrap();
    for foreign in FOREIGN {
        assert_eq!(seen(&house.one, foreign, 80), Seen::Captured, "{foreign}");
        assert_eq!(seen(&house.one, foreign, 53), Seen::Captured, "{foreign}");
        assert_eq!(asked(&house, &house.one, foreign, &resolver), Seen::Captured, "{foreign}");
    }
    let to = at(FOREIGN[0], 80);
    let (mut during, _) = house.one.run(move || connect(to, None)).unwrap();
    handle.release().unwrap();
    assert!(echoes(&mut during), "the first half of a stop closed the door");
    handle.remove().unwrap();
}

fn a_new_bridge_is_captured_and_a_new_address_exempted() {
    let house = House::build();
    house.internet.greet(80, b'I');
    let resolver = our_ports();
    let _handle = Handle::install(router()).unwrap();
    let native = matches!(variant(), Variant::Native);
    let listed = |set: &str| match native {
        true if set == "on-link4" => run("nft list chain inet snet queries4"),
        true => run(&format!("nft list set inet snet {set}")),
        false => run(&format!("ipset list snet-{set}")),
    };
    let has = |set: &str, entry: &str| listed(set).contains(entry);

    let [container, _] = bridge("docker0", "172.17.0", "fd00:17:");
    until("the new bridge in the set", || has("lan4", "docker0") && has("lan6", "docker0"));
    assert!(has("on-link4", "172.17.0.0/24"));
    assert_eq!(seen(&container, FOREIGN[0], 80), Seen::Captured);
    assert_eq!(asked(&house, &container, FOREIGN[0], &resolver), Seen::Captured);

    run("ip link del docker0");
    until("the old bridge gone", || !has("lan4", "docker0") && !has("on-link4", "docker0"));
    assert!(!has("connected4", "172.17.0.0"));

    assert_eq!(tcp(at("198.51.100.20", 80), None), Seen::Captured);
    run("ip address add 198.51.100.17/28 dev uplink");
    until("the new prefix in the set", || has("connected4", "198.51.100.16/28"));
    run("ip route add 198.51.100.128/28 dev uplink");
    until("the on-link route in the set", || has("connected4", "198.51.100.128/28"));

    // A link that gets a default route is no LAN side any longer.
    run("ip route add default via 192.168.1.20 dev br-lan metric 500");
    until("the new uplink out of the set", || !has("lan4", "br-lan"));
}

/// A side router: its hosts and its uplink are on the same wire.
fn a_router_with_one_interface() {
    let [one, main] = bridge("br0", "192.168.1", "2001:db8:1:");
    main.run(|| {
        run("ip route del default");
        run("ip route add local 0.0.0.0/0 dev lo table main");
    });
    main.greet(80, b'I');
    our_ports();
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
    run("ip route add default via 192.168.1.20");
    let of = |patterns: &[&str]| {
        let patterns = patterns.iter().map(|pattern| pattern.to_string()).collect();
        of_the_network(
            router()
                .with(|policy| policy.lan = Some(LanPolicy { patterns, ..LanPolicy::default() })),
        )
    };
    for (patterns, expected) in
        [(&[][..], Seen::Direct), (&["br*"], Seen::Direct), (&["br0"], Seen::Captured)]
    {
        let handle = Handle::install(of(patterns)).unwrap();
        assert_eq!(seen(&one, FOREIGN[0], 80), expected, "{patterns:?}");
        assert_eq!(seen(&one, "203.0.113.1", 80), Seen::Direct, "{patterns:?}");
        handle.remove().unwrap();
    }
}

fn reverse_path_filters_are_no_obstacle() {
    let house = House::build();
    house.internet.greet(80, b'I');
    let resolver = our_ports();
    for interface in ["all", "br-lan", "uplink"] {
        std::fs::write(format!("/proc/sys/net/ipv4/conf/{interface}/rp_filter"), "1").unwrap();
    }
    // A VPN takes the default route of the machine.
    run("ip tuntap add dev tun0 mode tun");
    run("ip address add 10.9.0.2/24 dev tun0");
    run("ip link set tun0 up");
    run("ip route add 0.0.0.0/1 dev tun0 table 77");
    let ruleset = router();
    assert!(ruleset.environment.lan.uplinks.contains("tun0"));
    let _handle = Handle::install(ruleset).unwrap();
    assert_eq!(seen(&house.one, FOREIGN[0], 80), Seen::Captured);
    assert_eq!(seen(&house.one, "203.0.113.1", 80), Seen::Direct);
    assert_eq!(asked(&house, &house.one, FOREIGN[0], &resolver), Seen::Captured);
}
