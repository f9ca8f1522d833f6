//! `firewall.on-failure = "closed"`: while no living snet that captures stands behind the rules,
//! foreign traffic and names are rejected and domestic traffic flows. Counted by packets.
//! `SNET_KILLS` sets another number of moments.

use crate::client::{ask, echo, try_connect};
use crate::counters::Counters;
use crate::peer::{names, service};
use crate::process::{Place, run};
use crate::snet::{self, Config, Snet, dig};
use crate::stop::Stop;
use crate::tables::{assert_same, snapshot};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::wait::until;
use crate::world::{DOMESTIC_SITE, FAMILIES, FOREIGN_SITE, Family, Host, sealed_for};
use nix::sys::signal::Signal;
use snet_lab::{in_both_variants, in_every_variant};
use socket2::SockRef;
use std::io::{self, Read};
use std::net::Shutdown;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

in_every_variant!(whatever_ends_it, killed_at_any_moment, a_failed_start_leaves_it_closed);

in_both_variants!(a_flush_of_nat_lets_nothing_out);

/// Between the flush and the mend.
fn a_flush_of_nat_lets_nothing_out(variant: Variant) {
    service::start();
    let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
    let daemon = Snet::start(variant, &config(proxy));
    let counters = Counters::restart();
    assert!(reaches(FOREIGN_SITE, Family::V4));
    let folder = variant.folder();
    for tool in ["iptables", "ip6tables"] {
        let tool = folder.join(tool).display().to_string();
        run(Place::Machine, "sh", &["-ec", &format!("{tool} -t nat -F")]);
    }
    for _ in 0..30 {
        for family in FAMILIES {
            // Refused, or through the proxy: only what leaves is counted.
            reaches(FOREIGN_SITE, family);
        }
        thread::sleep(Duration::from_millis(100));
    }
    until("it captures again", WITHIN, || {
        FAMILIES.iter().all(|family| reaches(FOREIGN_SITE, *family))
    });
    assert_eq!(counters.leaked(), 0, "nothing foreign leaves");
    daemon.stop();
}

/// Also one with another backend than that of the run that was killed.
fn a_failed_start_leaves_it_closed(variant: Variant) {
    service::start();
    let _names = [names::domestic(), names::trusted(), names::system()];
    let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
    let config = config(proxy);
    Snet::start(variant, &config).kill();
    let counters = Counters::restart();
    let drop = "nft add table inet strict; \
                nft add chain inet strict in { type filter hook input priority 10 \\; }; \
                nft add rule inet strict in tcp dport 1111 drop";
    run(Place::Machine, "sh", &["-ec", drop]);
    for next in [variant, Variant::Native, Variant::Nft, Variant::Legacy] {
        let file = config.by(next).write();
        let ended = snet::run(next, &["-c", &file.display().to_string()]);
        assert_eq!(ended.code(), Some(69), "{next:?}: {}", ended.stderr);
        for family in FAMILIES {
            assert!(!reaches(FOREIGN_SITE, family), "{next:?}: {family:?} is closed");
            assert!(reaches(DOMESTIC_SITE, family), "{next:?}: domestic {family:?} flows");
        }
        assert_eq!(counters.leaked(), 0, "{next:?}: nothing foreign leaves");
    }
    run(Place::Machine, "nft", &["delete", "table", "inet", "strict"]);
    let daemon = Snet::start(variant, &config);
    assert!(reaches(FOREIGN_SITE, Family::V4), "a start that succeeds captures");
    assert_eq!(counters.leaked(), 0, "nothing foreign left");
    daemon.stop();
}

const WITHIN: Duration = Duration::from_secs(10);

fn visit(site: Host, family: Family, patience: Duration) -> std::io::Result<()> {
    let mut stream = try_connect(site.port(family, service::ECHO))?;
    stream.set_read_timeout(Some(patience))?;
    echo(&mut stream, b"hello")
}

/// No packet of it leaves any more: both sides have ended, or it was reset.
fn visit_to_its_end(site: Host, family: Family) {
    let Ok(mut stream) = try_connect(site.port(family, service::ECHO)) else { return };
    let _ = stream.set_read_timeout(Some(Duration::from_millis(500)));
    let ended = echo(&mut stream, b"hello")
        .and_then(|()| stream.shutdown(Shutdown::Write))
        .and_then(|()| stream.read(&mut [0]));
    if ended.is_err() {
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }
}

fn reaches(site: Host, family: Family) -> bool {
    visit(site, family, Duration::from_millis(500)).is_ok()
}

fn config(proxy: String) -> Config {
    let mut config = Config::through(Family::V4, &[proxy]);
    Config::set(&mut config.firewall, "on-failure", "\"closed\"");
    config
}

/// Foreign destinations and names are refused, domestic ones flow, for longer than any switch
/// lasts.
fn is_closed(counters: &Counters, when: &str) {
    until(&format!("{when}: the switches turn off"), WITHIN, || {
        FAMILIES.iter().all(|family| !reaches(FOREIGN_SITE, *family)) && names_are_rejected()
    });
    for _ in 0..8 {
        for family in FAMILIES {
            let refused = try_connect(FOREIGN_SITE.port(family, service::ECHO)).map(drop);
            assert!(is_refused(&refused), "{when}: {family:?} is closed: {refused:?}");
            for port in [443, service::ECHO] {
                let refused = ask(FOREIGN_SITE.port(family, port));
                assert!(is_refused(&refused), "{when}: UDP to {port}, {family:?}: {refused:?}");
            }
            assert!(reaches(DOMESTIC_SITE, family), "{when}: domestic {family:?} flows");
        }
        assert!(names_are_rejected(), "{when}: names are rejected");
        thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(counters.leaked(), 0, "{when}: nothing foreign leaves");
}

/// Said at once, by the kernel.
fn is_refused(tried: &io::Result<()>) -> bool {
    tried.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// At once, by the kernel.
fn names_are_rejected() -> bool {
    dig("+short +timeout=1 domestic.example").contains("connection refused")
}

fn is_open(counters: &Counters, when: &str) {
    for family in FAMILIES {
        assert!(reaches(FOREIGN_SITE, family), "{when}: {family:?} is open");
    }
    assert!(counters.leaked() > 0, "{when}: directly");
}

fn whatever_ends_it(variant: Variant) {
    service::start();
    let _names = [names::domestic(), names::trusted(), names::system()];
    let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
    let file = config(proxy).by(variant).write();
    crate::restored::neighbours(variant);
    let before = snapshot();
    let start = || Snet::ready(snet::snet(variant).arg("-c").arg(&file));
    let captures = |when: &str| {
        until(&format!("{when}: it captures"), WITHIN, || {
            FAMILIES.iter().all(|family| reaches(FOREIGN_SITE, *family))
        });
    };

    let daemon = start();
    let counters = Counters::restart();
    captures("started");
    daemon.signal(Signal::SIGSTOP);
    is_closed(&counters, "hung");
    daemon.signal(Signal::SIGCONT);
    captures("alive again");
    daemon.kill();
    is_closed(&counters, "killed");
    let kept = snet::run(variant, &["cleanup", "--keep-closed"]);
    assert_eq!(kept.code(), Some(0), "{}", kept.stderr);
    assert!(kept.stdout.contains("stays closed"), "{}", kept.stdout);
    is_closed(&counters, "after a cleanup that keeps it");
    // Others take away what we lead to: it is as good as dead.
    let daemon = start();
    captures("the next one");
    let drop = "nft add table inet strict; \
                nft add chain inet strict in { type filter hook input priority 10 \\; }; \
                nft add rule inet strict in tcp dport 1111 drop";
    run(Place::Machine, "sh", &["-ec", drop]);
    is_closed(&counters, "what it redirects is dropped");
    run(Place::Machine, "nft", &["delete", "table", "inet", "strict"]);
    captures("it is not dropped any more");
    assert_eq!(counters.leaked(), 0, "not one foreign packet so far");

    daemon.stop();
    is_open(&counters, "after an orderly stop");
    let daemon = start();
    daemon.kill();
    let cleaned = snet::run(variant, &["cleanup"]);
    assert_eq!(cleaned.code(), Some(0), "{}", cleaned.stderr);
    is_open(&Counters::restart(), "after a cleanup");
    run(Place::Machine, "nft", &["delete", "table", "inet", "lab"]);
    assert_same(&before, &snapshot());
}

/// A start from a closed network, and some work.
const LIFE: u64 = 500;

fn moments() -> u64 {
    let asked = std::env::var("SNET_KILLS").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(8)
}

fn killed_at_any_moment(variant: Variant) {
    service::start();
    let _names = [names::domestic(), names::trusted(), names::system()];
    let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
    let file = config(proxy).by(variant).write();
    crate::restored::neighbours(variant);
    let before = snapshot();
    let stop = &AtomicBool::new(false);
    // What began while the network was open goes on: it is waited for before packets are counted.
    let foreign = &RwLock::new(());
    let ready = || Snet::ready(snet::snet(variant).arg("-c").arg(&file));
    ready().kill();
    let mut counters = Counters::restart();
    thread::scope(|scope| {
        let _stop = Stop(stop);
        for family in FAMILIES {
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let echoed = visit(DOMESTIC_SITE, family, Duration::from_secs(10));
                    echoed.unwrap_or_else(|error| panic!("a domestic site, {family:?}: {error}"));
                    thread::sleep(Duration::from_millis(20));
                }
            });
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let going_on = foreign.read();
                    visit_to_its_end(FOREIGN_SITE, family);
                    drop(going_on);
                    thread::sleep(Duration::from_millis(5));
                }
            });
        }
        for number in 0..moments() {
            // All over its life, whatever their number.
            let moment = number * 389 % LIFE;
            let mut daemon = Snet::spawn(snet::snet(variant).arg("-c").arg(&file));
            thread::sleep(Duration::from_millis(moment));
            let what = format!("{moment} ms after its start");
            if number % 2 == 1 && daemon.ended().is_none() {
                daemon.signal(Signal::SIGSTOP);
                thread::sleep(Duration::from_millis(moment));
            }
            if daemon.ended().is_none() {
                daemon.kill();
            }
            assert_eq!(counters.leaked(), 0, "killed {what}");
            if number % 4 != 3 {
                continue;
            }
            let next = ready();
            until(&format!("through the next one; {what}"), WITHIN, || {
                reaches(FOREIGN_SITE, Family::V4)
            });
            assert_eq!(counters.leaked(), 0, "through the next one; {what}");
            // Opened by a stop at some moment of it, and closed again by the next start.
            next.signal(Signal::SIGTERM);
            thread::sleep(Duration::from_millis(moment / 5));
            next.kill();
            let closing = ready();
            drop(foreign.write());
            closing.kill();
            counters = Counters::restart();
        }
    });
    println!("{} moments", moments());
    let cleaned = snet::run(variant, &["cleanup"]);
    assert_eq!(cleaned.code(), Some(0), "{}", cleaned.stderr);
    run(Place::Machine, "nft", &["delete", "table", "inet", "lab"]);
    assert_same(&before, &snapshot());
}
