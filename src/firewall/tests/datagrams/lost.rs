//! The capture of UDP is lost, or not proven, while everything else of the family is captured.

use super::listener::{Listener, asked};
use super::{FOREIGN, PORT, serve, with_udp};
use crate::firewall::tests::installed::backend;
use crate::firewall::tests::ruleset;
use crate::firewall::{Installed, OnFailure, Switch, Switches};
use snet_lab::in_every_variant;
use snet_lab::internet::{Internet, Seen, any, at, greet, refused, tcp, udp};
use snet_lab::kernel::sealed_for;
use std::net::TcpListener;

in_every_variant!(
    what_is_let_go_is_direct_and_stays_so,
    what_is_rejected_is_refused,
    a_closed_network_refuses_it
);

/// Foreign UDP of both families is switched so, and everything else captures.
fn beat(installed: &dyn Installed, datagrams: [Switch; 2]) {
    installed.beat(Switches { datagrams, ..Switches::CAPTURE }).unwrap();
}

fn scene() -> (Internet, Listener) {
    let internet = Internet::build();
    internet.greet(80, b'I');
    for loopback in ["127.0.0.1", "::1"] {
        greet(TcpListener::bind(at(loopback, 1111)).unwrap(), b'S');
    }
    (internet, Listener::start(1111))
}

fn seen() -> [Option<Seen>; 2] {
    FOREIGN.map(|to| asked(&udp(any(at(to, PORT), 0)), at(to, PORT)))
}

fn connections_are_captured() {
    FOREIGN.iter().for_each(|to| assert_eq!(tcp(at(to, 80), None), Seen::Captured, "{to}"));
}

const BOTH: [Switch; 2] = [Switch::Capture; 2];

fn what_is_let_go_is_direct_and_stays_so() {
    let (internet, _listener) = scene();
    FOREIGN.into_iter().for_each(|to| drop(serve(&internet, to, PORT)));
    let installed = backend().prepare().unwrap().install(with_udp(ruleset())).unwrap();
    beat(&*installed, [Switch::Off, Switch::Capture]);
    assert_eq!(seen(), [Some(Seen::Direct), Some(Seen::Captured)]);
    connections_are_captured();
    let quic = internet.udp(at(FOREIGN[0], 443));
    assert!(refused(at(FOREIGN[0], 443), &quic, None), "QUIC is rejected by choice");
    let to = at(FOREIGN[0], PORT);
    let flow = udp(any(to, 0));
    assert_eq!(asked(&flow, to), Some(Seen::Direct));
    beat(&*installed, BOTH);
    assert_eq!(asked(&flow, to), Some(Seen::Direct), "it began while nothing was captured");
    assert_eq!(seen(), [Some(Seen::Captured); 2]);
    // UDP goes with its family.
    installed.beat(Switches { v4: Switch::Off, ..Switches::CAPTURE }).unwrap();
    assert_eq!(seen(), [Some(Seen::Direct), Some(Seen::Captured)]);
    installed.remove().unwrap();
}

fn what_is_rejected_is_refused() {
    let (internet, _listener) = scene();
    let there = internet.udp(at(FOREIGN[0], PORT));
    let installed = backend().prepare().unwrap().install(with_udp(ruleset())).unwrap();
    beat(&*installed, [Switch::Reject, Switch::Capture]);
    assert!(refused(at(FOREIGN[0], PORT), &there, None));
    connections_are_captured();
    beat(&*installed, BOTH);
    assert_eq!(seen(), [Some(Seen::Captured); 2], "and it was not noted as an older flow");
    installed.remove().unwrap();
}

fn a_closed_network_refuses_it() {
    let (internet, _listener) = scene();
    let there = internet.udp(at(FOREIGN[0], PORT));
    let closed = ruleset().with(|policy| policy.on_failure = OnFailure::Closed);
    let installed = backend().prepare().unwrap().install(with_udp(closed)).unwrap();
    beat(&*installed, [Switch::Off, Switch::Capture]);
    assert!(refused(at(FOREIGN[0], PORT), &there, None));
    connections_are_captured();
    beat(&*installed, BOTH);
    assert_eq!(seen(), [Some(Seen::Captured); 2]);
    installed.remove().unwrap();
}
