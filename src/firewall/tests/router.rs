//! Router mode: what becomes of the packets of LAN hosts.

use super::installed::Handle;
use super::set;
use super::{of_the_network, router_of_the_network as router};
use crate::firewall::LanPolicy;
use snet_lab::house::House;
use snet_lab::in_every_variant;
use snet_lab::internet::{Host, Seen, any, at, connect, datagram, echoes, greet, tcp, udp};
use snet_lab::kernel::{run, sealed_for};
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

in_every_variant!(
    lan_hosts_are_captured_as_the_ladder_says,
    the_original_destination_of_a_lan_host_is_known,
    direct_sources_escape_everything,
    quic_of_the_lan_is_rejected,
    forwarded_ports_and_hairpins_stay_alive,
    living_connections_of_the_lan_go_on,
    from_local_mode_to_a_router_and_back
);

/// Foreign addresses of both families.
pub(super) const FOREIGN: [&str; 2] = ["198.51.100.1", "2001:db8:f::1"];

/// snet's ports, on all addresses.
pub(super) fn our_ports() -> UdpSocket {
    for port in [1111, 1211] {
        greet(TcpListener::bind(at("::", port)).unwrap(), b'S');
    }
    udp(at("::", 1211))
}

/// Who answers a LAN host.
pub(super) fn seen(host: &Host, address: &str, port: u16) -> Seen {
    let to = at(address, port);
    host.run(move || tcp(to, None))
}

/// Who answers a LAN host's datagram.
pub(super) fn asked(house: &House, host: &Host, address: &str, resolver: &UdpSocket) -> Seen {
    let to = at(address, 53);
    let there = house.internet.udp(to);
    datagram(&host.udp(any(to, 0)), to, &there, Some(resolver))
}

fn lan_hosts_are_captured_as_the_ladder_says() {
    let house = House::build();
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
    let house = House::build();
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

fn direct_sources_escape_everything() {
    let house = House::build();
    house.internet.greet(80, b'I');
    let resolver = our_ports();
    let lan = LanPolicy {
        direct_sources: set("192.168.1.10/32 2001:db8:1::10/128"),
        ..LanPolicy::default()
    };
    let _handle =
        Handle::install(of_the_network(router().with(|policy| policy.lan = Some(lan)))).unwrap();
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
    let house = House::build();
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
    let house = House::build();
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

fn living_connections_of_the_lan_go_on() {
    let house = House::build();
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

fn from_local_mode_to_a_router_and_back() {
    let house = House::build();
    house.internet.greet(80, b'I');
    for port in [1111, 1211] {
        greet(TcpListener::bind(at("::", port)).unwrap(), b'S');
    }
    let before = run("iptables-save -t filter");
    let local = || router().with(|policy| policy.lan = None);
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
