//! The dead man's switch: without a beat the rules stop acting, with one they act again.

use super::ruleset;
use crate::firewall::iptables::IptablesRules;
use crate::firewall::switch::RULE_LIFETIME;
use crate::firewall::{Installed, Switches};
use snet_lab::in_both_variants;
use snet_lab::internet::{Internet, Seen, any, at, datagram, greet, tcp, udp};
use snet_lab::kernel::sealed_for;
use std::net::TcpListener;
use std::time::Duration;

in_both_variants!(without_a_beat_everything_goes_direct, beats_keep_the_rules_acting);

const FOREIGN: [(&str, &str); 2] = [("198.51.100.1", "127.0.0.1"), ("2001:db8:f::1", "::1")];

fn without_a_beat_everything_goes_direct() {
    let internet = Internet::build();
    internet.greet(80, b'I');
    let servers = FOREIGN.map(|(foreign, _)| internet.udp(at(foreign, 53)));
    let resolvers = FOREIGN.map(|(_, loopback)| udp(at(loopback, 1211)));
    let clients = FOREIGN.map(|(foreign, _)| {
        udp(any(at(foreign, 53), if foreign.contains(':') { 40_006 } else { 40_004 }))
    });
    for (_, loopback) in FOREIGN {
        greet(TcpListener::bind(at(loopback, 1111)).unwrap(), b'S');
    }
    let everything = |expected: Seen, when: &str| {
        for (number, (foreign, _)) in FOREIGN.into_iter().enumerate() {
            assert_eq!(tcp(at(foreign, 80), None), expected, "{when}: TCP to {foreign}");
            let (client, server) = (&clients[number], &servers[number]);
            // The same port all the time: its conntrack entry must not outlive the switch.
            let seen = datagram(client, at(foreign, 53), server, Some(&resolvers[number]));
            assert_eq!(seen, expected, "{when}: a name, asked of {foreign}");
        }
    };
    let handle = IptablesRules::install(ruleset()).unwrap();
    everything(Seen::Direct, "installed, and nobody has vouched yet");
    handle.beat(Switches::CAPTURE).unwrap();
    everything(Seen::Captured, "a first beat");
    std::thread::sleep(RULE_LIFETIME + Duration::from_secs(1));
    everything(Seen::Direct, "no beat");
    handle.beat(Switches::CAPTURE).unwrap();
    everything(Seen::Captured, "a beat");
    Box::new(handle).remove().unwrap();
    everything(Seen::Direct, "removed");
}

fn beats_keep_the_rules_acting() {
    let internet = Internet::build();
    internet.greet(80, b'I');
    greet(TcpListener::bind(at("127.0.0.1", 1111)).unwrap(), b'S');
    let handle = IptablesRules::install(ruleset()).unwrap();
    for _ in 0..5 {
        std::thread::sleep(RULE_LIFETIME / 3);
        handle.beat(Switches::CAPTURE).unwrap();
        assert_eq!(tcp(at("198.51.100.1", 80), None), Seen::Captured);
    }
    Box::new(handle).remove().unwrap();
}
