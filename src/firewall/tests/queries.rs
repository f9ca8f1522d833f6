//! What becomes of queries while the rules are installed.

use super::installed::Handle;
use super::traffic::redirect_port;
use super::{ruleset, set};
use snet_lab::in_every_variant;
use snet_lab::internet::{Internet, Seen, any, at, connect, datagram, greet, tcp, udp};
use snet_lab::kernel::{run, sealed_for};
use std::io::ErrorKind;
use std::net::{SocketAddrV6, TcpListener};

in_every_variant!(
    one_socket_may_ask_many_servers,
    link_local_name_servers_are_refused_at_once,
    dns_is_captured_but_for_its_exemptions
);

fn dns_is_captured_but_for_its_exemptions() {
    let internet = Internet::build();
    redirect_port();
    internet.greet(53, b'I');
    let resolvers = ["127.0.0.1", "::1"].map(|address| {
        greet(TcpListener::bind(at(address, 1211)).unwrap(), b'S');
        udp(at(address, 1211))
    });
    let _handle = Handle::install(ruleset()).unwrap();
    let expected = [
        ("198.51.100.1", Seen::Captured, "foreign"),
        ("203.0.113.1", Seen::Captured, "China"),
        ("192.0.2.1", Seen::Captured, "the router"),
        ("10.9.0.1", Seen::Captured, "reserved"),
        ("198.51.100.65", Seen::Captured, "rules.block is for connections"),
        ("198.51.100.80", Seen::Captured, "an upstream server, from a program of the user"),
        ("198.51.100.33", Seen::Direct, "rules.direct"),
        ("2001:db8:f::1", Seen::Captured, "foreign"),
        ("2001:db8:c::1", Seen::Captured, "China"),
        ("2001:db8:2::1", Seen::Captured, "the router"),
        ("2001:db8:d::1", Seen::Direct, "rules.direct"),
    ];
    for (address, seen, why) in expected {
        let to = at(address, 53);
        let server = internet.udp(to);
        let resolver = &resolvers[usize::from(to.is_ipv6())];
        let client = udp(any(to, 0));
        assert_eq!(datagram(&client, to, &server, Some(resolver)), seen, "UDP {address}: {why}");
        assert_eq!(tcp(to, None), seen, "TCP {address}: {why}");
    }
    for loopback in [at("127.0.0.53", 53), at("::1", 53)] {
        let stub = udp(loopback);
        let client = udp(any(loopback, 0));
        assert_eq!(datagram(&client, loopback, &stub, None), Seen::Direct);
    }
    // Without a redirect: nobody's zone is in the way.
    for (loopback, resolver) in [at("127.0.0.1", 1211), at("::1", 1211)].into_iter().zip(&resolvers)
    {
        let client = udp(any(loopback, 0));
        assert_eq!(datagram(&client, loopback, resolver, None), Seen::Direct);
    }
}

/// As musl does: all its name servers at once, from one socket. After the redirect these flows
/// differ by nothing; conntrack gives each a source port of its own, and takes it back on the way
/// home.
fn one_socket_may_ask_many_servers() {
    let internet = Internet::build();
    let _handle = Handle::install(ruleset()).unwrap();
    for (servers, loopback) in [
        (["198.51.100.1", "198.51.100.2", "192.0.2.1"], "127.0.0.1"),
        (["2001:db8:f::1", "2001:db8:f::2", "2001:db8:2::1"], "::1"),
    ] {
        let client = udp(at(if loopback == "::1" { "::" } else { "0.0.0.0" }, 0));
        let resolver = udp(at(loopback, 1211));
        for _ in 0..2 {
            for server in servers {
                let there = internet.udp(at(server, 53));
                let seen = datagram(&client, at(server, 53), &there, Some(&resolver));
                assert_eq!(seen, Seen::Captured);
            }
        }
    }
}

fn link_local_name_servers_are_refused_at_once() {
    let internet = Internet::build();
    let shown = internet.run(|| run("ip -6 -brief address show dev downlink scope link"));
    let gateway = shown.split_whitespace().nth(2).and_then(|word| word.split('/').next()).unwrap();
    let scope = nix::net::if_::if_nametoindex("uplink").unwrap();
    let to = SocketAddrV6::new(gateway.parse().unwrap(), 53, 0, scope).into();
    let there = internet.udp(at("::", 53));
    let client = udp(at("::", 0));
    let handle = Handle::install(ruleset()).unwrap();
    let sent = client.send_to(b"question", to).unwrap_err();
    assert_eq!(sent.kind(), ErrorKind::PermissionDenied);
    let connected = connect(to, None).unwrap_err();
    assert_eq!(connected.kind(), ErrorKind::ConnectionRefused);
    handle.remove().unwrap();

    let direct = ruleset().with_rules(|rules| rules.direct = set("fe80::/10"));
    let _handle = Handle::install(direct).unwrap();
    assert_eq!(datagram(&client, to, &there, None), Seen::Direct);
}
