//! Of a flow that is captured not one datagram leaves directly, whatever happens: counted by the
//! kernel where packets leave, and by the sites.

use super::chatter::Chatter;
use super::talker::Talker;
use super::{PLACES, lan, router};
use crate::counters::Counters;
use crate::peer::{names, service};
use crate::process::FOLDER;
use crate::snet::{self, Config, Snet, dig};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::wait;
use crate::world::{
    CHINA, DOMESTIC_SITE, FAMILIES, FOREIGN_SITE, Family, Host, MACHINE, sealed_for,
};
use nix::sys::signal::Signal;
use snet_lab::in_every_variant;
use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

in_every_variant!(
    nothing_leaks_under_load,
    a_learned_address_expires,
    flows_stay_at_reloads,
    a_dead_daemon,
);

/// Flows of this machine and of the LAN host, in both families.
fn talkers(site: Host) -> Vec<Talker> {
    let of = |place| FAMILIES.map(|family| Talker::of(place, site.port(family, service::ECHO)));
    PLACES.into_iter().flat_map(of).collect()
}

/// As fast as they can, from new sockets again and again; in the middle of it the proxy dies.
fn nothing_leaks_under_load(variant: Variant) {
    const SOCKETS: usize = 40;
    const DATAGRAMS: usize = 100;
    let seen = service::start();
    lan(variant);
    let counters = Counters::start();
    let (proxy, line) = Upstream::Rust("aes-128-gcm").start(Family::V4);
    let snet = Snet::start(variant, &router(Family::V4, line));
    let burst = || {
        thread::scope(|scope| {
            for place in PLACES {
                for family in FAMILIES {
                    let site = FOREIGN_SITE.port(family, service::ECHO);
                    scope.spawn(move || {
                        for _ in 0..SOCKETS {
                            let talker = Talker::of(place, site);
                            for _ in 0..DATAGRAMS {
                                // Errors too are no leak.
                                let _ = talker.send(&[1; 1200]);
                            }
                        }
                    });
                }
            }
        });
    };
    burst();
    assert_eq!(counters.leaked(), 0, "something left directly");
    let came = seen.all().len();
    assert!(came > SOCKETS, "only {came} came: {}", snet.log());
    drop(proxy);
    burst();
    assert_eq!(counters.leaked(), 0, "something left directly, without a proxy");
    snet.stop();
}

/// A domestic address that a foreign name has; while it is known as that, a flow begins.
fn a_learned_address_expires(variant: Variant) {
    const NAME: &str = "steered.example";
    let seen = service::start();
    let _names = [names::domestic(), names::trusted_and(NAME, DOMESTIC_SITE), names::system()];
    lan(variant);
    let (_proxy, line) = Upstream::Rust("aes-128-gcm").start(Family::V4);
    let mut config = router(Family::V4, line);
    Config::set(&mut config.rules, "proxy", &format!("[\"{NAME}\"]"));
    // It is known for a minute more.
    Config::set(&mut config.dns, "max-ttl", "\"1s\"");
    let snet = Snet::start(variant, &config);
    for kind in ["A", "AAAA"] {
        let site = DOMESTIC_SITE.ip(if kind == "A" { Family::V4 } else { Family::V6 });
        assert_eq!(dig(&format!("+short {NAME} {kind}")).trim(), site.to_string());
    }
    let known = Instant::now();
    let direct = || {
        let visits = seen.all().into_iter();
        visits.filter(|visit| FAMILIES.iter().any(|f| MACHINE.ip(*f) == visit.from.ip())).count()
    };
    let older = talkers(DOMESTIC_SITE);
    while known.elapsed() < Duration::from_secs(64) {
        for talker in &older {
            assert!(talker.is_answered(b"steered"), "{}: {}", talker.site, snet.log());
        }
        sleep(Duration::from_millis(500));
    }
    assert_eq!(direct(), 0, "something of them left directly");
    for talker in talkers(DOMESTIC_SITE) {
        assert!(talker.is_answered(b"new"), "{}: {}", talker.site, snet.log());
    }
    assert_eq!(direct(), 2 * PLACES.len(), "new flows are direct, as no name steers them now");
    for talker in &older {
        assert!(talker.is_answered(b"steered"), "{}: {}", talker.site, snet.log());
    }
    assert_eq!(direct(), 2 * PLACES.len(), "something of the older ones left directly");
    snet.stop();
}

/// Their site becomes domestic, and foreign again.
fn flows_stay_at_reloads(variant: Variant) {
    const RELOADS: usize = 100;
    service::start();
    lan(variant);
    let counters = Counters::start();
    let (_proxy, line) = Upstream::Rust("aes-128-gcm").start(Family::V4);
    let usual = router(Family::V4, line).by(variant);
    let mut nearer = usual.clone();
    let list = Path::new(FOLDER).join("nearer.txt");
    let sites = FAMILIES.map(|family| FOREIGN_SITE.ip(family).to_string()).join("\n");
    fs::write(&list, format!("{CHINA}{sites}\n")).expect("the tmpfs is writable");
    Config::set(&mut nearer.rules, "china-ip-file", &format!("\"{}\"", list.display()));
    let file = usual.write();
    let snet = Snet::ready(snet::snet(variant).arg("-c").arg(&file));
    let site = |family| FOREIGN_SITE.port(family, service::ECHO);
    let flows: Vec<_> = PLACES
        .into_iter()
        .flat_map(|place| FAMILIES.map(|family| Chatter::echo(place, site(family))))
        .collect();
    sleep(Duration::from_millis(300));
    let began = Instant::now();
    let mut direct = 0;
    for round in 1..=RELOADS {
        let is_near = round % 2 == 1;
        let config = if is_near { &nearer } else { &usual };
        fs::write(&file, config.text()).expect("the tmpfs is writable");
        snet.signal(Signal::SIGHUP);
        wait::until("a reload", Duration::from_secs(20), || {
            snet.log().matches("reloaded: ").count() >= round
        });
        if round % 25 == 0 || round == 1 {
            // The rules did change: a new flow follows them.
            let before = counters.leaked();
            assert!(Talker::to(site(Family::V4)).is_answered(b"new"), "{}", snet.log());
            let left = counters.leaked() - before;
            assert_eq!(left > 0, is_near, "round {round}: {left} packets left");
            direct += left;
        }
    }
    println!("{RELOADS} reloads in {:?}", began.elapsed());
    for chat in flows.into_iter().map(Chatter::end) {
        chat.must_be_whole(&format!("a captured flow: {}", snet.log()));
    }
    assert_eq!(counters.leaked(), direct, "something of older flows left directly");
    snet.stop();
}

/// Killed or hung: nothing leaves until the switch turns itself off. Then flows work directly, from
/// the same sockets, or are rejected, as `on-failure` says.
fn a_dead_daemon(variant: Variant) {
    let seen = service::start();
    lan(variant);
    let counters = Counters::start();
    let (_proxy, line) = Upstream::Rust("aes-128-gcm").start(Family::V4);
    for on_failure in ["\"open\"", "\"closed\""] {
        for signal in [Signal::SIGKILL, Signal::SIGSTOP] {
            let context = format!("{on_failure} {signal}");
            println!("{context}");
            let mut config = router(Family::V4, line.clone());
            Config::set(&mut config.firewall, "on-failure", on_failure);
            let snet = Snet::start(variant, &config);
            let flows = talkers(FOREIGN_SITE);
            for flow in &flows {
                assert!(flow.is_answered(b"captured"), "{context}, {}: {}", flow.site, snet.log());
            }
            let (leaked, visits) = (counters.leaked(), seen.all().len());
            snet.signal(signal);
            // The switch is renewed every two seconds, and lasts for six. But an open table of
            // nf_tables goes with the process that owns it.
            let is_gone_at_once =
                (variant, on_failure, signal) == (Variant::Native, "\"open\"", Signal::SIGKILL);
            let began = Instant::now();
            while began.elapsed() < Duration::from_millis(3500) && !is_gone_at_once {
                flows.iter().for_each(|flow| drop(flow.send(b"dead")));
                sleep(Duration::from_millis(100));
            }
            assert_eq!(counters.leaked(), leaked, "{context}: something left at once");
            match on_failure {
                "\"open\"" => {
                    for flow in &flows {
                        wait::until("the flow works directly", Duration::from_secs(12), || {
                            drain(flow);
                            flow.is_answered(b"directly")
                        });
                    }
                    // What a LAN host sends is masqueraded.
                    for visit in &seen.all()[visits..] {
                        assert!(
                            FAMILIES.iter().any(|f| MACHINE.ip(*f) == visit.from.ip())
                                || visit.from.ip() == visit.at.ip(),
                            "{context}: {visit:?}"
                        );
                    }
                }
                _ => {
                    sleep(Duration::from_secs(5));
                    for flow in flows {
                        assert_eq!(refusal(flow.site, &flow), Some(ErrorKind::ConnectionRefused));
                    }
                    assert_eq!(counters.leaked(), leaked, "{context}: something left");
                }
            }
            // A stopped one has to go before the next starts.
            snet.kill();
            let finished = snet::run(variant, &["cleanup"]);
            assert!(finished.status.success(), "{}", finished.stderr);
        }
    }
}

/// Forgets what came to former questions.
fn drain(talker: &Talker) {
    talker.socket.set_nonblocking(true).expect("a socket");
    while talker.socket.recv_from(&mut [0; 2048]).is_ok() {}
    talker.socket.set_nonblocking(false).expect("a socket");
}

/// How the kernel answers a question; it tells a connected socket.
fn refusal(site: SocketAddr, talker: &Talker) -> Option<ErrorKind> {
    talker.socket.connect(site).expect("a way");
    let mut heard = None;
    let within = Duration::from_secs(3);
    wait::quietly(within, || {
        // A rejected packet fails to leave, too (EPERM); what counts is the ICMP message behind it.
        let sent = talker.socket.send(b"rejected").map_err(|error| error.kind());
        let error = match sent {
            Err(ErrorKind::PermissionDenied) | Ok(_) => {
                talker.socket.recv(&mut [0; 16]).map_err(|error| error.kind()).err()
            }
            Err(error) => Some(error),
        };
        heard = error;
        error == Some(ErrorKind::ConnectionRefused)
    });
    heard
}
