//! What must not happen, counted by the kernel: foreign packets past the proxy, domestic ones in
//! the process, our own sockets redirected.

use crate::client::{connect, echo, failure};
use crate::counters::Counters;
use crate::peer::{names, service};
use crate::snet::{Config, Snet, dig};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::world::{
    DOMESTIC_SITE, FAMILIES, FOREIGN_SITE, Family, MACHINE, SILENT_FOREIGN, sealed, sealed_for,
};
use snet_lab::in_every_variant;

const TIMES: u64 = 50;

in_every_variant!(nothing_leaks);

fn nothing_leaks(variant: Variant) {
    let seen = service::start();
    let _names = [names::domestic(), names::trusted(), names::system()];
    for family in FAMILIES {
        for upstream in [Upstream::Libev("aes-128-gcm"), Upstream::Tinyproxy] {
            println!("{upstream:?} {family:?}");
            let counters = Counters::restart();
            let (_server, proxy) = upstream.start(family);
            let mut config = Config::through(family, &[proxy]);
            // The proxy server's own range is redirected, and says so twice.
            let range = "[\"192.0.2.0/24\", \"2001:db8:a::/48\"]";
            Config::set(&mut config.rules, "proxy", range);
            let snet = Snet::start(variant, &config);
            let before = seen.all().len();
            for _ in 0..TIMES {
                for client in FAMILIES {
                    for site in [FOREIGN_SITE, DOMESTIC_SITE] {
                        let mut stream = connect(site.port(client, service::ECHO));
                        echo(&mut stream, b"hello").expect("an echo");
                    }
                }
            }
            assert_eq!(counters.captured(), 2 * TIMES, "foreign connections, and no other");
            assert!(counters.marked() >= 2 * TIMES, "each leads to one to the proxy");
            assert_eq!(counters.unmarked(), 0, "to the proxy only marked sockets go");
            assert!(dig("+short foreign.example").contains("203.0.113.10"));
            assert_eq!(counters.leaked(), 0, "nothing goes to foreign sites directly");
            let from_here: Vec<_> = seen.all()[before..]
                .iter()
                .filter(|visit| FAMILIES.iter().any(|f| visit.from.ip() == MACHINE.ip(*f)))
                .map(|visit| visit.at)
                .collect();
            for family in FAMILIES {
                let domestic = DOMESTIC_SITE.port(family, service::ECHO);
                let count = from_here.iter().filter(|at| **at == domestic).count();
                assert_eq!(count as u64, TIMES, "all domestic connections come from the machine");
            }
            assert_eq!(from_here.len() as u64, 2 * TIMES, "and no foreign one does");
            assert!(snet.lines("ERROR").is_empty(), "{}", snet.log());
            snet.stop();
        }
    }
}

#[test]
fn nothing_goes_directly_when_all_proxies_are_down() {
    sealed(|| {
        service::start();
        let counters = Counters::start();
        for family in FAMILIES {
            // Nobody listens on either port.
            let proxies = [1, 2]
                .map(|port| crate::snet::http_proxy(crate::world::PROXY.port(family, port), None));
            let snet = Snet::start(Variant::Nft, &Config::through(family, &proxies));
            for _ in 0..20 {
                for site in [FOREIGN_SITE, SILENT_FOREIGN] {
                    let began = std::time::Instant::now();
                    let end = failure(site.port(family, service::ECHO));
                    assert_eq!(end, std::io::ErrorKind::ConnectionReset);
                    assert!(began.elapsed().as_secs() < 3, "refused after {:?}", began.elapsed());
                }
            }
            let mut domestic = connect(DOMESTIC_SITE.port(Family::V4, service::ECHO));
            echo(&mut domestic, b"domestic").expect("domestic sites need no proxy");
            assert_eq!(counters.leaked(), 0);
            snet.stop();
        }
    });
}
