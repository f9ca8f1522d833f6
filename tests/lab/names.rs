//! Names: no forged answer reaches a client, no silence holds one up.

use crate::counters::Counters;
use crate::peer::{forger, names};
use crate::snet::{Config, Snet, dig};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::world::{
    DOMESTIC_SITE, FAMILIES, FOREIGN_SITE, Family, SILENT_DOMESTIC, SILENT_FOREIGN, sealed,
};
use std::time::{Duration, Instant};

/// Record type of a family.
fn kind(family: Family) -> &'static str {
    if family == Family::V4 { "A" } else { "AAAA" }
}

/// What dig has to print for the true addresses of both names, asked over UDP and TCP.
fn assert_true_answers(snet: &Snet) {
    for family in FAMILIES {
        for (name, site) in [("domestic", DOMESTIC_SITE), ("foreign", FOREIGN_SITE)] {
            for transport in ["+notcp", "+tcp"] {
                let heard = dig(&format!("+short {transport} {name}.example {}", kind(family)));
                let expected = format!("{}\n", site.ip(family));
                assert_eq!(heard, expected, "{name} {transport} {family:?}\n{}", snet.log());
            }
        }
    }
}

#[test]
fn both_sides_answer_over_every_upstream() {
    sealed(|| {
        let _names = [names::domestic(), names::trusted(), names::system()];
        let counters = Counters::start();
        for family in FAMILIES {
            for upstream in [Upstream::Libev("chacha20-ietf-poly1305"), Upstream::Squid] {
                let (_server, proxy) = upstream.start(family);
                let snet = Snet::start(Variant::Nft, &Config::through(family, &[proxy]));
                assert_true_answers(&snet);
                assert!(dig("absent.example").contains("status: NXDOMAIN"), "{}", snet.log());
                snet.stop();
            }
        }
        assert_eq!(counters.leaked(), 0, "the trusted side was asked past the proxy");
    });
}

#[test]
fn forged_answers_are_not_believed() {
    sealed(|| {
        let _names = [names::trusted(), names::system()];
        let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
        let mut config = Config::through(Family::V4, &[proxy]);
        // Every question is a new one.
        Config::set(&mut config.dns, "cache-size", "\"0KiB\"");
        let forgery = forger::start(forger::FORGERIES[0]);
        for family in FAMILIES {
            Config::set(
                &mut config.dns,
                "china",
                &format!("[\"{}\"]", crate::world::DOMESTIC_NAMES.ip(family)),
            );
            let snet = Snet::start(Variant::Legacy, &config);
            for kind_of_forgery in forger::FORGERIES {
                forgery.set(kind_of_forgery);
                println!("{kind_of_forgery:?} {family:?}");
                let sent = forgery.sent();
                for _ in 0..10 {
                    assert_never_forged(kind_of_forgery, &snet);
                }
                // Two names, two types, ten times: each was raced by a forged answer.
                assert!(forgery.sent() >= sent + 40, "the forger sleeps");
            }
            snet.stop();
        }
    });
}

fn assert_never_forged(forgery: forger::Forgery, snet: &Snet) {
    for family in FAMILIES {
        let foreign = dig(&format!("+short foreign.example {}", kind(family)));
        assert_eq!(foreign, format!("{}\n", FOREIGN_SITE.ip(family)), "{}", snet.log());
        let domestic = dig(&format!("+short domestic.example {}", kind(family)));
        if forgery.is_on_path() {
            // The domestic answer is lost; the trusted one is true as well, if far away.
            let far = crate::world::FAR_COPY.ip(family);
            assert_eq!(domestic, format!("{far}\n"), "{}", snet.log());
        } else {
            assert_eq!(domestic, format!("{}\n", DOMESTIC_SITE.ip(family)), "{}", snet.log());
        }
    }
}

#[test]
fn silent_domestic_side_holds_nobody_up() {
    sealed(|| {
        let _names = [names::trusted(), names::system()];
        let (_server, proxy) = Upstream::Rust("aes-256-gcm").start(Family::V4);
        let mut config = Config::through(Family::V4, &[proxy]);
        Config::set(&mut config.dns, "china", &format!("[\"{}\"]", SILENT_DOMESTIC.ip(Family::V4)));
        let snet = Snet::start(Variant::Nft, &config);
        for number in 0..8 {
            let began = Instant::now();
            let answer = dig(&format!("+short foreign.example {}", kind(FAMILIES[number % 2])));
            assert!(
                answer.contains(&FOREIGN_SITE.ip(FAMILIES[number % 2]).to_string()),
                "{answer}"
            );
            // 300 ms of grace, and what a loaded machine adds.
            assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
        }
        snet.stop();
    });
}

#[test]
fn silent_trusted_side_leaves_domestic_names_alone() {
    sealed(|| {
        let _names = [names::domestic(), names::system()];
        let (_server, proxy) = Upstream::Rust("aes-256-gcm").start(Family::V4);
        let mut config = Config::through(Family::V4, &[proxy]);
        let silent = format!("[\"{}\"]", SILENT_FOREIGN.ip(Family::V4));
        Config::set(&mut config.dns, "trusted", &silent);
        let snet = Snet::start(Variant::Nft, &config);
        let began = Instant::now();
        let answer = dig("+short domestic.example");
        assert_eq!(answer, format!("{}\n", DOMESTIC_SITE.ip(Family::V4)), "{}", snet.log());
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        // A foreign address without the trusted side's word: no answer is better than a forged one.
        let began = Instant::now();
        let answer = dig("foreign.example");
        assert!(answer.contains("status: SERVFAIL"), "{answer}\n{}", snet.log());
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        snet.stop();
    });
}

#[test]
fn hosts_block_lists_and_types_are_obeyed() {
    sealed(|| {
        let _names = [names::domestic(), names::trusted(), names::system()];
        let (_server, proxy) = Upstream::Libev("aes-128-gcm").start(Family::V4);
        let mut config = Config::through(Family::V4, &[proxy]);
        config.dns.push("hosts = { \"nas.example\" = [\"192.168.7.7\"] }".into());
        config.dns.push("block-types = [\"TXT\"]".into());
        config.rules.push("block = [\"blocked.example\"]".into());
        config.rules.push("direct = [\"domestic.example\"]".into());
        config.rules.push("proxy = [\"foreign.example\"]".into());
        let snet = Snet::start(Variant::Nft, &config);
        assert_eq!(dig("+short nas.example"), "192.168.7.7\n");
        assert!(!dig("blocked.example").contains("203.0.113.200"), "a blocked name was answered");
        assert!(dig("foreign.example TXT").contains("ANSWER: 0"));
        assert_eq!(dig("+short domestic.example"), format!("{}\n", DOMESTIC_SITE.ip(Family::V4)));
        assert_eq!(dig("+short foreign.example"), format!("{}\n", FOREIGN_SITE.ip(Family::V4)));
        snet.stop();
    });
}
