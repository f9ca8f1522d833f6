//! Flows that began outside before anything was captured, and that are silent at the start.

use super::{FOREIGN, Listener, PORT, asked, house, serve, with_udp};
use crate::firewall::Switches;
use crate::firewall::tests::installed::backend;
use crate::firewall::tests::router_of_the_network;
use snet_lab::in_every_variant;
use snet_lab::internet::{Seen, any, at, udp};
use snet_lab::kernel::{run, sealed_for};
use std::net::{SocketAddr, UdpSocket};

in_every_variant!(servers_go_on_with_the_visitors_of_before);

fn servers_go_on_with_the_visitors_of_before() {
    let house = house();
    let _listener = Listener::start(1111);
    FOREIGN.into_iter().for_each(|to| drop(serve(&house.internet, to, PORT)));
    // As any machine with a stateful firewall: conntrack knows what goes by.
    for tool in ["iptables", "ip6tables"] {
        run(&format!("{tool} -A INPUT -m conntrack --ctstate INVALID -j DROP"));
        run(&format!("{tool} -A FORWARD -m conntrack --ctstate INVALID -j DROP"));
    }
    let forwarded = "-p udp --dport 5001 -j DNAT --to-destination 192.168.1.10:5000";
    run(&format!("iptables -t nat -A PREROUTING -i uplink {forwarded}"));
    let [here, behind] = [udp(at("::", 5000)), house.one.udp(at("::", 5000))];
    let visits = [
        (FOREIGN[0], at("192.0.2.2", 5000), &here),
        (FOREIGN[0], at("192.0.2.2", 5001), &behind),
        (FOREIGN[1], at("2001:db8:2::2", 5000), &here),
        (FOREIGN[1], at("2001:db8:1::10", 5000), &behind),
    ];
    let visitors = visits.map(|(from, to, server)| {
        let visitor = house.internet.udp(at(from, 0));
        visitor.send_to(b"hello", to).unwrap();
        let (_, back) = server.recv_from(&mut [0; 64]).unwrap();
        (visitor, to, server, back)
    });
    let installed = backend().prepare().unwrap().install(with_udp(router_of_the_network()));
    let installed = installed.unwrap();
    installed.beat(Switches::CAPTURE).unwrap();
    let tells = |(visitor, to, server, back): &(UdpSocket, SocketAddr, &UdpSocket, SocketAddr)| {
        server.send_to(b"news", back).unwrap();
        let mut buffer = [0; 64];
        let (length, from) = visitor.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (&b"news"[..], *to));
    };
    for _ in 0..2 {
        visitors.iter().for_each(tells);
    }
    for to in FOREIGN.map(|to| at(to, PORT)) {
        assert_eq!(asked(&udp(any(to, 0)), to), Some(Seen::Captured), "what begins here");
    }
    installed.remove().unwrap();
}
