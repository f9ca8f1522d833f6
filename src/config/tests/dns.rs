//! `[dns]`: its defaults, and every key.

use super::good::EVERYTHING;
use super::{config, read};
use crate::dns::settings::{HttpsRecords, Via};
use crate::dns::{NameServer, warning_pages};
use crate::domain::Name;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn either(list: &[&str]) -> Vec<NameServer> {
    servers(list).into_iter().map(NameServer::from).collect()
}

fn servers(list: &[&str]) -> Vec<SocketAddr> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

/// As the example has them.
#[test]
fn the_defaults() {
    let dns = config("").dns;
    assert_eq!(dns.servers.china, either(&["223.5.5.5:53", "119.29.29.29:53"]));
    assert_eq!(dns.servers.trusted, either(&["8.8.8.8:53", "1.1.1.1:53"]));
    assert_eq!(dns.servers.trusted_via, Via::Proxy);
    assert!(
        dns.servers.local.is_empty()
            && dns.servers.forward.is_empty()
            && dns.answers.hosts.is_empty()
    );
    assert!(dns.answers.block_types.is_empty());
    assert_eq!(dns.answers.bogus, warning_pages::known());
    assert!(dns.answers.finds_bogus);
    assert_eq!(dns.servers.timeout, Duration::from_secs(4));
    assert_eq!(dns.cache.size, 4 << 20);
    assert_eq!(
        (dns.cache.min_ttl, dns.cache.max_ttl),
        (Duration::ZERO, Duration::from_secs(86_400))
    );

    assert_eq!(dns.answers.https_records, HttpsRecords::Pass);
    assert_eq!((dns.answers.rate_limit, dns.cache.file), (1000, None));
    assert_eq!(dns.privacy.no_leak_subnet, "114.114.114.0/24".parse().unwrap());
    assert!(!dns.privacy.no_leak && !dns.privacy.log_queries && !dns.servers.case_randomization);
}

#[test]
fn every_key() {
    let dns = read(EVERYTHING).unwrap().config.dns;
    assert_eq!(dns.servers.china, either(&["192.0.2.53:53", "127.0.0.1:53"]));
    assert_eq!(dns.servers.trusted, either(&["[2001:db8::53]:5353", "[2001:db8::53]:53"]));
    assert_eq!(dns.servers.trusted_via, Via::Direct);
    assert_eq!(dns.servers.local, servers(&["192.168.1.1:53"]));
    assert_eq!(dns.servers.timeout, Duration::from_secs(3));
    assert_eq!(dns.cache.size, 512 << 10);
    assert_eq!(
        (dns.cache.min_ttl, dns.cache.max_ttl),
        (Duration::from_secs(60), Duration::from_secs(3600))
    );
    assert_eq!(dns.answers.block_types, [28, 65]);
    for address in ["198.51.100.9", "182.43.124.6"] {
        assert!(dns.answers.bogus.contains(address.parse().unwrap()), "{address}");
    }
    assert!(!dns.answers.finds_bogus);
    assert_eq!((dns.answers.https_records, dns.answers.rate_limit), (HttpsRecords::StripHints, 5));
    assert!(dns.privacy.no_leak && dns.privacy.log_queries && dns.servers.case_randomization);
    assert_eq!(dns.privacy.no_leak_subnet, "202.96.0.0/16".parse().unwrap());
    let forward = |text: &str| dns.servers.forward.lookup(name(text).as_wire()).cloned();
    assert_eq!(forward("a.corp.example"), Some(servers(&["10.0.0.53:53", "10.0.0.54:5353"])));
    assert_eq!(forward("lab.example"), Some(servers(&["10.0.1.53:53"])));
    assert_eq!(dns.answers.hosts[&name("router.lan")].len(), 2);
    assert_eq!(dns.answers.hosts[&name("nas.lan")], [Ipv4Addr::new(192, 168, 1, 2)]);
}
