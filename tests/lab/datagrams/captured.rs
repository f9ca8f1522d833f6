//! Foreign UDP goes through the proxy, and nothing else of it leaves: this machine's own programs,
//! both families, every backend.

use super::talker::Talker;
use super::{lan, router};
use crate::client::ask;
use crate::counters::Counters;
use crate::peer::service;
use crate::router::LAN;
use crate::snet::{self, Config, Snet};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::wait;
use crate::world::{DOMESTIC_SITE, FAMILIES, FOREIGN_SITE, Family, MACHINE, sealed_for};
use nix::sys::signal::Signal;
use snet_lab::in_every_variant;
use std::time::Duration;

in_every_variant!(foreign_udp_goes_through_the_proxy, datagrams_of_a_lan_host);

fn foreign_udp_goes_through_the_proxy(variant: Variant) {
    let seen = service::start();
    let counters = Counters::start();
    let (proxy, line) = Upstream::Rust("aes-256-gcm").start(Family::V4);
    let older = FAMILIES.map(|family| Talker::to(FOREIGN_SITE.port(family, service::ECHO)));
    assert!(older.iter().all(|talker| talker.is_answered(b"before")));
    let mut config = Config::through(Family::V4, &[line]);
    config.firewall.push("udp = \"proxy\"".into());
    let file = config.by(variant).write();
    let snet = Snet::ready(snet::snet(variant).arg("-vv").arg("-c").arg(file));

    let newer = FAMILIES.map(|family| Talker::to(FOREIGN_SITE.port(family, service::ECHO)));
    let visits = seen.all().len();
    let leaked = counters.leaked();
    for talker in &newer {
        // (ssserver sends no reply that would have to be fragmented.)
        for length in [1, 1200, 1400] {
            let text = vec![b'x'; length];
            assert!(talker.is_answered(&text), "{} bytes: {}", length, snet.log());
        }
    }
    assert_eq!(counters.leaked(), leaked, "something left directly");
    assert_eq!(seen.all().len(), visits + 6, "all of it came there");
    assert!(older.iter().all(|talker| talker.is_answered(b"older")), "flows from before go on");
    for family in FAMILIES {
        let domestic = DOMESTIC_SITE.port(family, service::ECHO);
        ask(domestic).expect("domestic UDP is answered");
        let from = seen.at(domestic).last().map(|visit| visit.from.ip());
        assert_eq!(from, Some(MACHINE.ip(family)), "domestic UDP is direct");
        let quic = ask(FOREIGN_SITE.port(family, 443)).expect_err("QUIC is rejected");
        assert_eq!(quic.kind(), std::io::ErrorKind::ConnectionRefused);
    }

    // Dead or hung, it lets go at the next datagram.
    snet.signal(Signal::SIGSTOP);
    for talker in &newer {
        wait::until("the flow works directly", Duration::from_secs(12), || {
            talker.is_answered(b"hung")
        });
    }
    assert!(counters.leaked() > leaked, "directly, that is");
    snet.signal(Signal::SIGCONT);
    wait::until("new flows are captured again", Duration::from_secs(12), || {
        let before = counters.leaked();
        let talker = Talker::to(FOREIGN_SITE.port(Family::V4, service::ECHO));
        talker.is_answered(b"awake") && counters.leaked() == before
    });

    // Without its proxy nothing leaves either.
    let talker = Talker::to(FOREIGN_SITE.port(Family::V4, service::ECHO));
    assert!(talker.is_answered(b"up"));
    drop(proxy);
    let leaked = counters.leaked();
    assert!(!talker.is_answered(b"down"));
    assert!(!Talker::to(talker.site).is_answered(b"down"));
    assert_eq!(counters.leaked(), leaked, "something left directly");
    snet.stop();
    assert!(talker.is_answered(b"stopped"), "after a stop all is direct");
}

/// A host behind the machine, which sees nothing of the capture.
fn datagrams_of_a_lan_host(variant: Variant) {
    service::start();
    lan(variant);
    let counters = Counters::start();
    let (_proxy, line) = Upstream::Rust("aes-256-gcm").start(Family::V4);
    let snet = Snet::start(variant, &router(Family::V4, line));
    let talkers = |family| {
        let foreign = Talker::of(Some(LAN.namespace), FOREIGN_SITE.port(family, service::ECHO));
        (foreign, Talker::of(Some(LAN.namespace), DOMESTIC_SITE.port(family, service::ECHO)))
    };
    for family in FAMILIES {
        let (foreign, domestic) = talkers(family);
        let (leaked, went) = (counters.leaked(), counters.domestic());
        for length in [1, 1200, 1400] {
            let text = vec![b'x'; length];
            assert!(foreign.is_answered(&text), "{family:?}, {length} bytes: {}", snet.log());
        }
        assert_eq!(counters.leaked(), leaked, "{family:?}: something left directly");
        assert!(domestic.is_answered(b"domestic"), "{family:?}: {}", snet.log());
        assert!(counters.domestic() > went, "{family:?}: domestic UDP is direct");
    }
    let flows = FAMILIES.map(|family| talkers(family).0);
    assert!(flows.iter().all(|flow| flow.is_answered(b"captured")));
    snet.kill();
    // The router's own translation, and not one that is half of ours.
    for flow in &flows {
        wait::until("the flow works directly", Duration::from_secs(12), || {
            flow.is_answered(b"killed")
        });
    }
}
