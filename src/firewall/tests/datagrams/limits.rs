//! Where something here keeps UDP from being captured: it is rejected, and all else goes on.

use super::{FOREIGN, Handle, Listener, PORT, asked, house, serve, with_udp};
use crate::family::Family;
use crate::firewall::Datagrams;
use crate::firewall::tests::router_of_the_network;
use snet_lab::internet::{Host, Seen, any, at, greet, tcp, udp};
use snet_lab::kernel::{run, sealed_for, until, variant};
use snet_lab::{Variant, in_every_variant};
use std::io::ErrorKind;
use std::net::{TcpListener, UdpSocket};

in_every_variant!(
    what_the_backend_cannot_capture_is_rejected,
    what_a_reverse_path_check_would_drop_is_rejected,
    what_is_lost_goes_directly_where_that_is_asked_for
);

/// What a program sees that asks there.
fn seen(client: UdpSocket, to: std::net::SocketAddr) -> Result<Option<Seen>, ErrorKind> {
    client.connect(to).unwrap();
    client.send(b"question").map_err(|error| error.kind()).ok();
    let answer = client.recv(&mut [0; 64]);
    match answer.map_err(|error| error.kind()) {
        Err(ErrorKind::ConnectionRefused) => Err(ErrorKind::ConnectionRefused),
        _ => Ok(asked(&client, to)),
    }
}

const REFUSED: Result<Option<Seen>, ErrorKind> = Err(ErrorKind::ConnectionRefused);

fn what_the_backend_cannot_capture_is_rejected() {
    let house = house();
    let _listener = Listener::start(1111);
    greet(TcpListener::bind(at("::", 1111)).unwrap(), b'S');
    let callers = FOREIGN.map(|to| serve(&house.internet, to, PORT));
    let mut ruleset = with_udp(router_of_the_network());
    ruleset.environment.datagrams.without(&Family::ALL, &"made up");
    let handle = Handle::install(ruleset).unwrap();
    let holds = |host: &Host| {
        for foreign in FOREIGN {
            let to = at(foreign, PORT);
            assert_eq!(seen(udp(any(to, 0)), to), REFUSED, "{foreign}");
            assert_eq!(seen(host.udp(any(to, 0)), to), REFUSED, "{foreign}, of the LAN");
            assert_eq!(tcp(at(foreign, 80), None), Seen::Captured);
        }
    };
    holds(&house.one);
    // The network is looked at again.
    run("ip addr add 10.55.0.1/24 dev uplink");
    until("the prefix is known", || handle.list("connected4").contains("10.55.0.0"));
    holds(&house.one);
    assert!(callers.iter().all(|callers| callers.lock().unwrap().is_empty()));
    handle.remove().unwrap();
}

/// As NixOS has it, and firewalld for IPv6.
const CHECK: &str = "table inet guard {
    chain rpfilter {
        type filter hook prerouting priority mangle + 10; policy drop;
        fib saddr . mark . iif oif exists accept
    }
}";

/// TPROXY of iptables stands before such a check, that of nftables behind it.
fn what_a_reverse_path_check_would_drop_is_rejected() {
    let house = house();
    let _listener = Listener::start(1111);
    let callers = FOREIGN.map(|to| serve(&house.internet, to, PORT));
    std::fs::write("/run/guard.nft", CHECK).unwrap();
    run("nft -f /run/guard.nft");
    let handle = Handle::install(with_udp(router_of_the_network())).unwrap();
    let captured = Ok(Some(Seen::Captured));
    let own = if variant() == Variant::Native { captured } else { REFUSED };
    let own_is = |expected| {
        let all = FOREIGN.map(|to| seen(udp(any(at(to, 0), 0)), at(to, PORT)));
        all == [expected; 2]
    };
    assert!(own_is(own));
    for foreign in FOREIGN {
        let to = at(foreign, PORT);
        assert_eq!(seen(house.one.udp(any(to, 0)), to), captured, "{foreign}, of the LAN");
    }
    run("nft insert rule inet guard rpfilter iifname lo accept");
    until("the remedy", || own_is(captured));
    std::fs::write("/run/guard.nft", format!("delete table inet guard\n{CHECK}")).unwrap();
    run("nft -f /run/guard.nft");
    until("the check is there again", || own_is(own));
    assert!(callers.iter().all(|callers| callers.lock().unwrap().is_empty()));
    handle.remove().unwrap();
}

/// As with `udp = "auto"`: never into nothing, and never half.
fn what_is_lost_goes_directly_where_that_is_asked_for() {
    let house = house();
    let _listener = Listener::start(1111);
    FOREIGN.into_iter().for_each(|to| drop(serve(&house.internet, to, PORT)));
    std::fs::write("/run/guard.nft", CHECK).unwrap();
    run("nft -f /run/guard.nft");
    // Not there where the kernel has no br_netfilter.
    let calls = ["iptables", "ip6tables"].map(|tool| {
        std::fs::write(format!("/proc/sys/net/bridge/bridge-nf-call-{tool}"), "1").is_ok()
    });
    let ruleset =
        router_of_the_network().with(|policy| policy.uncapturable_udp = Datagrams::Direct);
    let _handle = Handle::install(with_udp(ruleset)).unwrap();
    let [captured, direct] = [Seen::Captured, Seen::Direct].map(|seen| Ok(Some(seen)));
    for to in FOREIGN.map(|to| at(to, PORT)) {
        let own = if variant() == Variant::Native { captured } else { direct };
        assert_eq!(seen(udp(any(to, 0)), to), own, "{to}");
        let lan = if calls == [true; 2] { direct } else { captured };
        assert_eq!(seen(house.one.udp(any(to, 0)), to), lan, "{to}, of the LAN");
        let quic = at(&to.ip().to_string(), 443);
        assert_eq!(seen(house.one.udp(any(quic, 0)), quic), REFUSED, "QUIC");
    }
}
