//! Rules on the wire: block, direct, proxy, QUIC, and the other datagrams.

use crate::client::{ask, connect, echo, failure, try_connect};
use crate::counters::Counters;
use crate::peer::service;
use crate::snet::{Config, Snet};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::world::{
    BLOCKED_SITE, DOMESTIC_SITE, FAMILIES, FOREIGN_SITE, Family, sealed, sealed_for,
};
use snet_lab::in_every_variant;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

in_every_variant!(rules_hold);

fn rules_hold(variant: Variant) {
    service::start();
    for family in FAMILIES {
        service::tcp(BLOCKED_SITE.port(family, service::ECHO), |_| {});
    }
    let (_server, proxy) = Upstream::Tinyproxy.start(Family::V4);
    let mut config = Config::through(Family::V4, std::slice::from_ref(&proxy));
    let both = |host: crate::world::Host| {
        format!("[\"{}\", \"{}\"]", host.ip(Family::V4), host.ip(Family::V6))
    };
    Config::set(&mut config.rules, "block", &both(BLOCKED_SITE));
    let counters = Counters::start();
    let snet = Snet::start(variant, &config);
    for family in FAMILIES {
        let began = Instant::now();
        let blocked = try_connect(BLOCKED_SITE.port(family, service::ECHO));
        assert_eq!(blocked.expect_err("blocked").kind(), ErrorKind::ConnectionRefused);
        let echoed = ask(BLOCKED_SITE.port(family, 4433));
        assert_eq!(echoed.expect_err("blocked").kind(), ErrorKind::ConnectionRefused);

        // QUIC to foreign sites: browsers fall back to TCP at once.
        let quic = ask(FOREIGN_SITE.port(family, 443));
        assert_eq!(quic.expect_err("rejected").kind(), ErrorKind::ConnectionRefused, "{family:?}");
        assert!(began.elapsed() < Duration::from_secs(2), "refusals took {:?}", began.elapsed());
        assert_eq!(counters.leaked(), 0, "QUIC or blocked packets left the machine");
        ask(DOMESTIC_SITE.port(family, 443)).expect("domestic QUIC passes");
        ask(DOMESTIC_SITE.port(family, service::ECHO)).expect("domestic datagrams pass");
    }
    for family in FAMILIES {
        ask(FOREIGN_SITE.port(family, service::ECHO)).expect("other datagrams pass");
    }
    snet.stop();

    // What a rule says goes before the list.
    Config::set(&mut config.rules, "block", "[]");
    Config::set(&mut config.rules, "direct", &both(FOREIGN_SITE));
    Config::set(&mut config.rules, "proxy", &both(DOMESTIC_SITE));
    let snet = Snet::start(variant, &config);
    let captured = counters.captured();
    for family in FAMILIES {
        let mut direct = connect(FOREIGN_SITE.port(family, service::ECHO));
        echo(&mut direct, b"a foreign site, directly").expect("an echo");
        ask(FOREIGN_SITE.port(family, 443)).expect("its QUIC passes too");
    }
    assert_eq!(counters.captured(), captured);
    for family in FAMILIES {
        let mut proxied = connect(DOMESTIC_SITE.port(family, service::ECHO));
        echo(&mut proxied, b"a domestic site, through the proxy").expect("an echo");
    }
    assert_eq!(counters.captured(), captured + 2);
    snet.stop();

    // After the stop nothing is rejected any more.
    for family in FAMILIES {
        ask(FOREIGN_SITE.port(family, 443)).expect("nobody rejects QUIC");
    }
}

#[test]
fn global_scope_proxies_domestic_sites_too() {
    sealed(|| {
        service::start();
        let (_server, proxy) = Upstream::Libev("aes-128-gcm").start(Family::V6);
        let mut config = Config::through(Family::V6, &[proxy]);
        Config::set(&mut config.top, "scope", "\"global\"");
        config.rules.clear();
        let counters = Counters::start();
        let snet = Snet::start(Variant::Nft, &config);
        for family in FAMILIES {
            let mut stream = connect(DOMESTIC_SITE.port(family, service::ECHO));
            echo(&mut stream, b"hello").expect("an echo");
        }
        assert_eq!(counters.captured(), 2);
        snet.stop();
    });
}

#[test]
fn ipv6_can_be_left_alone_or_blocked() {
    sealed(|| {
        service::start();
        let (_server, proxy) = Upstream::Libev("aes-128-gcm").start(Family::V4);
        let mut config = Config::through(Family::V4, &[proxy]);
        let counters = Counters::start();
        let site = FOREIGN_SITE.port(Family::V6, service::ECHO);

        Config::set(&mut config.firewall, "ipv6", "\"direct\"");
        let snet = Snet::start(Variant::Nft, &config);
        echo(&mut connect(site), b"hello").expect("an echo");
        assert_eq!(counters.captured(), 0);
        assert!(counters.leaked() > 0);
        snet.stop();

        let leaked = counters.leaked();
        Config::set(&mut config.firewall, "ipv6", "\"block\"");
        let snet = Snet::start(Variant::Nft, &config);
        let kind = failure(site);
        assert!(
            matches!(kind, ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset),
            "{kind:?}"
        );
        assert_eq!(counters.leaked(), leaked, "IPv6 left the machine");
        snet.stop();
    });
}
