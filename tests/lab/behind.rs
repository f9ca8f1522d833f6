//! Resolvers that ask snet: caches that keep what it makes itself, and validators.

use crate::peer::{names, signed, unbound};
use crate::process::{FOLDER, Place, Running, unprivileged};
use crate::snet::{self, Config, Snet, dig};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::wait;
use crate::world::{DOMESTIC_NAMES, DOMESTIC_SITE, FAR_COPY, FOREIGN_SITE, Family, sealed};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Where snet listens, and where the resolver behind it does.
const SNET: &str = "5300";
const BEHIND: &str = "5353";

fn resolver(mut config: Config) -> Snet {
    Config::set(&mut config.listen, "dns-port", SNET);
    let mut command = snet::snet(Variant::Native);
    Snet::ready(command.args(["--dns-only", "-c"]).arg(config.write()))
}

/// A dnsmasq that asks snet.
fn dnsmasq(more: &[String]) -> Running {
    let mut command = unprivileged(Place::Machine, "dnsmasq");
    command.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--bind-interfaces",
        "--listen-address=127.0.0.1",
        "--pid-file=",
        "--log-facility=-",
        "--log-queries",
    ]);
    command.args([format!("--port={BEHIND}"), format!("--server=127.0.0.1#{SNET}")]).args(more);
    let server = Running::start("dnsmasq", &mut command);
    answers();
    server
}

/// An unbound that asks snet.
fn unbound_behind(more: &str) -> Running {
    let text = format!(
        "server:\n\
         do-daemonize: no\nusername: \"\"\nchroot: \"\"\ndirectory: \"{FOLDER}\"\npidfile: \"\"\n\
         use-syslog: no\nverbosity: 1\nnum-threads: 1\ninterface: 127.0.0.1\nport: {BEHIND}\n\
         do-not-query-localhost: no\nval-log-level: 2\nlog-replies: yes\n{more}\n\
         forward-zone:\nname: \".\"\nforward-addr: 127.0.0.1@{SNET}\n\
         remote-control:\ncontrol-enable: no\n"
    );
    let file = Path::new(FOLDER).join("behind.conf");
    fs::write(&file, text).expect("the tmpfs is writable");
    let mut command = unprivileged(Place::Machine, "unbound");
    let server = Running::start("unbound", command.args(["-d", "-p", "-c"]).arg(file));
    answers();
    server
}

fn ask(question: &str) -> String {
    dig(&format!("@127.0.0.1 -p {BEHIND} {question}"))
}

fn answers() {
    wait::until("the resolver behind", Duration::from_secs(10), || {
        ask("+timeout=1 localhost").contains("status")
    });
}

/// What snet says of such names comes with an SOA record, without which dnsmasq asks each time.
#[test]
fn a_cache_keeps_that_there_is_nothing() {
    sealed(|| {
        let _names = [names::domestic(), names::trusted(), names::system()];
        let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
        let mut config = Config::through(Family::V4, &[proxy]);
        config.dns.push("block-types = [\"AAAA\"]".into());
        config.dns.push("hosts = { \"nas.example\" = [\"192.168.7.7\"] }".into());
        config.dns.push("log-queries = true".into());
        config.rules.push("block = [\"blocked.example\"]".into());
        let snet = resolver(config);
        let questions = [
            ("www.blocked.example A", "NXDOMAIN"),
            ("foreign.example AAAA", "NOERROR"),
            ("nas.example AAAA", "NOERROR"),
            ("hidden.onion A", "NXDOMAIN"),
        ];
        for cache in ["dnsmasq", "unbound"] {
            let _behind = match cache {
                "dnsmasq" => dnsmasq(&[]),
                _ => unbound_behind(
                    "module-config: \"iterator\"\nlocal-zone: \"onion.\" transparent",
                ),
            };
            for (question, expected) in questions {
                let asked = || {
                    let (name, kind) = question.split_once(' ').expect("a name and a type");
                    let log = snet.whole_log();
                    log.lines().filter(|line| line.contains(&format!("{name} {kind}"))).count()
                };
                let before = asked();
                for _ in 0..10 {
                    let said = ask(question);
                    assert!(said.contains(&format!("status: {expected}")), "{cache}: {said}");
                }
                let times = asked() - before;
                println!("{cache}: ten times {question}, {times} of them asked");
                assert_eq!(times, 1, "{cache} {question}\n{}", snet.log());
            }
            // A filtered type is none of a name's others.
            let said = ask("+short foreign.example A");
            assert_eq!(said, format!("{}\n", FOREIGN_SITE.ip(Family::V4)), "{cache}");
        }
        snet.stop();
    });
}

/// A signed name has to be valid; the others keep their near address, and that they are not signed
/// has to be proved.
#[test]
fn a_validator_is_satisfied() {
    sealed(|| {
        let _domestic = unbound::start(
            DOMESTIC_NAMES,
            &[("domestic.example", DOMESTIC_SITE), ("www.unsigned.example", DOMESTIC_SITE)],
        );
        let (_trusted, ds) = signed::start();
        let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
        let snet = resolver(Config::through(Family::V4, &[proxy]));
        let anchor = Path::new(FOLDER).join("anchor");
        fs::write(&anchor, format!("example. DS {ds}\n")).expect("the tmpfs is writable");
        for validator in ["unbound", "dnsmasq"] {
            let behind = match validator {
                "unbound" => {
                    unbound_behind(&format!("trust-anchor-file: \"{}\"", anchor.display()))
                }
                _ => {
                    // It does not start without one for the root.
                    let anchor = ds.replace(' ', ",");
                    let anchors =
                        ["example", "."].map(|zone| format!("--trust-anchor={zone},{anchor}"));
                    dnsmasq(&[&["--dnssec".to_owned()], anchors.as_slice()].concat())
                }
            };
            for (name, site, is_signed) in [
                ("domestic.example", FAR_COPY, true),
                ("foreign.example", FOREIGN_SITE, true),
                ("www.unsigned.example", DOMESTIC_SITE, false),
            ] {
                let said = ask(&format!("+dnssec {name} A"));
                let address = site.ip(Family::V4).to_string();
                let flags = said.lines().find(|line| line.starts_with(";; flags")).unwrap_or("");
                let authentic = flags.split(';').any(|part| part.contains(" ad"));
                println!("{validator}: {name} {flags}");
                assert!(said.contains(&address), "{validator} {said}\n{}", behind.log());
                assert_eq!(authentic, is_signed, "{validator} {said}\n{}", behind.log());
            }
        }
        // Who does not validate gets the near address.
        let near = format!("{}\n", DOMESTIC_SITE.ip(Family::V4));
        assert_eq!(dig(&format!("@127.0.0.1 -p {SNET} +short domestic.example")), near);
        snet.stop();
    });
}
