//! Others drop or steal captured UDP alone: it is found and told, that UDP is not captured while
//! everything else is, and it comes back by itself.

use crate::client::{ask, echo, try_connect};
use crate::counters::Counters;
use crate::peer::{names, service};
use crate::process::{FOLDER, Place, Running};
use crate::snet::{self, Config, Snet, dig};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::wait::until;
use crate::world::{FAMILIES, FOREIGN_SITE, Family, sealed_for};
use snet_lab::in_every_variant;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

in_every_variant!(
    udp_of_one_family_is_lost_and_comes_back,
    udp_that_is_lost_flows_directly,
    a_listener_that_hangs_is_found
);

/// Beats that find it, and the time to say so.
const WITHIN: Duration = Duration::from_secs(15);

fn shell(script: &str) {
    crate::process::run(Place::Machine, "sh", &["-ec", script]);
}

/// A chain of another program, at the beginning of PREROUTING, for what comes back over `lo` with
/// the mark of this machine's captured datagrams.
fn others(family: &str, verdict: &str) -> String {
    format!(
        "nft add table {family} others; \
         nft add chain {family} others in {{ type filter hook prerouting priority -170 \\; }}; \
         nft add rule {family} others in iifname lo meta l4proto udp \
         meta mark and 0x4000000 != 0 {verdict}"
    )
}

/// Ways to lose UDP of IPv4, what is told of it, and the way back.
fn losses(variant: Variant) -> [(&'static str, String, &'static str, String); 3] {
    let tool = format!("{}/iptables", variant.folder().display());
    let rule = "PREROUTING -i lo -p udp -m mark --mark 0x4000000/0x4000000 -j DROP";
    [
        (
            "a rule of raw",
            format!("{tool} -t raw -A {rule}"),
            "in chain PREROUTING drops it",
            format!("{tool} -t raw -D {rule}"),
        ),
        (
            "a chain of nft",
            others("ip", "drop"),
            "to let it pass: nft insert rule ip others in iifname lo accept",
            "nft delete table ip others".into(),
        ),
        (
            "another program's mark",
            others("ip", "meta mark set 0x1"),
            "captured UDP is not answered",
            "nft delete table ip others".into(),
        ),
    ]
}

fn begin() -> (Running, Config) {
    let (server, line) = Upstream::Rust("aes-256-gcm").start(Family::V4);
    let mut config = Config::through(Family::V4, &[line]);
    config.firewall.push("udp = \"proxy\"".into());
    (server, config)
}

fn site(family: Family) -> std::net::SocketAddr {
    FOREIGN_SITE.port(family, service::ECHO)
}

/// Connections of both families and names are captured.
fn the_rest_is_captured(what: &str, snet: &Snet) {
    for family in FAMILIES {
        let mut stream = try_connect(site(family)).expect(what);
        echo(&mut stream, b"hello").unwrap_or_else(|error| panic!("{error}: {}", snet.log()));
    }
    assert!(dig("+short foreign.example").contains("203.0.113.10"), "{what}");
}

fn udp_of_one_family_is_lost_and_comes_back(variant: Variant) {
    service::start();
    let _names = [names::domestic(), names::trusted(), names::system()];
    let (_server, config) = begin();
    for (what, lose, told, back) in losses(variant) {
        let snet = Snet::start(variant, &config);
        let counters = Counters::restart();
        FAMILIES.iter().for_each(|family| ask(site(*family)).expect(what));
        shell(&lose);
        until(&format!("{what}: it is told"), WITHIN, || {
            let log = snet.log();
            log.contains("not captured: IPv4 UDP: captured UDP is not answered")
                && log.contains(told)
                && log.contains("foreign IPv4 UDP is rejected meanwhile")
        });
        for _ in 0..5 {
            let refused = ask(site(Family::V4)).expect_err("IPv4 UDP is rejected");
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{what}");
            ask(site(Family::V6)).expect("that of IPv6 is captured");
            the_rest_is_captured(what, &snet);
        }
        shell(&back);
        until(&format!("{what}: it comes back"), WITHIN, || {
            snet.log().contains("IPv4 UDP is captured again")
        });
        ask(site(Family::V4)).expect("IPv4 UDP is captured again");
        assert_eq!(counters.leaked(), 0, "{what}: nothing foreign leaves directly");
        snet.stop();
    }
}

/// `firewall.on-failure = "open"`
fn udp_that_is_lost_flows_directly(variant: Variant) {
    service::start();
    let _names = [names::domestic(), names::trusted(), names::system()];
    let (_server, config) = begin();
    // From the start: everything else is no reason not to.
    shell(&others("inet", "drop"));
    let snet = Snet::start(variant, &config);
    let counters = Counters::restart();
    for family in FAMILIES {
        until("it is told", WITHIN, || {
            snet.log().contains(&format!("foreign {} UDP flows directly meanwhile", name(family)))
        });
        ask(site(family)).expect("it is direct");
        the_rest_is_captured("UDP is lost", &snet);
    }
    assert!(counters.leaked() > 0, "UDP is direct");
    shell("nft delete table inet others");
    for family in FAMILIES {
        until("it comes back", WITHIN, || {
            snet.log().contains(&format!("{} UDP is captured again", name(family)))
        });
        let leaked = counters.leaked();
        ask(site(family)).expect("it is captured");
        assert_eq!(counters.leaked(), leaked, "nothing leaves directly");
    }
    snet.stop();
}

/// Nothing of UDP is kept alive, and the service manager may begin anew.
fn a_listener_that_hangs_is_found(variant: Variant) {
    service::start();
    let _names = [names::domestic(), names::trusted(), names::system()];
    let (_server, config) = begin();
    let path = Path::new(FOLDER).join("manager");
    let manager = UnixDatagram::bind(&path).expect("the tmpfs is writable");
    manager.set_nonblocking(true).expect("a socket");
    let fed = || {
        let (mut message, mut fed) = ([0; 512], false);
        while let Ok(length) = manager.recv(&mut message) {
            fed |= &message[..length] == b"WATCHDOG=1";
        }
        fed
    };
    let mut command = snet::snet(variant);
    command.env("NOTIFY_SOCKET", &path).env("SNET_FAULT", "udp-hang");
    let snet = Snet::ready(command.arg("-c").arg(config.by(variant).write()));
    FAMILIES.iter().for_each(|family| ask(site(*family)).expect("it is captured"));
    until("the watchdog is fed", WITHIN, fed);
    let any = UdpSocket::bind("0.0.0.0:0").expect("any port");
    any.send_to(b"hang", site(Family::V4)).expect("a datagram");
    for family in FAMILIES {
        let told = format!("not captured: {} UDP: the listener of UDP does not", name(family));
        until(&told, WITHIN, || snet.log().contains(&told));
        ask(site(family)).expect("it is direct");
        the_rest_is_captured("the listener hangs", &snet);
    }
    fed();
    std::thread::sleep(Duration::from_secs(6));
    assert!(!fed(), "a service that hangs in part is not fed");
    snet.kill();
}

fn name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}
