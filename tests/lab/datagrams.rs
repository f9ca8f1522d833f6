//! Foreign UDP goes through the proxy, and nothing else of it leaves: this machine's own programs,
//! both families, every backend.

use crate::client::ask;
use crate::counters::Counters;
use crate::peer::service;
use crate::snet::{self, Config, Snet};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::wait;
use crate::world::{DOMESTIC_SITE, FAMILIES, FOREIGN_SITE, Family, sealed_for};
use nix::sys::signal::Signal;
use snet_lab::in_every_variant;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

in_every_variant!(foreign_udp_goes_through_the_proxy);

/// A program's socket that asks again and again.
struct Talker {
    socket: UdpSocket,
    site: SocketAddr,
}

impl Talker {
    fn to(site: SocketAddr) -> Self {
        let any: IpAddr = if site.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() };
        let socket = UdpSocket::bind((any, 0)).expect("any port");
        socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a socket");
        Talker { socket, site }
    }

    /// Whether what it sends comes back, from where it was sent.
    fn is_answered(&self, text: &[u8]) -> bool {
        let mut buffer = [0; 65_536];
        if self.socket.send_to(text, self.site).is_err() {
            return false;
        }
        let answer = self.socket.recv_from(&mut buffer);
        answer.is_ok_and(|(length, from)| from == self.site && &buffer[..length] == text)
    }
}

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
        ask(DOMESTIC_SITE.port(family, service::ECHO)).expect("domestic UDP is direct");
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
