//! Router mode: what becomes of the packets of LAN hosts, and of strangers.

use super::house::{House, bridge, of_the_network, router};
use super::installed::Handle;
use super::internet::{Host, Seen, any, at, connect, datagram, echoes, greet, settled, tcp, udp};
use super::lab::{Variant, run, until, variant};
use super::{in_both_variants, in_every_variant, set};
use crate::firewall::{Lan, Ruleset};
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, SocketAddrV6, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

in_every_variant! {
    lan_hosts_are_captured_as_the_ladder_says,
    the_original_destination_of_a_lan_host_is_known,
    the_dns_of_the_lan_is_captured_whatever_server_is_asked,
    a_name_server_by_link_local_address,
    the_machines_own_link_local_name_servers,
    direct_sources_escape_everything,
    quic_of_the_lan_is_rejected,
    forwarded_ports_and_hairpins_stay_alive,
    a_published_name_server_is_reached_if_it_is_named,
    strangers_find_nobody,
    strangers_find_nobody_in_local_mode_either,
    what_a_bridge_passes_on_is_left_alone,
    policies_of_drop_let_the_captured_in,
    a_new_bridge_is_captured_and_a_new_address_exempted,
    a_router_with_one_interface,
    living_connections_of_the_lan_go_on,
    reverse_path_filters_are_no_obstacle,
    from_local_mode_to_a_router_and_back,
}

const FOREIGN: [&str; 2] = ["198.51.100.1", "2001:db8:f::1"];

/// snet's ports, on all addresses.
fn our_ports() -> UdpSocket {
    for port in [1111, 1211] {
        greet(TcpListener::bind(at("::", port)).unwrap(), b'S');
    }
    udp(at("::", 1211))
}

/// Who answers a LAN host.
fn seen(host: &Host, address: &str, port: u16) -> Seen {
    let to = at(address, port);
    host.run(move || tcp(to, None))
}

/// Who answers a LAN host's datagram.
fn asked(house: &House, host: &Host, address: &str, resolver: &UdpSocket) -> Seen {
    let to = at(address, 53);
    let there = house.internet.udp(to);
    datagram(&host.udp(any(to, 0)), to, &there, Some(resolver))
}

fn lan_hosts_are_captured_as_the_ladder_says() {
    let house = House::new();
    house.internet.greet(80, b'I');
    house.two.greet(80, b'T');
    greet(TcpListener::bind(at("::", 80)).unwrap(), b'M');
    our_ports();
    let handle = Handle::install(router()).unwrap();
    for (address, expected, why) in [
        ("198.51.100.1", Seen::Captured, "foreign"),
        ("203.0.113.1", Seen::Direct, "China"),
        ("203.0.113.33", Seen::Captured, "rules.proxy beats China"),
        ("10.9.0.1", Seen::Direct, "reserved"),
        ("192.0.2.1", Seen::Direct, "connected"),
        ("192.0.2.2", Seen::Direct, "the router's outer address"),
        ("192.168.1.1", Seen::Direct, "the router"),
        ("192.168.1.20", Seen::Direct, "a neighbour"),
        ("198.51.100.33", Seen::Direct, "rules.direct"),
        ("198.51.100.65", Seen::Refused, "rules.block"),
        ("198.51.100.80", Seen::Direct, "upstream server"),
        ("2001:db8:f::1", Seen::Captured, "foreign"),
        ("2001:db8:c::1", Seen::Direct, "China"),
        ("2001:db8:1::20", Seen::Direct, "a neighbour"),
        ("2001:db8:1::1", Seen::Direct, "the router"),
        ("2001:db8:b::1", Seen::Refused, "rules.block"),
    ] {
        assert_eq!(seen(&house.one, address, 80), expected, "{address}: {why}");
    }
    // The machine itself, as in local mode.
    for foreign in FOREIGN {
        assert_eq!(tcp(at(foreign, 80), None), Seen::Captured);
    }
    handle.remove().unwrap();
    for foreign in FOREIGN {
        assert_eq!(seen(&house.one, foreign, 80), Seen::Direct);
    }
}

fn the_original_destination_of_a_lan_host_is_known() {
    let house = House::new();
    let _handle = Handle::install(router()).unwrap();
    let listener = TcpListener::bind(at("::", 1111)).unwrap();
    for foreign in FOREIGN {
        let to = at(foreign, 80);
        let _client = house.one.run(move || TcpStream::connect(to).unwrap());
        let (stream, client) = listener.accept().unwrap();
        let lan = set("192.168.1.10/32 2001:db8:1::10/128");
        assert!(lan.contains(client.ip().to_canonical()), "{client}");
        let socket = socket2::SockRef::from(&stream);
        let wanted = match to {
            SocketAddr::V4(_) => socket.original_dst_v4(),
            SocketAddr::V6(_) => socket.original_dst_v6(),
        };
        assert_eq!(wanted.unwrap().as_socket(), Some(to));
    }
}

fn the_dns_of_the_lan_is_captured_whatever_server_is_asked() {
    let house = House::new();
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
    let house = House::new();
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
    let house = House::new();
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

fn direct_sources_escape_everything() {
    let house = House::new();
    house.internet.greet(80, b'I');
    let resolver = our_ports();
    let lan = Lan { direct_sources: set("192.168.1.10/32 2001:db8:1::10/128"), ..Lan::default() };
    let _handle = Handle::install(of_the_network(Ruleset { lan: Some(lan), ..router() })).unwrap();
    for foreign in FOREIGN {
        assert_eq!(seen(&house.one, foreign, 80), Seen::Direct);
        assert_eq!(seen(&house.two, foreign, 80), Seen::Captured);
        assert_eq!(asked(&house, &house.one, foreign, &resolver), Seen::Direct);
        assert_eq!(asked(&house, &house.two, foreign, &resolver), Seen::Captured);
        let quic = at(foreign, 443);
        let there = house.internet.udp(quic);
        assert_eq!(datagram(&house.one.udp(any(quic, 0)), quic, &there, None), Seen::Direct);
    }
    for blocked in ["198.51.100.65", "2001:db8:b::1"] {
        assert_eq!(seen(&house.one, blocked, 80), Seen::Direct);
    }
}

/// Whether a datagram of this host is refused; one that is not must arrive.
fn refused(host: &Host, to: SocketAddr, there: &UdpSocket) -> bool {
    let client = host.udp(any(to, 0));
    client.connect(to).unwrap();
    client.send(b"datagram").unwrap();
    let mut buffer = [0; 64];
    let deadline = Instant::now() + Duration::from_secs(5);
    client.set_nonblocking(true).unwrap();
    there.set_nonblocking(true).unwrap();
    while Instant::now() < deadline {
        if let Err(error) = client.recv(&mut buffer)
            && error.kind() == ErrorKind::ConnectionRefused
        {
            return true;
        }
        if there.recv(&mut buffer).is_ok() {
            return false;
        }
        std::thread::yield_now();
    }
    panic!("{to}: neither arrived nor refused");
}

fn quic_of_the_lan_is_rejected() {
    let house = House::new();
    let there = house.internet.udp(at("::", 443));
    // Each is a new host to the limit of ICMP messages, which counts by destination.
    std::fs::write("/proc/sys/net/ipv4/icmp_ratelimit", "0").unwrap();
    std::fs::write("/proc/sys/net/ipv6/icmp/ratelimit", "0").unwrap();
    let _handle = Handle::install(router()).unwrap();
    for (address, expected) in [
        ("198.51.100.1", true),
        ("203.0.113.1", false),
        ("203.0.113.33", true),
        ("198.51.100.33", false),
        ("198.51.100.65", true),
        ("2001:db8:f::1", true),
        ("2001:db8:c::1", false),
        ("2001:db8:b::1", true),
    ] {
        assert_eq!(refused(&house.one, at(address, 443), &there), expected, "{address}");
    }
    let elsewhere = house.internet.udp(at("::", 4433));
    for foreign in FOREIGN {
        assert!(!refused(&house.one, at(foreign, 4433), &elsewhere), "{foreign}");
    }
}

fn forwarded_ports_and_hairpins_stay_alive() {
    let house = House::new();
    house.one.greet(80, b'O');
    our_ports();
    // As docker publishes a port, and as routers do it; before us and behind us.
    run("iptables -t nat -N DOCKER");
    run("iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER");
    run("iptables -t nat -A DOCKER -p tcp --dport 8080 -j DNAT --to-destination 192.168.1.10:80");
    run("iptables -t nat -A POSTROUTING -s 192.168.1.0/24 -d 192.168.1.0/24 -j MASQUERADE");
    let _handle = Handle::install(router()).unwrap();
    run(
        "iptables -t nat -A PREROUTING -i uplink -p tcp --dport 8081 -j DNAT --to-destination 192.168.1.10:80",
    );
    for (from, port) in [(&*house.internet, 8080), (&*house.internet, 8081), (&house.two, 8080)] {
        assert_eq!(seen(from, "192.0.2.2", port), Seen::Direct, "{port}");
    }
    assert_eq!(seen(&house.two, "192.168.1.1", 8080), Seen::Direct);
    // An IPv6 connection needs no forwarding rule; this one comes from a foreign address.
    let mut inbound = house.internet.run(|| {
        let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.bind(&at("2001:db8:f::7", 0).into()).unwrap();
        socket.connect_timeout(&at("2001:db8:1::10", 80).into(), Duration::from_secs(5)).unwrap();
        TcpStream::from(socket)
    });
    inbound.read_exact(&mut [0]).unwrap();
    assert!(echoes(&mut inbound));
}

fn a_published_name_server_is_reached_if_it_is_named() {
    let house = House::new();
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
    let _handle = Handle::install(of_the_network(Ruleset { direct, ..router() })).unwrap();
    assert_eq!(ask(), Seen::Direct);
}

/// How many packets our door has turned away. nf_tables' rules of ours count nothing: a chain before
/// them counts what arrives.
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
    let house = House::new();
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
    let house = House::new();
    let _resolver = our_ports();
    let _handle = Handle::install(Ruleset { lan: None, ..router() }).unwrap();
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
    let house = House::new();
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
    let house = House::new();
    house.internet.greet(80, b'I');
    let resolver = our_ports();
    for tool in ["iptables", "ip6tables"] {
        run(&format!("{tool} -A INPUT -i lo -j ACCEPT"));
        run(&format!("{tool} -A INPUT -p ipv6-icmp -j ACCEPT")
            .replace("ipv6-icmp", if tool == "iptables" { "icmp" } else { "ipv6-icmp" }));
        run(&format!("{tool} -P INPUT DROP"));
        run(&format!("{tool} -P FORWARD DROP"));
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
    let house = House::new();
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
        of_the_network(Ruleset { lan: Some(Lan { patterns, ..Lan::default() }), ..router() })
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

fn living_connections_of_the_lan_go_on() {
    let house = House::new();
    house.internet.greet(80, b'I');
    our_ports();
    for foreign in FOREIGN {
        let to = at(foreign, 80);
        let (mut before, seen) = house.one.run(move || connect(to, None)).unwrap();
        assert_eq!(seen, Seen::Direct);
        let handle = Handle::install(router()).unwrap();
        assert!(echoes(&mut before), "{foreign}: the start killed it");
        let (mut during, seen) = house.one.run(move || connect(to, None)).unwrap();
        assert_eq!(seen, Seen::Captured);
        handle.release().unwrap();
        assert!(echoes(&mut during), "{foreign}: the first half of a stop killed it");
        let after = house.one.run(move || tcp(to, None));
        assert_eq!(after, Seen::Direct);
        handle.remove().unwrap();
        assert!(echoes(&mut before), "{foreign}: the stop killed it");
    }
}

fn reverse_path_filters_are_no_obstacle() {
    let house = House::new();
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
    assert!(ruleset.lan.as_ref().unwrap().uplinks.contains("tun0"));
    let _handle = Handle::install(ruleset).unwrap();
    assert_eq!(seen(&house.one, FOREIGN[0], 80), Seen::Captured);
    assert_eq!(seen(&house.one, "203.0.113.1", 80), Seen::Direct);
    assert_eq!(asked(&house, &house.one, FOREIGN[0], &resolver), Seen::Captured);
}

fn from_local_mode_to_a_router_and_back() {
    let house = House::new();
    house.internet.greet(80, b'I');
    for port in [1111, 1211] {
        greet(TcpListener::bind(at("::", port)).unwrap(), b'S');
    }
    let before = run("iptables-save -t filter");
    let local = || Ruleset { lan: None, ..router() };
    let handle = Handle::install(local()).unwrap();
    let seen = |address: &'static str| house.one.run(move || tcp(at(address, 80), None));
    for _ in 0..3 {
        assert_eq!(seen("198.51.100.1"), Seen::Direct, "the LAN is left alone");
        assert_eq!(tcp(at("198.51.100.1", 80), None), Seen::Captured);
        handle.replace(router()).unwrap();
        assert_eq!(seen("198.51.100.1"), Seen::Captured);
        assert_eq!(seen("203.0.113.1"), Seen::Direct);
        assert_eq!(tcp(at("198.51.100.1", 80), None), Seen::Captured);
        handle.replace(local()).unwrap();
    }
    handle.remove().unwrap();
    let counters = |text: &str| text.lines().filter(|l| !l.starts_with([':', '#'])).count();
    assert_eq!(counters(&run("iptables-save -t filter")), counters(&before));
    assert!(run("ipset list -name").is_empty());
    assert!(!run("nft list tables").contains("inet snet"));
}
