//! Names by the thousand, over every kind of upstream, with every kind of client: no forged answer,
//! no hang.

use crate::counters::Counters;
use crate::peer::{forger, names, resolved, unbound};
use crate::process::{FOLDER, Place, command, finish};
use crate::question::{self, Answer, ask_all, kind};
use crate::snet::{self, Config, Snet, dig};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::wait;
use crate::world::{
    DOMESTIC_NAMES, DOMESTIC_SITE, FAMILIES, FAR_COPY, FOREIGN_SITE, Family, SYSTEM_NAMES,
    TRUSTED_NAMES, sealed,
};
use nix::sys::signal::Signal;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// `dns.timeout`, and what a loaded machine adds.
const LONGEST: Duration = Duration::from_millis(5500);

/// `SNET_QUERIES` sets another number.
fn queries() -> u32 {
    std::env::var("SNET_QUERIES").ok().and_then(|text| text.parse().ok()).unwrap_or(35_000)
}

#[test]
fn thousands_of_names_and_no_forged_answer() {
    sealed(|| {
        let _names = [names::trusted(), names::system()];
        let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
        let config = Config::through(Family::V4, &[proxy]);
        let forgery = forger::start(forger::FORGERIES[0]);
        let snet = Snet::start(Variant::Native, &config);
        let each = queries() / u32::try_from(forger::FORGERIES.len()).expect("a few");
        for (round, kind_of_forgery) in (0..).zip(forger::FORGERIES) {
            forgery.set(kind_of_forgery);
            let sent = forgery.sent();
            let began = Instant::now();
            // Every name is a new one, so that neither cache nor verdicts of names answer.
            let question = |number: u32| {
                let side = if number.is_multiple_of(2) { "foreign" } else { "domestic" };
                let family = FAMILIES[usize::try_from(number / 2 % 2).expect("a bit")];
                (format!("{kind_of_forgery:?}-{round}-{number}.{side}.example"), kind(family))
            };
            let mut unanswered = 0;
            let longest =
                ask_all(SYSTEM_NAMES.port(Family::V4, 53), each, question, |number, answer| {
                    let family = FAMILIES[usize::try_from(number / 2 % 2).expect("a bit")];
                    let sites: &[_] = match (number % 2, kind_of_forgery.is_on_path()) {
                        (0, _) => &[FOREIGN_SITE],
                        (_, true) => &[FAR_COPY],
                        // Whichever comes first where the honest one lags.
                        (_, false) => &[DOMESTIC_SITE, FAR_COPY],
                    };
                    if answer.code == 2 {
                        unanswered += 1;
                        return;
                    }
                    let true_ones = sites.iter().any(|site| answer.addresses == [site.ip(family)]);
                    assert!(true_ones, "{kind_of_forgery:?} {:?}: {answer:?}", question(number));
                });
            let forged = forgery.sent() - sent;
            println!(
                "{kind_of_forgery:?}: {each} queries against {forged} forged answers in {:?}, the \
                 longest took {longest:?}, {unanswered} without an answer",
                began.elapsed()
            );
            assert!(forged >= u64::from(each), "the forger sleeps");
            assert!(longest < LONGEST, "{longest:?}\n{}", snet.log());
            assert!(unanswered * 1000 <= each, "{unanswered} of {each} had no answer");
        }
        snet.stop();
    });
}

#[test]
fn every_kind_of_upstream() {
    sealed(|| {
        let _servers = [
            unbound::start(
                DOMESTIC_NAMES,
                &[("domestic.example", DOMESTIC_SITE), ("foreign.example", crate::world::FORGED)],
            ),
            unbound::start(
                TRUSTED_NAMES,
                &[("domestic.example", FAR_COPY), ("foreign.example", FOREIGN_SITE)],
            ),
        ];
        let counters = Counters::start();
        for family in FAMILIES {
            let (_server, proxy) = Upstream::Libev("chacha20-ietf-poly1305").start(family);
            for (scheme, path) in [
                ("", ""),
                ("tcp://", ""),
                ("tls://dns.example@", ""),
                ("https://dns.example/dns-query@", ""),
            ] {
                let mut config = Config::through(family, std::slice::from_ref(&proxy));
                let of = |host: crate::world::Host| {
                    let ip = host.ip(family);
                    let ip = match (family, scheme) {
                        (Family::V6, "tcp://") => format!("[{ip}]"),
                        _ => ip.to_string(),
                    };
                    format!("[\"{scheme}{ip}{path}\"]")
                };
                Config::set(&mut config.dns, "china", &of(DOMESTIC_NAMES));
                Config::set(&mut config.dns, "trusted", &of(TRUSTED_NAMES));
                let mut command = snet::snet(Variant::Native);
                command.env("SNET_ROOTS", unbound::authority());
                let file = config.by(Variant::Native).write();
                let snet = Snet::ready(command.arg("-c").arg(file));
                for number in 0..3 {
                    for (side, site) in [("domestic", DOMESTIC_SITE), ("foreign", FOREIGN_SITE)] {
                        for asked in FAMILIES {
                            let kind = if asked == Family::V4 { "A" } else { "AAAA" };
                            let said = dig(&format!("+short n{number}.{side}.example {kind}"));
                            let expected = format!("{}\n", site.ip(asked));
                            assert_eq!(said, expected, "{scheme} {side} {kind}\n{}", snet.log());
                        }
                    }
                }
                snet.stop();
            }
            // A certificate that nobody signed whom we trust: no answer rather than anybody's.
            let mut config = Config::through(family, std::slice::from_ref(&proxy));
            let trusted = format!("[\"tls://dns.example@{}\"]", TRUSTED_NAMES.ip(family));
            Config::set(&mut config.dns, "trusted", &trusted);
            let snet = Snet::start(Variant::Native, &config);
            assert!(dig("foreign.example").contains("status: SERVFAIL"), "{}", snet.log());
            snet.stop();
        }
        assert_eq!(counters.leaked(), 0, "the trusted side was asked past the proxy");
    });
}

#[test]
fn every_client_is_satisfied() {
    sealed(|| {
        let _names = [names::domestic(), names::trusted(), names::system()];
        let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
        let mut config = Config::through(Family::V4, &[proxy]);
        Config::set(&mut config.dns, "hosts", "{ \"nas.lan\" = [\"192.168.7.7\"] }");
        let snet = Snet::start(Variant::Native, &config);
        let both = |said: &str, who: &str| {
            for family in FAMILIES {
                let address = FOREIGN_SITE.ip(family).to_string();
                assert!(said.contains(&address), "{who}: {said}\n{}", snet.log());
            }
        };
        let run = |program: &str, arguments: &[&str]| {
            crate::process::run(Place::Machine, program, arguments)
        };
        let server = format!("@{}", SYSTEM_NAMES.ip(Family::V4));
        for transport in ["", "+tcp"] {
            let mut asked = vec!["+short", "foreign.example", "A", "foreign.example", "AAAA"];
            asked.extend((!transport.is_empty()).then_some(transport));
            both(&run("dig", &asked), "dig");
            let (a, aaaa): (&[&str], &[&str]) = match transport {
                "" => (&["foreign.example", "A"], &["foreign.example", "AAAA"]),
                _ => (&["-t", "foreign.example", "A"], &["-t", "foreign.example", "AAAA"]),
            };
            let drill = |question: &[&str]| run("drill", &[&[server.as_str()], question].concat());
            both(&(drill(a) + &drill(aaaa)), "drill");
            both(&run("kdig", &[&[server.as_str()], asked.as_slice()].concat()), "kdig");
        }
        both(
            &run(
                "kdig",
                &[
                    &server,
                    "+short",
                    "+cookie",
                    "+padding",
                    "foreign.example",
                    "A",
                    "foreign.example",
                    "AAAA",
                ],
            ),
            "kdig with a cookie and padding",
        );
        both(&run("getent", &["ahosts", "foreign.example"]), "glibc");
        assert!(run("getent", &["ahosts", "nas.lan"]).contains("192.168.7.7"), "glibc, hosts");
        both(&musl("foreign.example"), "musl");
        a_browser_asks(&snet);
        snet.stop();
    });
}

/// It asks with EDNS, keeps what it learns of a server's abilities, and is what most desktops have.
#[test]
fn systemd_resolved_is_satisfied() {
    sealed(|| {
        let _names = [names::domestic(), names::trusted(), names::system()];
        let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
        let snet = Snet::start(Variant::Native, &Config::through(Family::V4, &[proxy]));
        let _resolved = resolved::start(SYSTEM_NAMES);
        for number in 0..5 {
            for (side, site) in [("foreign", FOREIGN_SITE), ("domestic", DOMESTIC_SITE)] {
                for family in FAMILIES {
                    let kind = if family == Family::V4 { "A" } else { "AAAA" };
                    for transport in ["+notcp", "+tcp"] {
                        let said = dig(&format!(
                            "@127.0.0.53 +short {transport} n{number}.{side}.example {kind}"
                        ));
                        let expected = format!("{}\n", site.ip(family));
                        assert_eq!(said, expected, "{transport} {side} {kind}\n{}", snet.log());
                    }
                }
            }
        }
        assert!(dig("@127.0.0.53 absent.example").contains("NXDOMAIN"), "{}", snet.log());
        assert!(dig("@127.0.0.53 foreign.example TYPE65").contains("NOERROR"));
        snet.stop();
    });
}

/// getaddrinfo of musl asks for both families at once, from one socket.
fn musl(name: &str) -> String {
    let source = Path::new(FOLDER).join("ask.c");
    let program = Path::new(FOLDER).join("ask");
    let text = "#include <netdb.h>\n#include <stdio.h>\n#include <arpa/inet.h>\n\
        int main(int c, char **v) {\n\
        struct addrinfo h = { .ai_socktype = SOCK_STREAM }, *a;\n\
        int e = getaddrinfo(v[1], 0, &h, &a);\n\
        if (e) { puts(gai_strerror(e)); return 1; }\n\
        for (; a; a = a->ai_next) { char t[64];\n\
        void *p = a->ai_family == AF_INET ? (void *)&((struct sockaddr_in *)a->ai_addr)->sin_addr\n\
        : (void *)&((struct sockaddr_in6 *)a->ai_addr)->sin6_addr;\n\
        puts(inet_ntop(a->ai_family, p, t, sizeof t)); }\n\
        return 0; }\n";
    fs::write(&source, text).expect("the tmpfs is writable");
    let mut compile = command(Place::Machine, "musl-gcc");
    let compiled = finish(compile.args(["-static", "-o"]).arg(&program).arg(&source));
    assert!(compiled.status.success(), "{}", compiled.stderr);
    let finished = finish(std::process::Command::new(program).arg(name));
    finished.stdout
}

/// A, AAAA and HTTPS of a name together, for many names, over one socket.
fn a_browser_asks(snet: &Snet) {
    let kinds = [kind(Family::V4), kind(Family::V6), question::HTTPS];
    let asked = |number: u32| {
        let side = if (number / 3).is_multiple_of(2) { "foreign" } else { "domestic" };
        (format!("{side}.example"), kinds[usize::try_from(number % 3).expect("a remainder")])
    };
    let longest = ask_all(SYSTEM_NAMES.port(Family::V4, 53), 300, asked, |number, answer| {
        let site = if number / 3 % 2 == 0 { FOREIGN_SITE } else { DOMESTIC_SITE };
        let expected = match number % 3 {
            0 => vec![site.ip(Family::V4)],
            1 => vec![site.ip(Family::V6)],
            _ => Vec::new(),
        };
        assert_eq!(answer, Answer { code: 0, addresses: expected }, "{:?}", asked(number));
    });
    assert!(longest < LONGEST, "{longest:?}\n{}", snet.log());
}

/// Both sides fall silent by turns, the proxy is restarted, and all is silent at once: nobody waits
/// longer than `dns.timeout`, and answers resume by themselves.
#[test]
fn sides_that_flap_and_a_proxy_that_is_restarted() {
    sealed(|| {
        let (domestic, trusted, _system) = (names::domestic(), names::trusted(), names::system());
        let (proxy, line) = Upstream::Rust("aes-256-gcm").start(Family::V4);
        let mut config = Config::through(Family::V4, &[line]);
        // No answer is an old one.
        Config::set(&mut config.dns, "cache-size", "\"0\"");
        let snet = Snet::start(Variant::Native, &config);
        let answered = |what: &str, side: &str, expected: bool| {
            let began = Instant::now();
            let said = dig(&format!("+short +timeout=8 {side}.example"));
            let took = began.elapsed();
            println!("{what}: {side} {said:?} after {took:?}");
            assert!(took < LONGEST, "{what}: {side} took {took:?}\n{}", snet.log());
            if expected {
                assert!(!said.is_empty(), "{what}: {side}\n{}", snet.log());
            }
            !said.is_empty()
        };
        let resumes = |what: &str, side: &str| {
            wait::until(&format!("{what}: {side} again"), Duration::from_secs(20), || {
                answered(what, side, false)
            });
        };
        for round in 0..3 {
            for (what, side, server) in [
                ("domestic silent", "foreign", &domestic),
                ("trusted silent", "domestic", &trusted),
            ] {
                let what = format!("{what}, round {round}");
                server.signal(Signal::SIGSTOP);
                // What the other side can answer alone it does.
                answered(&what, side, true);
                answered(&what, if side == "foreign" { "domestic" } else { "foreign" }, false);
                server.signal(Signal::SIGCONT);
                resumes(&what, "foreign");
                resumes(&what, "domestic");
            }
        }
        // Flapping faster than anybody can wait for.
        thread::scope(|scope| {
            let flapping = scope.spawn(|| {
                for _ in 0..20 {
                    for server in [&domestic, &trusted] {
                        server.signal(Signal::SIGSTOP);
                        thread::sleep(Duration::from_millis(70));
                        server.signal(Signal::SIGCONT);
                        thread::sleep(Duration::from_millis(50));
                    }
                }
            });
            while !flapping.is_finished() {
                for side in ["foreign", "domestic"] {
                    answered("flapping", side, false);
                }
            }
        });
        resumes("after flapping", "foreign");
        for round in 0..3 {
            proxy.signal(Signal::SIGSTOP);
            answered("proxy hangs", "domestic", true);
            answered("proxy hangs", "foreign", false);
            proxy.signal(Signal::SIGCONT);
            resumes(&format!("proxy hung, {round}"), "foreign");
        }
        drop(proxy);
        answered("proxy gone", "domestic", true);
        assert!(!answered("proxy gone", "foreign", false), "by whom?");
        let (_again, _) = Upstream::Rust("aes-256-gcm").start(Family::V4);
        resumes("proxy restarted", "foreign");
        snet.stop();
    });
}
