//! Servers that restart, fall silent or stay away: sessions end, or find another proxy, and the
//! program keeps its socket.

use super::talker::Talker;
use crate::client::{connect, echo};
use crate::counters::Counters;
use crate::peer::{names, service, shadowsocks};
use crate::process::{Place, sh};
use crate::snet::{Config, Snet};
use crate::variant::Variant;
use crate::wait;
use crate::world::{FAMILIES, FOREIGN_SITE, Family, SILENT_FOREIGN, sealed};
use nix::sys::signal::Signal;
use std::time::Duration;

const METHOD: &str = "aes-128-gcm";

fn local(proxies: &[String]) -> Config {
    let mut config = Config::through(Family::V4, proxies);
    Config::set(&mut config.firewall, "udp", "\"proxy\"");
    config
}

fn talkers() -> [Talker; 2] {
    FAMILIES.map(|family| Talker::to(FOREIGN_SITE.port(family, service::ECHO)))
}

fn must_come_back(talkers: &[Talker], within: Duration, snet: &Snet) {
    for talker in talkers {
        let answered = wait::quietly(within, || talker.is_answered(b"and now?"));
        assert!(answered, "{} stays silent: {}", talker.site, snet.log());
    }
}

/// The only proxy.
#[test]
fn a_server_restarts() {
    sealed(|| {
        service::start();
        let counters = Counters::start();
        let (server, line) = shadowsocks::rust(Family::V4, METHOD);
        let snet = Snet::start(Variant::Native, &local(&[line]));
        let talkers = talkers();
        must_come_back(&talkers, Duration::from_secs(1), &snet);
        drop(server);
        assert!(talkers.iter().all(|talker| !talker.is_answered(b"down")));
        let (_server, _) = shadowsocks::rust(Family::V4, METHOD);
        must_come_back(&talkers, Duration::from_secs(10), &snet);
        assert_eq!(counters.leaked(), 0, "something left directly");
        snet.stop();
    });
}

/// Its port refuses what it is sent: the next datagrams go through the second one.
#[test]
fn a_proxy_dies() {
    sealed(|| {
        service::start();
        let counters = Counters::start();
        let (first, one) = shadowsocks::rust(Family::V4, METHOD);
        let (_second, two) = shadowsocks::second(Family::V6, METHOD);
        let snet = Snet::start(Variant::Native, &local(&[one, two]));
        let talkers = talkers();
        must_come_back(&talkers, Duration::from_secs(1), &snet);
        drop(first);
        must_come_back(&talkers, Duration::from_secs(10), &snet);
        assert_eq!(counters.leaked(), 0, "something left directly");
        snet.stop();
    });
}

/// Its host is gone. Connections have shown that, so its sessions end long before they have rested.
#[test]
fn the_host_of_a_proxy_is_gone() {
    sealed(|| {
        service::start();
        let _names = [names::domestic(), names::trusted()];
        let counters = Counters::start();
        let (_first, one) = shadowsocks::rust(Family::V4, METHOD);
        let (_second, two) = shadowsocks::second(Family::V4, METHOD);
        let snet = Snet::start(Variant::Native, &local(&[one, two]));
        let talkers = talkers();
        must_come_back(&talkers, Duration::from_secs(1), &snet);
        let port = shadowsocks::rust_address(Family::V4).port();
        for protocol in ["tcp", "udp"] {
            let gone = format!("iptables -I INPUT -p {protocol} --dport {port} -j DROP");
            sh(Place::Internet, &gone);
        }
        assert!(talkers.iter().all(|talker| !talker.is_answered(b"down")));
        let mut stream = connect(FOREIGN_SITE.port(Family::V4, service::ECHO));
        echo(&mut stream, b"hello").expect("through the other one");
        must_come_back(&talkers, Duration::from_secs(25), &snet);
        assert_eq!(counters.leaked(), 0, "something left directly");
        snet.stop();
    });
}

/// It takes everything and says nothing. A host that says nothing is no reason to leave a proxy;
/// many in a row are.
#[test]
fn a_server_is_silent() {
    sealed(|| {
        service::start();
        let counters = Counters::start();
        let (first, one) = shadowsocks::rust(Family::V4, METHOD);
        let (_second, two) = shadowsocks::second(Family::V6, METHOD);
        let snet = Snet::start(Variant::Native, &local(&[one, two]));
        let silent = Talker::to(SILENT_FOREIGN.port(Family::V4, service::ECHO));
        assert!(!silent.is_answered(b"nobody is there"));
        must_come_back(&talkers(), Duration::from_secs(1), &snet);
        first.signal(Signal::SIGSTOP);
        let many: Vec<_> = (0..8).flat_map(|_| talkers()).collect();
        for talker in &many {
            talker.send(b"is somebody there?").expect("it is captured");
        }
        // Half a minute without a reply ends a session.
        wait::until("the other proxy carries new sessions", Duration::from_secs(45), || {
            talkers().iter().all(|talker| talker.is_answered(b"new"))
        });
        must_come_back(&many, Duration::from_secs(3), &snet);
        assert_eq!(counters.leaked(), 0, "something left directly");
        snet.stop();
    });
}
