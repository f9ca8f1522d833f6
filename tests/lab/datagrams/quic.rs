//! QUIC through the proxy: a real client and server move much, every byte arrives, and nothing of
//! it leaves directly; on paths that drop large packets too.

use super::talker::Talker;
use super::{lan, router};
use crate::counters::Counters;
use crate::peer::{quic, service, shadowsocks};
use crate::process::{FOLDER, Place, run, sh};
use crate::router::LAN;
use crate::snet::{Config, Snet};
use crate::variant::Variant;
use crate::world::{FAMILIES, FOREIGN_SITE, FOREIGN_TWIN, Family, sealed, sealed_for};
use snet_lab::in_every_variant;
use std::fs;
use std::path::Path;
use std::time::Instant;

in_every_variant!(a_large_transfer);

/// In each direction, in MiB. `SNET_QUIC_MIB` sets another number.
fn mebibytes() -> u64 {
    std::env::var("SNET_QUIC_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(32)
}

fn start(variant: Variant, line: String) -> Snet {
    let mut config = router(Family::V4, line);
    Config::set(&mut config.firewall, "quic", "\"proxy\"");
    Snet::start(variant, &config)
}

fn exchange(place: Option<&str>, family: Family, bytes: u64, snet: &Snet) {
    let site = FOREIGN_TWIN.port(family, quic::PORT);
    let began = Instant::now();
    let exchange = quic::exchange(Talker::of(place, site).socket, site, bytes)
        .unwrap_or_else(|failure| panic!("{place:?} {family:?}: {failure}\n{}", snet.log()));
    println!("{place:?} {family:?}: {} MiB twice in {:?}", bytes >> 20, began.elapsed());
    assert_eq!((&exchange.up, &exchange.down), (&exchange.sent, &exchange.sent));
}

/// Of this machine and of a LAN host.
fn a_large_transfer(variant: Variant) {
    quic::start();
    lan(variant);
    let counters = Counters::start();
    let (_proxy, line) = shadowsocks::rust(Family::V4, "aes-128-gcm");
    let snet = start(variant, line);
    for (place, family) in [(None, Family::V4), (Some(LAN.namespace), Family::V6)] {
        exchange(place, family, mebibytes() << 20, &snet);
    }
    assert_eq!(counters.leaked(), 0, "something left directly");
    snet.stop();
}

/// The client has asked nobody for the name: its hello tells it, and the way of the flow.
#[test]
fn a_rule_for_the_name_in_the_hello() {
    sealed(|| {
        quic::start();
        let counters = Counters::start();
        let (_one, one) = shadowsocks::rust(Family::V4, "aes-128-gcm");
        let (_two, two) = shadowsocks::second(Family::V4, "aes-128-gcm");
        let proxies = [format!("name = \"one\"\n{one}"), format!("name = \"two\"\n{two}")];
        let mut config = Config::through(Family::V4, &proxies);
        config.top.push("log.level = \"debug\"".into());
        Config::set(&mut config.rules, "via", "{ \"two\" = [\"dns.example\"] }");
        Config::set(&mut config.firewall, "quic", "\"proxy\"");
        let snet = Snet::start(Variant::Native, &config);
        for family in FAMILIES {
            exchange(None, family, 1 << 20, &snet);
        }
        let log = snet.log();
        let lines = log.lines().filter(|line| line.contains("UDP session "));
        let way = "name=\"dns.example\" group=\"two\" proxy=\"two\"";
        let named = lines.filter(|line| line.contains(way));
        assert_eq!(named.count(), 2, "{log}");
        assert_eq!(counters.leaked(), 0, "something left directly");
        snet.stop();
    });
}

/// The way to the proxy carries no packet above 1,280 bytes, and says so to neither end.
#[test]
fn a_path_that_drops_large_packets() {
    sealed(|| {
        quic::start();
        lan(Variant::Native);
        let counters = Counters::start();
        let (_proxy, line) = shadowsocks::rust(Family::V4, "aes-128-gcm");
        let drops = "table inet narrow {
            chain to { type filter hook output priority 0; oifname wan meta length > 1280 drop; }
            chain from { type filter hook input priority 0; iifname wan meta length > 1280 drop; }
        }";
        // Trains are cut into packets before they are on the wire, as they are for a real one.
        sh(Place::Machine, "ip link set dev uplink gso_max_segs 1");
        let file = Path::new(FOLDER).join("narrow.nft");
        fs::write(&file, drops).expect("the tmpfs is writable");
        run(Place::Internet, "nft", &["-f", &file.display().to_string()]);
        let snet = start(Variant::Native, line);
        for (place, family) in [(None, Family::V6), (Some(LAN.namespace), Family::V4)] {
            exchange(place, family, 1 << 20, &snet);
        }
        assert_eq!(counters.leaked(), 0, "something left directly");
        snet.stop();
    });
}

/// More than one packet, on every wire.
#[test]
fn a_datagram_of_9000_bytes() {
    sealed(|| {
        let seen = service::start();
        lan(Variant::Native);
        let (_proxy, line) = shadowsocks::rust(Family::V4, "aes-128-gcm");
        let snet = start(Variant::Native, line);
        let text = vec![b'9'; 9000];
        for place in super::PLACES {
            for family in FAMILIES {
                let site = FOREIGN_SITE.port(family, service::ECHO);
                let talker = Talker::of(place, site);
                // It comes there in fragments. ssserver forbids them for its own packets, so an
                // answer needs wires that carry it.
                let came = seen.at(site).len();
                talker.send(&text).expect("it is captured");
                crate::wait::until("it comes there", std::time::Duration::from_secs(3), || {
                    seen.at(site).len() > came
                });
                sh(Place::Machine, "ip link set uplink mtu 9500");
                sh(Place::Internet, "ip link set wan mtu 9500");
                let context = format!("{place:?} {family:?}: {}", snet.log());
                assert!(Talker::of(place, site).is_answered(&text), "{context}");
                sh(Place::Machine, "ip link set uplink mtu 1500");
                sh(Place::Internet, "ip link set wan mtu 1500");
            }
        }
        snet.stop();
    });
}
