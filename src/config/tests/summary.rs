//! What `snet check` prints.

use super::good::EVERYTHING;
use super::{PROXY, read};

#[test]
fn the_summary() {
    let summary = read(EVERYTHING).unwrap().summary();
    assert_eq!(
        summary,
        "mode      local: the connections of this machine
scope     global: everything by proxy
listen    127.0.0.2; TCP port 4096, DNS port 5300
proxy 1   \"[2001:db8::1]:8388\": [2001:db8::1]:8388, shadowsocks, aes-256-gcm
proxy 2   \"Proxy.example.com:8080\": proxy.example.com:8080, http, with user name
proxy 3   \"Proxy.example.com:8080#3\": proxy.example.com:8080, http
proxy 4   \"Proxy.example.com:8080#2\": 192.0.2.7:8080, http
dns       domestic 192.0.2.53, 127.0.0.1
          trusted [2001:db8::53]:5353, 2001:db8::53, directly
          local names: 192.168.1.1
rules     direct 2 prefixes, proxy 2 prefixes, block 1 prefix; 3 names by route, 0 names domestic
          names from DNS alone: connections are not looked into
china     nothing
firewall  none: no rule is installed; foreign IPv6 blocked, foreign QUIC direct, other UDP rejected
failure   while no living snet captures, foreign traffic is rejected
changed   scope = \"global\"
          listen.address = \"127.0.0.2\"
          listen.tcp-port = 0x1000
          listen.dns-port = 5300
          proxy[1].connect-timeout = \"500ms\"
          proxy[1].fast-open = true
          proxy[1].multipath = true
          proxy[1].udp = false
          proxy[1].warm = \"off\"
          proxy[1].send-names = \"always\"
          dns.china = [\"192.0.2.53\", \"127.0.0.1:53\"]
          dns.trusted = [\"[2001:db8::53]:5353\", \"2001:db8::53\"]
          dns.trusted-via = \"direct\"
          dns.local = [\"192.168.1.1\"]
          dns.timeout = \"3s\"
          dns.cache-size = \"512KiB\"
          dns.min-ttl = \"1m\"
          dns.max-ttl = \"1h\"
          dns.block-types = [\"https\", \"AAAA\", \"TYPE28\"]
          dns.bogus = [\"192.0.2.66\", \"198.51.100.0/24\", \"known\"]
          dns.https-records = \"strip-hints\"
          dns.no-leak = true
          dns.no-leak-subnet = \"202.96.0.0/16\"
          dns.rate-limit = 5
          dns.log-queries = true
          dns.case-randomization = true
          dns.forward = { \"corp.example\" = [\"10.0.0.53\", \"10.0.0.54:5353\"], \
         \"lab.example\" = \"10.0.1.53\" }
          dns.hosts = { \"Router.lan\" = [\"192.168.1.1\", \"fd00::1\"], \
         \"nas.lan\" = \"192.168.1.2\" }
          rules.direct = [\"192.0.2.0/25\", \"example.com\", \"2001:db8:1::/48\"]
          rules.proxy = [\"192.0.2.128/25\", \"www.example.com\", \"192.0.2.9\"]
          rules.block = [\"ads.example\", \"203.0.113.7\"]
          rules.sniff = false
          firewall.backend = \"none\"
          firewall.ipv6 = \"block\"
          firewall.quic = \"direct\"
          firewall.udp = \"reject\"
          firewall.on-failure = \"closed\"
          firewall.offload = \"auto\"
          log.level = \"trace\"
          log.connections = true
"
    );
}

#[test]
fn what_is_as_by_default_is_no_change() {
    let summary = read(PROXY).unwrap().summary();
    assert!(!summary.contains("changed"), "{summary}");
    let china = summary.lines().find(|line| line.starts_with("china")).unwrap();
    assert!(china.contains(" million addresses (IPv4), ") && china.ends_with("(IPv6)"), "{china}");
    let defaults = "[dns]\ntimeout = \"4s\"\nlocal = []\nno-leak = false\n[rules]\ndirect = []\n";
    assert_eq!(read(&format!("{defaults}{PROXY}")).unwrap().summary(), summary);
}

/// A list of thousands is no use on a terminal, and an escape sequence is no use anywhere.
#[test]
fn long_values_are_cut() {
    let names: Vec<String> = (0..1000).map(|number| format!("\"a{number}.example\"")).collect();
    let text = format!("rules.block = [{}]\n{PROXY}", names.join(","));
    let summary = read(&text).unwrap().summary();
    let change = summary.lines().find(|line| line.starts_with("changed")).unwrap();
    let end = "\"a6.example\", \"a7.example\", and 992 more]";
    assert!(change.ends_with(end), "{change}");
    assert!(change.starts_with("changed   rules.block = [\"a0.example\", "), "{change}");
}

#[test]
fn no_secret_shows() {
    let loaded = read(EVERYTHING).unwrap();
    let config = &loaded.config;
    for text in [loaded.summary(), format!("{config:?}"), format!("{loaded:#?}")] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn what_offloading_means() {
    let summary = |backend: &str| {
        let text = format!("mode = \"router\"\nfirewall.offload = \"auto\"\n{backend}\n{PROXY}");
        read(&text).unwrap().summary()
    };
    let possible =
        "\noffload   auto: forwarded domestic flows with nftables, where the kernel has ";
    assert!(summary("").contains(possible), "{}", summary(""));
    let without = summary("firewall.backend = \"iptables\"");
    assert!(without.contains("\noffload   auto: nothing, since only backend"), "{without}");
    let local = read(&format!("firewall.offload = \"auto\"\n{PROXY}")).unwrap();
    assert!(local.warnings.iter().any(|line| line.contains("firewall.offload: not used")));
}
