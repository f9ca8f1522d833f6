//! What the operator wishes of names, as a client sees it.

use crate::counters::Counters;
use crate::peer::names;
use crate::process::FOLDER;
use crate::question::{self, ask_all, kind};
use crate::snet::{Config, Snet, dig};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::wait;
use crate::world::{DOMESTIC_SITE, FOREIGN_SITE, Family, SYSTEM_NAMES, sealed};
use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

#[test]
fn wishes_are_heard() {
    sealed(|| {
        let (_domestic, _trusted, _system) = (names::domestic(), names::trusted(), names::system());
        let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
        let usual = Config::through(Family::V4, &[proxy]);
        let with = |key: &str, value: &str| {
            let mut config = usual.clone();
            Config::set(&mut config.dns, key, value);
            config
        };
        let counters = Counters::start();

        // no-leak: the domestic side does not hear of a foreign name.
        let snet = Snet::start(Variant::Native, &with("no-leak", "true"));
        let before = counters.domestic();
        let foreign = format!("{}\n", FOREIGN_SITE.ip(Family::V4));
        assert_eq!(dig("+short foreign.example"), foreign, "{}", snet.log());
        assert_eq!(counters.domestic(), before, "no-leak: a packet to the domestic side");
        snet.stop();

        // log-queries
        let snet = Snet::start(Variant::Native, &with("log-queries", "true"));
        assert_eq!(dig("+short foreign.example"), foreign);
        wait::until("a line of the query", Duration::from_secs(5), || {
            snet.log()
                .lines()
                .any(|line| line.contains("foreign.example") && line.contains("trusted"))
        });
        snet.stop();

        // cache-file: the answer outlives the daemon, and the servers.
        let cache = Path::new(FOLDER).join("dns.cache");
        let config = with("cache-file", &format!("\"{}\"", cache.display()));
        let snet = Snet::start(Variant::Native, &config);
        assert_eq!(dig("+short foreign.example"), foreign);
        snet.stop();
        assert!(cache.exists());
        let mut deaf = config.clone();
        let nobody = format!("[\"{}\"]", crate::world::SILENT_FOREIGN.ip(Family::V4));
        Config::set(&mut deaf.dns, "trusted", &nobody);
        let snet = Snet::start(Variant::Native, &deaf);
        assert_eq!(dig("+short foreign.example"), foreign, "{}", snet.log());
        snet.stop();

        // https-records = "block"
        let snet = Snet::start(Variant::Native, &with("https-records", "\"block\""));
        let said = dig("foreign.example TYPE65");
        assert!(said.contains("NOERROR") && said.contains("ANSWER: 0"), "{said}");
        snet.stop();

        // case-randomization: the servers repeat what they see, and the client its own.
        let snet = Snet::start(Variant::Native, &with("case-randomization", "true"));
        for number in 0..10 {
            let said = dig(&format!("+short +noall +question +answer n{number}.domestic.example"));
            assert!(said.contains(&DOMESTIC_SITE.ip(Family::V4).to_string()), "{said}");
        }
        snet.stop();

        rate_limit(&with("rate-limit", "20"));
    });
}

/// Never for this machine's own; others are told to use TCP.
fn rate_limit(config: &Config) {
    let snet = Snet::start(Variant::Native, config);
    let asked = |_| ("foreign.example".to_owned(), kind(Family::V4));
    ask_all(SYSTEM_NAMES.port(Family::V4, 53), 200, asked, |_, answer| {
        assert_eq!(answer.addresses, [FOREIGN_SITE.ip(Family::V4)], "{}", snet.log());
    });
    let loopback = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    loopback.set_read_timeout(Some(Duration::from_secs(2))).expect("a time");
    for number in 0..100 {
        let query = question::query(number, "foreign.example", kind(Family::V4));
        loopback.send_to(&query, "127.0.0.1:1211").expect("it listens");
        let mut buffer = [0; 512];
        let length = loopback.recv(&mut buffer).expect("an answer");
        assert!(!question::read(&buffer[..length]).addresses.is_empty());
    }
    snet.stop();
}
