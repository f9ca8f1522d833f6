//! What becomes of datagrams where foreign UDP is captured.

mod input;
mod limits;
pub(super) mod listener;
mod lost;
mod missing_parts;
mod outside;
mod upkeep;

use super::installed::{Handle, backend};
use super::{of_the_network, router_of_the_network, ruleset, set};
use crate::family::Family;
use crate::firewall::policy::Datagrams;
use crate::firewall::{Flow, LanPolicy, Ruleset, Switches};
use crate::mark::Fwmark;
use crate::probe;
use listener::{Listener, asked, send};
use snet_lab::Variant;
use snet_lab::house::House;
use snet_lab::in_every_variant;
use snet_lab::internet::{Host, Internet, Seen, any, at, refused, udp};
use snet_lab::kernel::{run, sealed_for, variant};
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

in_every_variant!(
    this_machines_datagrams_are_captured_as_the_ladder_says,
    datagrams_of_lan_hosts_are_captured_as_the_ladder_says,
    a_flow_that_is_older_than_the_capture_stays_direct,
    a_captured_flow_stays_captured_and_is_direct_at_once_after_the_end,
    any_host_may_answer_and_be_answered,
    what_a_client_complains_of_does_not_leave,
    without_a_listener_nothing_leaves,
    servers_here_and_behind_the_router_answer_as_they_did,
    capture_comes_and_goes_with_a_reload,
    udp_of_a_bridge_that_netfilter_sees_is_rejected
);

pub(super) const FOREIGN: [&str; 2] = ["198.51.100.1", "2001:db8:f::1"];
const DOMESTIC: [&str; 2] = ["203.0.113.1", "2001:db8:c::1"];
pub(super) const PORT: u16 = 3478;

/// Without br_netfilter, under which TPROXY loses what a bridge takes in.
fn house() -> House {
    for tool in ["iptables", "ip6tables"] {
        let setting = format!("/proc/sys/net/bridge/bridge-nf-call-{tool}");
        if std::path::Path::new(&setting).exists() {
            std::fs::write(setting, "0").unwrap();
        }
    }
    House::build()
}

pub(super) fn with_udp(ruleset: Ruleset) -> Ruleset {
    of_the_network(ruleset.with(|policy| policy.udp = Datagrams::Proxy))
}

/// A server out there; it answers `I` and notes who asked.
pub(super) fn serve(internet: &Host, address: &str, port: u16) -> Arc<Mutex<Vec<SocketAddr>>> {
    let socket = internet.udp(at(address, port));
    socket.set_read_timeout(None).unwrap();
    let callers = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&callers);
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            noted.lock().unwrap().push(from);
            let _ = socket.send_to(b"I", from);
        }
    });
    callers
}

fn this_machines_datagrams_are_captured_as_the_ladder_says() {
    let internet = Internet::build();
    let _listener = Listener::start(1111);
    let places = [
        (FOREIGN[0], Seen::Captured, "foreign"),
        (FOREIGN[1], Seen::Captured, "foreign"),
        (DOMESTIC[0], Seen::Direct, "China"),
        (DOMESTIC[1], Seen::Direct, "China"),
        ("203.0.113.33", Seen::Captured, "rules.proxy beats China"),
        ("198.51.100.33", Seen::Direct, "rules.direct"),
        ("198.51.100.80", Seen::Direct, "upstream server"),
        ("192.0.2.1", Seen::Direct, "connected"),
        ("10.9.0.1", Seen::Direct, "reserved"),
    ];
    let servers = places.map(|(address, ..)| serve(&internet, address, PORT));
    let handle = Handle::install(with_udp(ruleset())).unwrap();
    for (address, seen, why) in places {
        let to = at(address, PORT);
        assert_eq!(asked(&udp(any(to, 0)), to), Some(seen), "{address}: {why}");
        let connected = udp(any(to, 0));
        connected.connect(to).unwrap();
        assert_eq!(asked(&connected, to), Some(seen), "{address}, connected: {why}");
        let bound = udp(any(to, 0));
        socket2::SockRef::from(&bound).bind_device(Some(b"uplink")).unwrap();
        assert_eq!(asked(&bound, to), Some(seen), "{address}, bound to a device: {why}");
    }
    assert!(servers[0].lock().unwrap().is_empty() && servers[1].lock().unwrap().is_empty());
    for foreign in FOREIGN {
        let marked = udp(any(at(foreign, 0), 0));
        socket2::SockRef::from(&marked).set_mark(Fwmark::SNET.value()).unwrap();
        assert_eq!(asked(&marked, at(foreign, PORT)), Some(Seen::Direct), "snet's own");
    }
    let quic = internet.udp(at(FOREIGN[0], 443));
    assert!(refused(at(FOREIGN[0], 443), &quic, None), "QUIC is rejected still");
    let blocked = internet.udp(at("198.51.100.65", PORT));
    assert!(refused(at("198.51.100.65", PORT), &blocked, None));
    let proven = || {
        for family in Family::ALL {
            let proof = SocketAddr::new(probe::address(family), probe::UDP_PORT);
            assert_eq!(asked(&udp(any(proof, 0)), proof), Some(Seen::Captured), "the proof");
        }
    };
    handle.release().unwrap();
    // iptables has no rule left that is asked.
    if let Variant::Native = variant() {
        proven();
    }
    handle.remove().unwrap();
    let asleep = backend().prepare().unwrap().install(with_udp(ruleset())).unwrap();
    proven();
    assert_eq!(asked(&udp(any(at(FOREIGN[0], 0), 0)), at(FOREIGN[0], PORT)), Some(Seen::Direct));
    asleep.remove().unwrap();
}

fn datagrams_of_lan_hosts_are_captured_as_the_ladder_says() {
    let house = house();
    let _listener = Listener::start(1111);
    let servers =
        [FOREIGN, DOMESTIC].map(|places| places.map(|to| serve(&house.internet, to, PORT)));
    let direct_sources = set("192.168.1.20/32 2001:db8:1::20/128");
    let ruleset = router_of_the_network()
        .with(|policy| policy.lan = Some(LanPolicy { direct_sources, ..LanPolicy::default() }));
    let _handle = Handle::install(with_udp(ruleset)).unwrap();
    for family in [0, 1] {
        let (foreign, domestic) = (at(FOREIGN[family], PORT), at(DOMESTIC[family], PORT));
        let client = |host: &Host| host.udp(any(foreign, 0));
        assert_eq!(asked(&client(&house.one), foreign), Some(Seen::Captured));
        let connected = client(&house.one);
        connected.connect(foreign).unwrap();
        assert_eq!(asked(&connected, foreign), Some(Seen::Captured), "connected");
        assert!(servers[0][family].lock().unwrap().is_empty());
        assert_eq!(asked(&client(&house.one), domestic), Some(Seen::Direct));
        assert_eq!(asked(&client(&house.two), foreign), Some(Seen::Direct), "direct-sources");
        // Another host's port of the number of our resolver's.
        let odd = SocketAddr::new(foreign.ip(), 1211);
        assert_eq!(asked(&client(&house.one), odd), Some(Seen::Captured), "our own port there");
    }
}

fn a_flow_that_is_older_than_the_capture_stays_direct() {
    let house = house();
    let _listener = Listener::start(1111);
    FOREIGN.into_iter().for_each(|to| drop(serve(&house.internet, to, PORT)));
    // As a machine has it that keeps state: conntrack knows the first ones.
    run("iptables -A FORWARD -m conntrack --ctstate INVALID -j DROP");
    let clients = || {
        FOREIGN.map(|to| {
            let to = at(to, PORT);
            [(udp(any(to, 0)), to), (house.one.udp(any(to, 0)), to)]
        })
    };
    let ruleset = || with_udp(router_of_the_network());
    let installed = backend().prepare().unwrap().install(ruleset()).unwrap();
    let learned = clients();
    let all = |clients: &[[(UdpSocket, SocketAddr); 2]; 2]| {
        clients.as_flattened().iter().map(|(client, to)| asked(client, *to)).collect::<Vec<_>>()
    };
    assert_eq!(all(&learned), [Some(Seen::Direct); 4], "nothing is captured yet");
    installed.beat(Switches::CAPTURE).unwrap();
    for _ in 0..2 {
        assert_eq!(all(&learned), [Some(Seen::Direct); 4], "they go on");
    }
    assert_eq!(all(&clients()), [Some(Seen::Captured); 4], "new ones");
    installed.replace(ruleset().with_rules(|rules| rules.block = set("10.99.0.0/16"))).unwrap();
    assert_eq!(all(&learned), [Some(Seen::Direct); 4], "beyond a reload");
    // What no packet told: flows are given by hand.
    let told = clients();
    let flows: Vec<Flow> = told
        .as_flattened()
        .iter()
        .map(|(client, to)| {
            let port = client.local_addr().unwrap().port();
            let from = if to.is_ipv4() {
                ["192.0.2.2", "192.168.1.10"]
            } else {
                ["2001:db8:2::2", "2001:db8:1::10"]
            };
            from.map(|from| Flow { source: at(from, port), destination: *to })
        })
        .collect::<Vec<_>>()
        .into_iter()
        .flatten()
        .collect();
    installed.exempt_flows(&flows);
    assert_eq!(all(&told), [Some(Seen::Direct); 4], "told of");
    installed.remove().unwrap();
    assert_eq!(all(&learned), [Some(Seen::Direct); 4], "beyond the end");
}

fn a_captured_flow_stays_captured_and_is_direct_at_once_after_the_end() {
    let house = house();
    let _listener = Listener::start(1111);
    let callers = FOREIGN.map(|to| serve(&house.internet, to, PORT));
    let ruleset = || with_udp(router_of_the_network());
    let handle = Handle::install(ruleset()).unwrap();
    let clients = FOREIGN.map(|to| {
        let to = at(to, PORT);
        [(udp(any(to, 0)), to), (house.one.udp(any(to, 0)), to)]
    });
    let all = || {
        let clients = clients.as_flattened().iter();
        clients.map(|(client, to)| asked(client, *to)).collect::<Vec<_>>()
    };
    assert_eq!(all(), [Some(Seen::Captured); 4]);
    let other = ruleset().with_rules(|rules| rules.direct = set("198.51.100.0/24 2001:db8:f::/48"));
    handle.replace(other).unwrap();
    for foreign in FOREIGN {
        let to = at(foreign, PORT);
        assert_eq!(asked(&udp(any(to, 0)), to), Some(Seen::Direct), "a new one");
    }
    assert_eq!(all(), [Some(Seen::Captured); 4], "the lists say otherwise now");
    callers.iter().for_each(|callers| callers.lock().unwrap().clear());
    handle.release().unwrap();
    assert_eq!(all(), [Some(Seen::Direct); 4], "the switch is off");
    for caller in callers[0].lock().unwrap().iter() {
        assert_eq!(caller.ip(), at("192.0.2.2", 0).ip(), "masqueraded");
    }
    handle.remove().unwrap();
    assert_eq!(all(), [Some(Seen::Direct); 4], "the rules are gone");
}

fn any_host_may_answer_and_be_answered() {
    let house = house();
    let _listener = Listener::start(1111);
    let _handle = Handle::install(with_udp(router_of_the_network())).unwrap();
    for (asked_first, other) in FOREIGN.into_iter().zip(["198.51.100.2", "2001:db8:f::2"]) {
        let (to, other) = (at(asked_first, PORT), at(other, 4000));
        let callers = serve(&house.internet, &other.ip().to_string(), 4000);
        let own = if to.is_ipv4() { "192.0.2.2" } else { "2001:db8:2::2" };
        let lan = if to.is_ipv4() { "192.168.1.10" } else { "2001:db8:1::10" };
        for (client, address) in [(udp(any(to, 0)), own), (house.one.udp(any(to, 0)), lan)] {
            assert_eq!(asked(&client, to), Some(Seen::Captured));
            let client_address = at(address, client.local_addr().unwrap().port());
            send(other, client_address, b"hello");
            let mut buffer = [0; 64];
            let (_, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!(from, other);
            assert_eq!(asked(&client, other), Some(Seen::Captured), "{address}: back to it");
            assert_eq!(asked(&client, to), Some(Seen::Captured));
        }
        assert!(callers.lock().unwrap().is_empty());
    }
}

fn what_a_client_complains_of_does_not_leave() {
    let house = house();
    house.internet.run(|| {
        let table = "table inet complaints {
            chain arriving { type filter hook prerouting priority -400;
                icmp type destination-unreachable counter
                icmpv6 type destination-unreachable counter
            }
        }";
        std::fs::write("/run/complaints.nft", table).unwrap();
        run("nft -f /run/complaints.nft");
    });
    // As a host's own firewall refuses what it does not know.
    house.two.run(|| {
        run("iptables -A INPUT -p udp -j REJECT --reject-with icmp-admin-prohibited");
        run("ip6tables -A INPUT -p udp -j REJECT --reject-with icmp6-adm-prohibited");
    });
    let _handle = Handle::install(with_udp(router_of_the_network())).unwrap();
    for foreign in FOREIGN {
        let clients = if foreign.contains(':') {
            ["2001:db8:2::2", "2001:db8:1::10", "2001:db8:1::20"]
        } else {
            ["192.0.2.2", "192.168.1.10", "192.168.1.20"]
        };
        // Their ports are closed.
        clients.iter().for_each(|client| send(at(foreign, PORT), at(client, 9), b"late"));
    }
    std::thread::sleep(Duration::from_millis(300));
    let seen = house.internet.run(|| run("nft list table inet complaints"));
    assert_eq!(seen.matches("packets 0 ").count(), 2, "{seen}");
}

fn without_a_listener_nothing_leaves() {
    let house = house();
    let callers = FOREIGN.map(|to| serve(&house.internet, to, PORT));
    let _handle = Handle::install(with_udp(router_of_the_network())).unwrap();
    for foreign in FOREIGN {
        let to = at(foreign, PORT);
        assert_eq!(asked(&udp(any(to, 0)), to), None);
        assert_eq!(asked(&house.one.udp(any(to, 0)), to), None);
    }
    assert!(callers.iter().all(|callers| callers.lock().unwrap().is_empty()));
}

fn servers_here_and_behind_the_router_answer_as_they_did() {
    let house = house();
    let _listener = Listener::start(1111);
    let _handle = Handle::install(with_udp(router_of_the_network())).unwrap();
    serve_here(udp(at("::", 5000)));
    serve_here(house.one.udp(at("::", 5000)));
    let forwarded = "-p udp --dport 5001 -j DNAT --to-destination 192.168.1.10:5000";
    run(&format!("iptables -t nat -A PREROUTING -i uplink {forwarded}"));
    for (from, to) in [
        (FOREIGN[0], at("192.0.2.2", 5000)),
        (FOREIGN[0], at("192.0.2.2", 5001)),
        (FOREIGN[1], at("2001:db8:2::2", 5000)),
        (FOREIGN[1], at("2001:db8:1::10", 5000)),
    ] {
        let visitor = house.internet.udp(at(from, 6000 + u16::from(to.is_ipv6())));
        for _ in 0..2 {
            assert_eq!(asked(&visitor, to), Some(Seen::Direct), "{to} answers {from}");
        }
    }
}

fn serve_here(socket: UdpSocket) {
    socket.set_read_timeout(None).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(b"I", from);
        }
    });
}

fn capture_comes_and_goes_with_a_reload() {
    let internet = Internet::build();
    let _listener = Listener::start(1111);
    FOREIGN.into_iter().for_each(|to| drop(serve(&internet, to, PORT)));
    let handle = Handle::install(ruleset().surveyed()).unwrap();
    let seen = || FOREIGN.map(|to| asked(&udp(any(at(to, PORT), 0)), at(to, PORT)));
    for _ in 0..2 {
        assert_eq!(seen(), [Some(Seen::Direct); 2]);
        handle.replace(with_udp(ruleset())).unwrap();
        assert_eq!(seen(), [Some(Seen::Captured); 2]);
        handle.replace(ruleset().surveyed()).unwrap();
    }
    handle.remove().unwrap();
}

/// What TPROXY would lose is refused.
fn udp_of_a_bridge_that_netfilter_sees_is_rejected() {
    let house = house();
    let _listener = Listener::start(1111);
    let callers = FOREIGN.map(|to| serve(&house.internet, to, PORT));
    for tool in ["iptables", "ip6tables"] {
        // Not there where the kernel has no br_netfilter.
        if std::fs::write(format!("/proc/sys/net/bridge/bridge-nf-call-{tool}"), "1").is_err() {
            return;
        }
    }
    let _handle = Handle::install(with_udp(router_of_the_network())).unwrap();
    for foreign in FOREIGN {
        let to = at(foreign, PORT);
        let client = house.one.udp(any(to, 0));
        client.connect(to).unwrap();
        client.send(b"question").unwrap();
        let told = client.recv(&mut [0; 64]).unwrap_err();
        assert_eq!(told.kind(), std::io::ErrorKind::ConnectionRefused, "{foreign}: {told}");
        assert_eq!(asked(&udp(any(to, 0)), to), Some(Seen::Captured), "this machine");
    }
    assert!(callers.iter().all(|callers| callers.lock().unwrap().is_empty()));
}
