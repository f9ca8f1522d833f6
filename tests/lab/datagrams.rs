//! Foreign UDP goes through the proxy, and nothing else of it leaves: this machine's own programs,
//! both families, every backend.

use crate::client::ask;
use crate::counters::Counters;
use crate::peer::service;
use crate::router::LAN;
use crate::snet::{self, Config, Snet};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::wait;
use crate::world::{DOMESTIC_SITE, FAMILIES, FOREIGN_SITE, Family, sealed_for};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;
use snet_lab::in_every_variant;
use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

in_every_variant!(foreign_udp_goes_through_the_proxy, datagrams_of_a_lan_host);

/// A program's socket that asks again and again.
pub struct Talker {
    socket: UdpSocket,
    site: SocketAddr,
}

impl Talker {
    pub fn to(site: SocketAddr) -> Self {
        let any: IpAddr = if site.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() };
        let socket = UdpSocket::bind((any, 0)).expect("any port");
        socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a socket");
        Talker { socket, site }
    }

    /// A program of a host in this network namespace.
    fn of(namespace: &str, site: SocketAddr) -> Self {
        let path = format!("/run/netns/{namespace}");
        let entering = std::thread::spawn(move || {
            let there = fs::File::open(path).expect("the host is there");
            setns(there, CloneFlags::CLONE_NEWNET).expect("the namespace is ours");
            Talker::to(site)
        });
        entering.join().expect("a socket there")
    }

    /// Whether what it sends comes back, from where it was sent.
    pub fn is_answered(&self, text: &[u8]) -> bool {
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

/// A host behind the machine, which sees nothing of the capture.
fn datagrams_of_a_lan_host(variant: Variant) {
    service::start();
    // Under br_netfilter TPROXY loses what a bridge takes in.
    for tool in ["iptables", "ip6tables"] {
        let _ = fs::write(format!("/proc/sys/net/bridge/bridge-nf-call-{tool}"), "0");
    }
    LAN.move_in(variant);
    let counters = Counters::start();
    let (_proxy, line) = Upstream::Rust("aes-256-gcm").start(Family::V4);
    let mut config = Config::through(Family::V4, &[line]);
    Config::set(&mut config.top, "mode", "\"router\"");
    config.firewall.push("udp = \"proxy\"".into());
    let snet = Snet::start(variant, &config);
    let talkers = |family| {
        let foreign = Talker::of(LAN.namespace, FOREIGN_SITE.port(family, service::ECHO));
        (foreign, Talker::of(LAN.namespace, DOMESTIC_SITE.port(family, service::ECHO)))
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
