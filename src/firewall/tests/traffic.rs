//! What becomes of packets while the rules are installed, before and after.

use super::installed::Handle;
use super::{ruleset, set};
use crate::firewall::policy::{Datagrams, Ipv6};
use crate::mark::Fwmark;
use crate::route::Route;
use snet_lab::in_every_variant;
use snet_lab::internet::{
    Internet, Seen, any, at, connect, datagram, echoes, greet, refused, settled, tcp, udp,
};
use snet_lab::kernel::{run, sealed_for, until};
use std::net::{SocketAddr, SocketAddrV6, TcpListener};
use std::time::Duration;

in_every_variant!(
    a_client_that_keeps_its_port_is_captured_and_released_at_once,
    living_connections_go_on,
    the_original_destination_is_known,
    tcp_goes_where_the_ladder_says,
    quic_is_rejected_where_tcp_is_captured,
    quic_may_pass,
    foreign_ipv6_blocked,
    foreign_ipv6_direct,
    learned_and_exempted_addresses_count_at_once,
    everything_through_the_proxy,
    own_sockets_are_never_captured
);

const MARK: Option<u32> = Some(Fwmark::SNET.value());

/// Foreign addresses of both families.
const FOREIGN: [&str; 2] = ["198.51.100.1", "2001:db8:f::1"];

/// snet's TCP port, for both families.
pub(super) fn redirect_port() {
    for address in [at("127.0.0.1", 1111), at("::1", 1111)] {
        greet(TcpListener::bind(address).unwrap(), b'S');
    }
}

/// Rules of somebody else that keep conntrack at work, before us and after us.
fn stateful_neighbour() {
    for family in ["iptables", "ip6tables"] {
        run(&format!("{family} -A INPUT -m conntrack --ctstate INVALID"));
    }
}

fn a_client_that_keeps_its_port_is_captured_and_released_at_once() {
    let internet = Internet::build();
    stateful_neighbour();
    for (foreign, loopback) in FOREIGN.into_iter().zip(["127.0.0.1", "::1"]) {
        let server_address = at(foreign, 53);
        let server = internet.udp(server_address);
        let resolver = udp(at(loopback, 1211));
        let client = udp(any(server_address, 40_000));
        let ask = || datagram(&client, server_address, &server, Some(&resolver));
        for _ in 0..3 {
            assert_eq!(ask(), Seen::Direct, "before, {foreign}");
        }
        for _ in 0..2 {
            let handle = Handle::install(ruleset()).unwrap();
            assert_eq!(ask(), Seen::Captured, "at once after the start, {foreign}");
            assert_eq!(ask(), Seen::Captured);
            handle.remove().unwrap();
            assert_eq!(ask(), Seen::Direct, "at once after the stop, {foreign}");
            assert_eq!(ask(), Seen::Direct);
        }
    }
}

fn living_connections_go_on() {
    let internet = Internet::build();
    internet.greet(80, b'I');
    redirect_port();
    living_connections();
    stateful_neighbour();
    living_connections();
}

fn living_connections() {
    for foreign in FOREIGN {
        let open = || connect(at(foreign, 80), None).unwrap();
        let (mut before, seen) = open();
        assert_eq!(seen, Seen::Direct);
        let handle = Handle::install(ruleset()).unwrap();
        assert!(echoes(&mut before), "{foreign}: the start killed it");
        let (mut during, seen) = open();
        assert_eq!(seen, Seen::Captured);
        handle.release().unwrap();
        assert!(echoes(&mut before), "{foreign}: the stop killed it");
        assert!(echoes(&mut during), "{foreign}: the stop killed one of ours");
        let (mut after, seen) = open();
        assert_eq!(seen, Seen::Direct);
        handle.remove().unwrap();
        assert!(echoes(&mut before) && echoes(&mut after), "{foreign}: the stop killed it");

        // `block` is for connections that begin, too.
        let (mut before, seen) = open();
        assert_eq!(seen, Seen::Direct);
        let blocked =
            ruleset().with_rules(|rules| rules.block = set("198.51.100.1/32 2001:db8:f::1/128"));
        let handle = Handle::install(blocked).unwrap();
        assert!(echoes(&mut before), "{foreign}: a start that blocks killed it");
        assert_eq!(tcp(at(foreign, 80), None), Seen::Refused);
        assert!(echoes(&mut before), "{foreign}: a start that blocks killed it");
        handle.remove().unwrap();
        assert!(echoes(&mut before), "{foreign}: the stop killed it");
    }
}

fn the_original_destination_is_known() {
    let _internet = Internet::build();
    let _handle = Handle::install(ruleset()).unwrap();
    for (foreign, loopback) in FOREIGN.into_iter().zip(["127.0.0.1", "::1"]) {
        let listener = TcpListener::bind(at(loopback, 1111)).unwrap();
        let _client = std::net::TcpStream::connect(at(foreign, 80)).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let socket = socket2::SockRef::from(&stream);
        let wanted = match foreign.contains(':') {
            false => socket.original_dst_v4(),
            true => socket.original_dst_v6(),
        };
        assert_eq!(wanted.unwrap().as_socket(), Some(at(foreign, 80)));
    }
}

fn tcp_goes_where_the_ladder_says() {
    let internet = Internet::build();
    internet.greet(80, b'I');
    redirect_port();
    let own = TcpListener::bind("[::]:80").unwrap();
    greet(own, b'I');
    let around = || ruleset().surveyed();
    // The kernel gives the link-local address when the link has its carrier.
    let expected = set("192.0.2.0/24 2001:db8:2::/64 fe80::/64");
    until("all prefixes", || around().environment.connected == expected);
    let _handle = Handle::install(around()).unwrap();
    let expected = [
        ("198.51.100.1", Seen::Captured, "foreign"),
        ("203.0.113.1", Seen::Direct, "China"),
        ("203.0.113.33", Seen::Captured, "rules.proxy beats China"),
        ("10.8.0.1", Seen::Captured, "rules.proxy beats reserved"),
        ("10.9.0.1", Seen::Direct, "reserved"),
        ("192.0.2.1", Seen::Direct, "connected"),
        ("192.0.2.2", Seen::Direct, "this machine"),
        ("127.0.0.1", Seen::Direct, "loopback"),
        ("198.51.100.33", Seen::Direct, "rules.direct"),
        ("198.51.100.65", Seen::Refused, "rules.block"),
        ("198.51.100.80", Seen::Direct, "upstream server"),
        ("2001:db8:f::1", Seen::Captured, "foreign"),
        ("2001:db8:c::1", Seen::Direct, "China"),
        ("2001:db8:c:1::1", Seen::Captured, "rules.proxy beats China"),
        ("fd00::1", Seen::Direct, "reserved"),
        ("2001:db8:2::1", Seen::Direct, "connected"),
        ("2001:db8:2::2", Seen::Direct, "this machine"),
        ("::1", Seen::Direct, "loopback"),
        ("2001:db8:d::1", Seen::Direct, "rules.direct"),
        ("2001:db8:b::1", Seen::Refused, "rules.block"),
        ("2001:db8:5::80", Seen::Direct, "upstream server"),
    ];
    for (address, seen, why) in expected {
        assert_eq!(tcp(at(address, 80), None), seen, "{address}: {why}");
    }
}

/// Where UDP 443 is expected to be refused, and where it must pass.
fn quic(internet: &Internet, expected: &[(&str, bool)]) {
    let there = internet.udp(at("::", 443));
    for (address, is_refused) in expected {
        assert_eq!(refused(at(address, 443), &there, None), *is_refused, "{address}");
    }
}

fn quic_is_rejected_where_tcp_is_captured() {
    let internet = Internet::build();
    let living = internet.udp(at(FOREIGN[0], 443));
    let client = udp(at("0.0.0.0", 0));
    stateful_neighbour();
    let ask = || datagram(&client, at(FOREIGN[0], 443), &living, None);
    assert_eq!(ask(), Seen::Direct);
    let _handle = Handle::install(ruleset()).unwrap();
    assert_eq!(ask(), Seen::Direct, "a QUIC connection from before goes on");
    drop(living);
    quic(
        &internet,
        &[
            ("198.51.100.1", true),
            ("203.0.113.1", false),
            ("203.0.113.33", true),
            ("10.8.0.1", true),
            ("10.9.0.1", false),
            ("192.0.2.1", false),
            ("198.51.100.33", false),
            ("198.51.100.65", true),
            ("198.51.100.80", false),
            ("2001:db8:f::1", true),
            ("2001:db8:c::1", false),
            ("2001:db8:c:1::1", true),
            ("fd00::1", false),
            ("2001:db8:d::1", false),
            ("2001:db8:b::1", true),
        ],
    );
    let elsewhere = internet.udp(at("::", 4433));
    for foreign in FOREIGN {
        assert!(!refused(at(foreign, 4433), &elsewhere, None), "other UDP passes: {foreign}");
    }
    for blocked in ["198.51.100.65", "2001:db8:b::1"] {
        assert!(refused(at(blocked, 4433), &elsewhere, None), "{blocked} is blocked, all of it");
    }
}

fn quic_may_pass() {
    let internet = Internet::build();
    let _handle =
        Handle::install(ruleset().with(|policy| policy.quic = Datagrams::Direct)).unwrap();
    quic(&internet, &[(FOREIGN[0], false), (FOREIGN[1], false), ("198.51.100.65", true)]);
}

fn foreign_ipv6_blocked() {
    let internet = Internet::build();
    internet.greet(80, b'I');
    redirect_port();
    let _handle = Handle::install(ruleset().with(|policy| policy.ipv6 = Ipv6::Block)).unwrap();
    for (address, seen) in [
        ("2001:db8:f::1", Seen::Refused),
        ("2001:db8:c::1", Seen::Direct),
        ("2001:db8:d::1", Seen::Direct),
        ("2001:db8:2::1", Seen::Direct),
        ("2001:db8:5::80", Seen::Direct),
        ("198.51.100.1", Seen::Captured),
    ] {
        assert_eq!(tcp(at(address, 80), None), seen, "{address}");
    }
    let there = internet.udp(at("::", 4433));
    assert!(refused(at("2001:db8:f::1", 4433), &there, None));
    assert!(!refused(at("2001:db8:c::1", 4433), &there, None));
    let server = internet.udp(at(FOREIGN[1], 53));
    let resolver = udp(at("::1", 1211));
    let client = udp(at("::", 0));
    assert_eq!(datagram(&client, at(FOREIGN[1], 53), &server, Some(&resolver)), Seen::Captured);
}

fn foreign_ipv6_direct() {
    let internet = Internet::build();
    internet.greet(80, b'I');
    redirect_port();
    let _handle = Handle::install(ruleset().with(|policy| policy.ipv6 = Ipv6::Direct)).unwrap();
    for (address, seen) in [
        ("2001:db8:f::1", Seen::Direct),
        ("2001:db8:c:1::1", Seen::Direct),
        ("2001:db8:b::1", Seen::Refused),
        ("198.51.100.1", Seen::Captured),
    ] {
        assert_eq!(tcp(at(address, 80), None), seen, "{address}");
    }
    quic(&internet, &[(FOREIGN[0], true), (FOREIGN[1], false)]);
    let server = internet.udp(at(FOREIGN[1], 53));
    let resolver = udp(at("::1", 1211));
    let client = udp(at("::", 0));
    assert_eq!(datagram(&client, at(FOREIGN[1], 53), &server, Some(&resolver)), Seen::Captured);
}

fn learned_and_exempted_addresses_count_at_once() {
    let internet = Internet::build();
    internet.greet(80, b'I');
    redirect_port();
    let handle = Handle::install(ruleset()).unwrap();
    let minute = Duration::from_secs(60);
    let seen = |address: &str| tcp(at(address, 80), None);
    for [foreign, domestic] in [["198.51.100.9", "203.0.113.9"], ["2001:db8:f::9", "2001:db8:c::9"]]
    {
        let learn = |address: &str, route| handle.learn(address.parse().unwrap(), route, minute);
        assert_eq!(seen(foreign), Seen::Captured);
        learn(foreign, Route::Direct);
        assert_eq!(seen(foreign), Seen::Direct);
        learn(foreign, Route::Block);
        assert_eq!(seen(foreign), Seen::Refused);
        learn(foreign, Route::Proxy);
        assert_eq!(seen(foreign), Seen::Captured, "the latest counts");
        learn(domestic, Route::Proxy);
        assert_eq!(seen(domestic), Seen::Captured);
        learn(domestic, Route::Direct);
        assert_eq!(seen(domestic), Seen::Direct);
    }
    for rule in ["198.51.100.65", "198.51.100.33", "203.0.113.33"] {
        let before = seen(rule);
        for route in [Route::Direct, Route::Proxy, Route::Block] {
            handle.learn(rule.parse().unwrap(), route, minute);
            assert_eq!(seen(rule), before, "the operator's rule about {rule} is stronger");
        }
    }
    let servers = ["198.51.100.10", "2001:db8:f::10", "::ffff:198.51.100.11"];
    assert_eq!(seen("198.51.100.10"), Seen::Captured);
    handle.exempt(servers.map(|address| address.parse().unwrap()).into());
    handle.exempt(servers.map(|address| address.parse().unwrap()).into());
    for server in ["198.51.100.10", "2001:db8:f::10", "198.51.100.11"] {
        assert_eq!(seen(server), Seen::Direct, "{server}");
    }
    let left = || handle.seconds_left("learned-direct4", "203.0.113.9");
    assert!((1..=60).contains(&left()));
    handle.learn("203.0.113.9".parse().unwrap(), Route::Direct, 60 * minute);
    assert!((61..=3600).contains(&left()), "learned again, it lives on");
    assert!(handle.list("servers4").contains("198.51.100.10"));
}

fn everything_through_the_proxy() {
    let internet = Internet::build();
    internet.greet(80, b'I');
    redirect_port();
    greet(TcpListener::bind("[::]:80").unwrap(), b'I');
    // Addresses of this machine that no link accounts for.
    run("ip address add 203.0.113.77/32 dev lo");
    run("ip address add 2001:db8:77::77/128 dev lo");
    settled("2001:db8:77::77");
    let _handle =
        Handle::install(ruleset().with_rules(|rules| rules.proxy = set("0.0.0.0/0 ::/0"))).unwrap();
    for (address, seen) in [
        ("127.0.0.1", Seen::Direct),
        ("203.0.113.77", Seen::Direct),
        ("::1", Seen::Direct),
        ("2001:db8:77::77", Seen::Direct),
        ("203.0.113.1", Seen::Captured),
        ("10.9.0.1", Seen::Captured),
        ("fd00::1", Seen::Captured),
        ("192.0.2.1", Seen::Direct),
        ("2001:db8:2::1", Seen::Direct),
        ("198.51.100.65", Seen::Refused),
    ] {
        assert_eq!(tcp(at(address, 80), None), seen, "{address}");
    }
    let scope = nix::net::if_::if_nametoindex("uplink").unwrap();
    let multicast = SocketAddrV6::new("ff02::fb".parse().unwrap(), 443, 0, scope);
    for group in [at("224.0.0.251", 443), multicast.into()] {
        let sent = udp(any(group, 0)).send_to(b"datagram", group);
        assert!(sent.is_ok(), "{group}: {sent:?}");
    }
}

fn own_sockets_are_never_captured() {
    let internet = Internet::build();
    internet.greet(80, b'I');
    internet.greet(53, b'I');
    redirect_port();
    let resolvers = [udp(at("127.0.0.1", 1211)), udp(at("::1", 1211))];
    let _handle = Handle::install(ruleset()).unwrap();
    let there = internet.udp(at("::", 443));
    let addresses = ["198.51.100.1", "198.51.100.65", "10.8.0.1", "2001:db8:f::1", "2001:db8:b::1"];
    for address in addresses {
        assert_eq!(tcp(at(address, 80), MARK), Seen::Direct, "{address}");
        assert_eq!(tcp(at(address, 53), MARK), Seen::Direct, "{address}");
        assert!(!refused(at(address, 443), &there, MARK), "{address}");
        let to: SocketAddr = at(address, 53);
        let server = internet.udp(to);
        let client = udp(any(to, 0));
        socket2::SockRef::from(&client).set_mark(Fwmark::SNET.value()).unwrap();
        let resolver = &resolvers[usize::from(to.is_ipv6())];
        assert_eq!(datagram(&client, to, &server, Some(resolver)), Seen::Direct, "{address}");
    }
}
