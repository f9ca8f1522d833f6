//! Others drop what snet redirects: it is found before anything is captured and while it is, told
//! with the rule and the remedy, and it comes back by itself. One family never takes the other
//! down.

use crate::client::{echo, failure, try_connect};
use crate::counters::Counters;
use crate::peer::{names, service};
use crate::process::{FOLDER, Place};
use crate::snet::{self, Config, Snet, dig};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::wait::until;
use crate::world::{DOMESTIC_SITE, FAMILIES, FOREIGN_SITE, Family, sealed, sealed_for};
use snet_lab::in_every_variant;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

/// Beats that find it, and the time to say so.
const WITHIN: Duration = Duration::from_secs(15);

in_every_variant!(
    one_family_is_lost_and_comes_back,
    nothing_captured_is_no_start,
    what_others_begin_to_drop_is_let_go,
    without_ipv6_ipv4_goes_on
);

/// Ways to lose IPv6, and back.
fn losses(variant: Variant) -> Vec<(&'static str, String, String)> {
    let tool = format!("{}/ip6tables", variant.folder().display());
    vec![
        (
            "ip6tables -P INPUT DROP without an exception for lo",
            format!(
                "{tool} -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; \
                 {tool} -A INPUT -p icmpv6 -j ACCEPT; {tool} -P INPUT DROP"
            ),
            format!("{tool} -P INPUT ACCEPT; {tool} -F INPUT"),
        ),
        (
            "an input chain of nft without an exception for lo",
            "nft add table ip6 strict; \
             nft add chain ip6 strict in { type filter hook input priority 0 \\; policy drop \\; \
             }; nft add rule ip6 strict in ct state established,related accept; \
             nft add rule ip6 strict in meta l4proto ipv6-icmp accept"
                .into(),
            "nft delete table ip6 strict".into(),
        ),
    ]
}

fn shell(script: &str) {
    crate::process::run(Place::Machine, "sh", &["-ec", script]);
}

fn start(variant: Variant, config: &Config) -> Snet {
    Snet::start(variant, config)
}

fn reaches(family: Family) -> bool {
    let stream = try_connect(FOREIGN_SITE.port(family, service::ECHO));
    stream
        .and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_millis(500)))?;
            echo(&mut stream, b"hello")
        })
        .is_ok()
}

fn one_family_is_lost_and_comes_back(variant: Variant) {
    service::start();
    let _names = [names::domestic(), names::trusted(), names::system()];
    let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
    let config = Config::through(Family::V4, &[proxy]);
    // What is redirected to ::1 needs no address of the loopback: each device has a route to it.
    let snet = start(variant, &config);
    let counters = Counters::restart();
    shell("ip addr del ::1/128 dev lo");
    for _ in 0..8 {
        std::thread::sleep(Duration::from_secs(1));
        assert!(FAMILIES.into_iter().all(reaches), "without ::1: {}", snet.log());
    }
    assert_eq!(counters.leaked(), 0, "without ::1 nothing foreign leaves");
    shell("ip addr add ::1/128 dev lo");
    snet.stop();
    for (what, lose, back) in losses(variant) {
        // While it runs.
        println!("{what}");
        let snet = start(variant, &config);
        let counters = Counters::restart();
        assert!(FAMILIES.into_iter().all(reaches), "{what}: both families");
        shell(&lose);
        let refused =
            || failure(FOREIGN_SITE.port(Family::V6, service::ECHO)) != ErrorKind::TimedOut;
        until(&format!("{what}: it is told"), WITHIN, || snet.log().contains("not captured: IPv6"));
        for _ in 0..10 {
            assert!(reaches(Family::V4), "{what}: IPv4 is captured");
            assert!(refused(), "{what}: IPv6 is rejected");
            assert!(dig("+short foreign.example").contains("203.0.113.10"), "{what}");
        }
        let mut domestic = try_connect(DOMESTIC_SITE.port(Family::V6, service::ECHO)).expect(what);
        echo(&mut domestic, b"domestic").expect("domestic IPv6 flows");
        assert_eq!(counters.leaked(), 0, "{what}: nothing foreign leaves");
        shell(&back);
        until(&format!("{what}: it comes back"), WITHIN, || reaches(Family::V6));
        assert_eq!(counters.leaked(), 0, "{what}: nothing foreign leaves");
        snet.stop();

        // Before the start.
        shell(&lose);
        let snet = start(variant, &config);
        let counters = Counters::restart();
        for _ in 0..5 {
            assert!(reaches(Family::V4), "{what}, from the start: IPv4 is captured");
            assert!(refused(), "{what}, from the start: IPv6 is rejected");
        }
        shell(&back);
        until(&format!("{what}: it comes"), WITHIN, || reaches(Family::V6));
        assert_eq!(counters.leaked(), 0, "{what}: nothing foreign leaves");
        snet.stop();
    }
}

/// `net.ipv6.conf.all.disable_ipv6=1`, while it runs and before it starts, with the listeners of
/// both modes.
fn without_ipv6_ipv4_goes_on(variant: Variant) {
    service::start();
    let _names = [names::domestic(), names::trusted(), names::system()];
    let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
    let off = "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6";
    let on = "echo 0 >/proc/sys/net/ipv6/conf/all/disable_ipv6; \
              ip addr add fe80::2/64 dev uplink nodad; ip addr add fd00:2::2/64 dev uplink nodad; \
              ip -6 route add default via fd00:2::1";
    for listen in ["[\"127.0.0.1\", \"::1\"]", "\"::\""] {
        let mut config = Config::through(Family::V4, std::slice::from_ref(&proxy));
        Config::set(&mut config.listen, "address", listen);
        for before_the_start in [false, true] {
            println!("{listen}, before the start: {before_the_start}");
            if before_the_start {
                shell(off);
            }
            let snet = start(variant, &config);
            if !before_the_start {
                assert!(FAMILIES.into_iter().all(reaches), "both families");
                shell(off);
            }
            let counters = Counters::restart();
            // Longer than rules act that nobody renews.
            for _ in 0..10 {
                std::thread::sleep(Duration::from_secs(1));
                assert!(reaches(Family::V4), "IPv4 is captured");
                assert!(dig("+short foreign.example").contains("203.0.113.10"));
                assert!(!reaches(Family::V6));
            }
            shell(on);
            until("IPv6 comes back", WITHIN, || reaches(Family::V6));
            assert_eq!(counters.leaked(), 0, "nothing foreign leaves");
            snet.stop();
        }
    }
}

const LOSE_IPV6: &str = "nft add table ip6 strict; \
    nft add chain ip6 strict in { type filter hook input priority 0 \\; policy drop \\; }; \
    nft add rule ip6 strict in ct state established,related accept; \
    nft add rule ip6 strict in meta l4proto ipv6-icmp accept";

/// systemd's watchdog is fed as long as one family is served, and as long as others' rules are to
/// blame.
#[test]
fn a_daemon_that_others_shut_off_is_not_killed() {
    sealed(|| {
        let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
        let config = Config::through(Family::V4, &[proxy]).by(Variant::Native).write();
        let path = Path::new(FOLDER).join("manager");
        let manager = UnixDatagram::bind(&path).expect("the tmpfs is writable");
        manager.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
        let fed = || {
            let mut message = [0; 512];
            loop {
                let length = manager.recv(&mut message).expect("the watchdog is fed");
                if &message[..length] == b"WATCHDOG=1" {
                    return;
                }
            }
        };
        let mut command = snet::snet(Variant::Native);
        command.env("NOTIFY_SOCKET", &path);
        let snet = Snet::ready(command.arg("-c").arg(config));
        fed();
        for (lose, told) in [
            (LOSE_IPV6, "not captured: IPv6"),
            (
                "nft add table ip strict; \
                 nft add chain ip strict in { type filter hook input priority 0 \\; policy drop \
                 \\; }; nft add rule ip strict in ct state established,related accept",
                "not captured: IPv4",
            ),
        ] {
            shell(lose);
            until(told, WITHIN, || snet.log().contains(told));
            // What was said before does not count.
            manager.set_nonblocking(true).expect("a socket");
            while manager.recv(&mut [0; 512]).is_ok() {}
            manager.set_nonblocking(false).expect("a socket");
            for _ in 0..3 {
                fed();
            }
        }
        snet.stop();
    });
}

/// The culprit is looked for by a tool that takes longer than rules act that nobody renews.
#[test]
fn a_slow_tool_keeps_nobody_from_the_other_family() {
    sealed(|| {
        service::start();
        let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
        let config = Config::through(Family::V4, &[proxy]).by(Variant::Native).write();
        let folder = Path::new(FOLDER).join("slow");
        fs::create_dir_all(&folder).expect("the tmpfs is writable");
        let real = crate::tools::path("nft");
        let script =
            format!("#!/bin/sh\n[ \"$1\" != -a ] || sleep 9\nexec {} \"$@\"\n", real.display());
        fs::write(folder.join("nft"), script).expect("the tmpfs is writable");
        fs::set_permissions(folder.join("nft"), fs::Permissions::from_mode(0o755))
            .expect("it is ours");
        let mut command = snet::snet(Variant::Native);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", folder.display()));
        let snet = Snet::ready(command.arg("-c").arg(config));
        let counters = Counters::restart();
        shell(LOSE_IPV6);
        let told = || snet.log().contains("not captured: IPv6");
        let began = Instant::now();
        while !told() {
            assert!(began.elapsed() < Duration::from_secs(40), "it is told: {}", snet.log());
            assert!(reaches(Family::V4), "IPv4 is captured: {}", snet.log());
            std::thread::sleep(Duration::from_millis(100));
        }
        assert!(began.elapsed() > Duration::from_secs(9), "the tool was slow");
        assert_eq!(counters.leaked(), 0, "nothing foreign leaves");
        snet.stop();
    });
}

/// What others have against both families, the words of the culprit and of the remedy, and the way
/// back. The tool's variant is that of the machine.
struct Obstacle {
    what: &'static str,
    build: String,
    culprit: &'static str,
    back: String,
}

fn obstacles(variant: Variant) -> Vec<Obstacle> {
    let folder = variant.folder().display().to_string();
    let tools = |script: &str| {
        ["iptables", "ip6tables"]
            .map(|tool| script.replace("TOOL", &format!("{folder}/{tool}")))
            .join("; ")
    };
    vec![
        Obstacle {
            what: "OUTPUT DROP with lo, established and a few ports",
            build: tools(
                "TOOL -A OUTPUT -o lo -j ACCEPT; TOOL -A OUTPUT -m conntrack --ctstate \
                 ESTABLISHED -j ACCEPT; TOOL -A OUTPUT -p tcp -m multiport --dports 22,53,80,443 \
                 -j ACCEPT; TOOL -A OUTPUT -p udp --dport 53 -j ACCEPT; TOOL -P OUTPUT DROP",
            ),
            culprit: "the policy of chain OUTPUT drops it",
            back: tools("TOOL -P OUTPUT ACCEPT; TOOL -F OUTPUT"),
        },
        Obstacle {
            what: "a rule of raw on the way back",
            build: tools("TOOL -t raw -A PREROUTING -i lo -p tcp --dport 1111 -j DROP"),
            culprit: "in chain PREROUTING drops it",
            back: tools("TOOL -t raw -D PREROUTING -i lo -p tcp --dport 1111 -j DROP"),
        },
        Obstacle {
            // As if the uplink were the tunnel: only what comes in by it may be for its address.
            what: "wg-quick's rule for the address of the default route",
            build: "nft add table inet wg-quick-uplink; \
                    nft add chain inet wg-quick-uplink preraw { type filter hook prerouting \
                    priority raw \\; }; nft add rule inet wg-quick-uplink preraw iifname != \
                    uplink ip daddr 10.0.2.2 fib saddr type != local drop; nft add rule inet \
                    wg-quick-uplink preraw iifname != uplink ip6 daddr fd00:2::2 fib saddr type \
                    != local drop"
                .into(),
            culprit: "nft insert rule inet wg-quick-uplink preraw iifname lo accept",
            back: "nft delete table inet wg-quick-uplink".into(),
        },
        Obstacle {
            what: "an output chain of nft that drops",
            build: "nft add table inet strict; \
                    nft add chain inet strict out { type filter hook output priority 10 \\; \
                    policy drop \\; }; nft add rule inet strict out oifname lo accept; \
                    nft add rule inet strict out ct state established accept; \
                    nft add rule inet strict out meta mark and 0x8000000 != 0 accept; \
                    nft add rule inet strict out meta l4proto { icmp, ipv6-icmp } accept; \
                    nft add rule inet strict out tcp dport { 22, 53, 80, 443, 7 } accept"
                .into(),
            culprit: "nft insert rule inet strict out ct status dnat accept",
            back: "nft delete table inet strict".into(),
        },
    ]
}

fn nothing_captured_is_no_start(variant: Variant) {
    let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
    let file = Config::through(Family::V4, &[proxy]).by(variant).write();
    let before = crate::tables::snapshot();
    for Obstacle { what, build, culprit, back } in obstacles(variant) {
        shell(&build);
        let ended = snet::run(variant, &["-c", &file.display().to_string()]);
        shell(&back);
        assert_eq!(ended.code(), Some(69), "{what}: {}", ended.stderr);
        assert!(ended.stderr.contains(culprit), "{what}: {}", ended.stderr);
        crate::tables::assert_same(&before, &crate::tables::snapshot());
    }
}

fn what_others_begin_to_drop_is_let_go(variant: Variant) {
    service::start();
    let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
    let config = Config::through(Family::V4, &[proxy]);
    // The first would drop what goes directly as well.
    for Obstacle { what, build, culprit, back } in obstacles(variant).into_iter().skip(1) {
        println!("{what}");
        let snet = start(variant, &config);
        assert!(reaches(Family::V4), "{what}: through the proxy");
        shell(&build);
        // Some of it is told before it has been found to matter.
        until(&format!("{what}: it is told"), WITHIN, || {
            let is_it =
                |line: &String| line.contains("not captured: IPv4") && line.contains(culprit);
            snet.lines("WARN").iter().any(is_it)
        });
        until(&format!("{what}: it is let go"), WITHIN, || reaches(Family::V4));
        shell(&back);
        until(&format!("{what}: it is captured again"), WITHIN, || {
            snet.log().contains("IPv4 is captured again")
        });
        let counters = Counters::restart();
        assert!(reaches(Family::V4), "{what}: through the proxy again");
        assert_eq!(counters.leaked(), 0, "{what}");
        snet.stop();
    }
}
