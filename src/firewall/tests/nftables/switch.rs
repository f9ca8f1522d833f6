//! The dead man's switch: what nobody renews ceases to act.

use super::{install, ruleset, wait_for};
use crate::firewall::Switches;
use crate::firewall::policy::Datagrams;
use snet_lab::in_variants;
use snet_lab::internet::{Internet, Seen, any, at, datagram, greet, refused, tcp, udp};
use snet_lab::kernel::sealed_for;
use std::net::TcpListener;

in_variants!([Native] without_a_beat_the_network_is_free, a_beat_gives_the_whole_time, after_a_release_no_beat_counts, other_rules_are_no_sign_of_life);

const FOREIGN: [&str; 2] = ["198.51.100.1", "2001:db8:f::1"];
const BLOCKED: [&str; 2] = ["198.51.100.65", "2001:db8:b::1"];

struct World {
    internet: Internet,
    resolvers: [std::net::UdpSocket; 2],
}

impl World {
    fn new() -> Self {
        let internet = Internet::build();
        internet.greet(80, b'I');
        for address in [at("127.0.0.1", 1111), at("::1", 1111)] {
            greet(TcpListener::bind(address).unwrap(), b'S');
        }
        World { internet, resolvers: [udp(at("127.0.0.1", 1211)), udp(at("::1", 1211))] }
    }

    /// What becomes of everything that a rule acts on: TCP, queries, QUIC, blocked addresses.
    fn is(&self, acting: bool, when: &str) {
        let captured = if acting { Seen::Captured } else { Seen::Direct };
        let blocked = if acting { Seen::Refused } else { Seen::Direct };
        let quic = self.internet.udp(at("::", 443));
        for ((foreign, blocks), resolver) in FOREIGN.into_iter().zip(BLOCKED).zip(&self.resolvers) {
            assert_eq!(tcp(at(foreign, 80), None), captured, "{when}: {foreign}");
            assert_eq!(tcp(at(blocks, 80), None), blocked, "{when}: {blocks}");
            assert_eq!(refused(at(foreign, 443), &quic, None), acting, "{when}: QUIC {foreign}");
            let to = at(foreign, 53);
            let server = self.internet.udp(to);
            // One that keeps its port.
            let client = udp(any(to, 40_000));
            assert_eq!(datagram(&client, to, &server, Some(resolver)), captured, "{when}: {to}");
        }
    }
}

fn without_a_beat_the_network_is_free() {
    let world = World::new();
    let handle = install(ruleset()).unwrap();
    world.is(true, "at first");
    wait_for(|| tcp(at(FOREIGN[0], 80), None) == Seen::Direct);
    world.is(false, "after six seconds of silence");
    assert!(handle.is_intact().unwrap(), "silent, but whole");
    handle.beat(Switches::CAPTURE).unwrap();
    world.is(true, "alive again");
    handle.remove().unwrap();
    world.is(false, "afterwards");
}

fn a_beat_gives_the_whole_time() {
    let handle = install(ruleset()).unwrap();
    handle.beat(Switches::CAPTURE).unwrap();
    assert!(has_the_whole_time());
    wait_for(|| left().iter().any(|seconds| *seconds <= 4));
    handle.beat(Switches::CAPTURE).unwrap();
    assert!(has_the_whole_time(), "renewed");
}

/// The whole seconds that the switch's entries have left.
fn left() -> Vec<u32> {
    let listed = super::run("nft list set inet snet alive");
    let times = listed.split("expires ").skip(1);
    let seconds = times.map(|time| time.split_once('s').unwrap().0.parse().unwrap_or(0));
    seconds.collect()
}

fn has_the_whole_time() -> bool {
    left().iter().all(|seconds| *seconds >= 5)
}

fn other_rules_are_no_sign_of_life() {
    let handle = install(ruleset()).unwrap();
    handle.beat(Switches::CAPTURE).unwrap();
    wait_for(|| left().iter().any(|seconds| *seconds <= 4));
    handle.replace(&ruleset().with(|policy| policy.quic = Datagrams::Direct), &[]).unwrap();
    assert!(has_the_whole_time(), "alive just now: the time of the change does not count");
    wait_for(|| left().iter().any(|seconds| *seconds <= 2));
    handle.replace(&ruleset(), &[]).unwrap();
    assert!(left().iter().all(|seconds| *seconds < 3), "silent for long");
    handle.remove().unwrap();
}

fn after_a_release_no_beat_counts() {
    let world = World::new();
    let handle = install(ruleset()).unwrap();
    world.is(true, "at first");
    handle.release().unwrap();
    world.is(false, "after the release");
    handle.beat(Switches::CAPTURE).unwrap();
    world.is(false, "after a late beat");
    handle.release().unwrap();
    handle.remove().unwrap();
}
