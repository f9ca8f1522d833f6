//! Other configurations while snet runs and traffic flows: nothing is lost, nothing leaks, nothing
//! domestic is captured, and a bad file changes nothing.

use crate::client::{connect, echo};
use crate::counters::Counters;
use crate::peer::{names, service};
use crate::process::finish;
use crate::snet::{self, Config, Snet, dig};
use crate::stop::Stop;
use crate::tables::{assert_same, snapshot};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::wait;
use crate::world::{DOMESTIC_SITE, FAMILIES, FOREIGN_SITE, Family, Host, sealed, sealed_for};
use nix::sys::signal::Signal;
use snet_lab::in_every_variant;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

in_every_variant!(reloads_under_load);

/// `SNET_RELOADS` sets another number.
fn rounds() -> usize {
    std::env::var("SNET_RELOADS").ok().and_then(|text| text.parse().ok()).unwrap_or(100)
}

fn reloads_under_load(variant: Variant) {
    service::start();
    let _names = [names::domestic(), names::trusted(), names::system()];
    let (_one, one) = Upstream::Libev("aes-128-gcm").start(Family::V4);
    let (_two, two) = Upstream::Tinyproxy.start(Family::V4);
    let mut usual = Config::through(Family::V4, &[one.clone(), two.clone()]).by(variant);
    // Either mode can listen there.
    Config::set(&mut usual.listen, "address", "[\"::\"]");
    let mut router = usual.clone();
    Config::set(&mut router.top, "mode", "\"router\"");
    Config::set(&mut router.firewall, "interfaces", "[\"lan*\"]");
    let mut swapped = usual.clone();
    swapped.proxies = vec![two, one];
    let mut rules = usual.clone();
    Config::set(&mut rules.rules, "proxy", "[\"192.0.2.64/26\", \"foreign.example\"]");
    Config::set(&mut rules.rules, "block", "[\"100.64.0.0/16\", \"2001:db8:b::/48\"]");
    let mut quic = usual.clone();
    Config::set(&mut quic.firewall, "quic", "\"direct\"");
    let mut list = usual.clone();
    let china = Path::new(crate::process::FOLDER).join("more.txt");
    let more = (0..2000).map(|n| format!("11.{}.{}.0/24\n", n / 256, n % 256));
    let text = format!("{}{}", crate::world::CHINA, more.collect::<String>());
    fs::write(&china, text).expect("the tmpfs is writable");
    Config::set(&mut list.rules, "china-ip-file", &format!("\"{}\"", china.display()));
    let mut broken = usual.clone();
    Config::set(&mut broken.top, "mode", "\"bridge\"");
    let mut elsewhere = usual.clone();
    Config::set(&mut elsewhere.listen, "tcp-port", "2222");
    // What is written, and the exit code of `snet reload`.
    let worlds = [
        (&swapped, 0),
        (&rules, 0),
        (&broken, 78),
        (&list, 0),
        (&elsewhere, 69),
        (&router, 0),
        (&quic, 0),
        (&usual, 0),
    ];

    let before = snapshot();
    let file = usual.write();
    let daemon = Snet::ready(snet::snet(variant).arg("-c").arg(&file));
    let at_first = daemon.descriptors();
    let counters = Counters::start();
    let load = &Load::default();
    let done = |refused: bool| {
        let word = if refused { "snet goes on as before" } else { "reloaded: " };
        daemon.log().matches(word).count()
    };
    thread::scope(|scope| {
        // Whatever happens below, the clients end.
        let _stop = Stop(&load.stop);
        for family in FAMILIES {
            for site in [FOREIGN_SITE, DOMESTIC_SITE] {
                scope.spawn(move || load.living(site, family));
                scope.spawn(move || load.short(site, family));
            }
        }
        for round in 0..rounds() {
            let (config, code) = worlds[round % worlds.len()];
            fs::write(&file, config.text()).expect("the tmpfs is writable");
            if round % 2 == 0 {
                let mut command = snet::snet(variant);
                let finished = finish(command.arg("reload"));
                assert_eq!(finished.code(), Some(code), "{}\n{}", finished.stderr, daemon.log());
            } else {
                let before = done(code != 0);
                daemon.signal(Signal::SIGHUP);
                wait::until("a reload", Duration::from_secs(20), || done(code != 0) > before);
            }
            let answer = dig("+short foreign.example @192.0.2.53");
            assert!(answer.contains("203.0.113.10"), "round {round}: {answer}");
        }
    });
    let (foreign, domestic) =
        (load.foreign.load(Ordering::Relaxed), load.domestic.load(Ordering::Relaxed));
    println!("{} rounds, {foreign} foreign and {domestic} domestic connections", rounds());
    assert!(foreign > 20 && domestic > 20, "there was a load");
    assert_eq!(counters.leaked(), 0, "nothing goes to foreign sites directly");
    assert_eq!(counters.captured(), foreign, "foreign connections, and no other");
    assert!(daemon.lines("ERROR").is_empty(), "{}", daemon.log());
    let via = daemon.log();
    assert!(
        via.contains(":8388\" up=") && via.contains(":8888\" up="),
        "either proxy had its turn"
    );
    // One kept connection to the trusted name server, some pipes and what the last ones leave.
    daemon.wait_for_descriptors(at_first + 12);
    // The last word of the file counts.
    fs::write(&file, quic.text()).expect("the tmpfs is writable");
    assert_eq!(snet::run(variant, &["reload"]).code(), Some(0));
    daemon.stop();
    assert_eq!(snet::run(variant, &["reload"]).code(), Some(69), "nobody is there any more");
    assert!(!Path::new("/run/snet/control.sock").exists());
    assert_same(&before, &snapshot());
}

#[derive(Default)]
struct Load {
    stop: AtomicBool,
    foreign: AtomicU64,
    domestic: AtomicU64,
}

impl Load {
    fn count(&self, site: Host) {
        let counter = if site == FOREIGN_SITE { &self.foreign } else { &self.domestic };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// One connection that lives through it all.
    fn living(&self, site: Host, family: Family) {
        let mut stream = connect(site.port(family, service::ECHO));
        self.count(site);
        let mut bytes = vec![0u8; 10_000];
        while !self.stop.load(Ordering::Relaxed) {
            bytes.iter_mut().for_each(|byte| *byte = byte.wrapping_add(1));
            echo(&mut stream, &bytes).unwrap_or_else(|e| panic!("a living one to {site:?}: {e}"));
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// One after the other.
    fn short(&self, site: Host, family: Family) {
        while !self.stop.load(Ordering::Relaxed) {
            let mut stream = connect(site.port(family, service::ECHO));
            self.count(site);
            echo(&mut stream, b"hello").unwrap_or_else(|e| panic!("a new one to {site:?}: {e}"));
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Two would take each other's rules away.
#[test]
fn a_second_snet_is_refused_and_harms_nothing() {
    sealed(|| {
        service::start();
        let (_one, proxy) = Upstream::Tinyproxy.start(Family::V4);
        let config = Config::through(Family::V4, &[proxy]);
        let first = Snet::start(Variant::Nft, &config);
        let rules = snapshot();
        let mut other = config.clone();
        Config::set(&mut other.listen, "tcp-port", "2111");
        Config::set(&mut other.listen, "dns-port", "2211");
        for backend in ["iptables", "nftables"] {
            Config::set(&mut other.firewall, "backend", &format!("\"{backend}\""));
            let file = other.write().display().to_string();
            let second = snet::run(Variant::Nft, &["-c", &file]);
            assert_eq!(second.code(), Some(69), "{}", second.stderr);
            let pid = format!("process {}", first.pid());
            assert!(second.stderr.contains(&pid), "{}", second.stderr);
        }
        let cleanup = snet::run(Variant::Nft, &["cleanup"]);
        assert_eq!(cleanup.code(), Some(69), "{}", cleanup.stderr);
        assert_same(&rules, &snapshot());
        let mut stream = connect(FOREIGN_SITE.port(Family::V4, service::ECHO));
        echo(&mut stream, b"hello").expect("the first one goes on");
        // The lock dies with the process.
        first.kill();
        assert_eq!(snet::run(Variant::Nft, &["cleanup"]).code(), Some(0));
        Snet::start(Variant::Nft, &other).stop();
    });
}
