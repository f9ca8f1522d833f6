//! Files that are accepted: defaults, every key, warnings.

use super::{PROXY, config, read};
use crate::config::read::parse;
use crate::config::*;
use crate::dispatch::SendNames;
use crate::domain::Name;
use crate::exempt_programs::ExemptPrograms;
use crate::firewall::{Datagrams, Ipv6, OnFailure};
use crate::ipset::IpSet;
use crate::log::{LogLevel, LogSettings};
use crate::net::dial::DialOptions;
use crate::proxy::shadowsocks::cipher::method::Method;
use crate::route::Route;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// Section 7 of the design, to the letter.
#[test]
fn the_defaults() {
    let config = config("");
    assert_eq!(config.mode, Mode::Local);
    assert_eq!(config.scope, Scope::BypassChina);
    assert_eq!(
        config.listen,
        ListenConfig {
            addresses: vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
            tcp_port: 1111,
            dns_port: 1211
        }
    );
    assert_eq!(config.proxies[0].name, "p.example:80");
    assert_eq!((config.proxies[0].host.as_str(), config.proxies[0].port), ("p.example", 80));
    assert_eq!(config.proxies[0].connect_timeout, Duration::from_secs(5));
    assert!(matches!(config.proxies[0].kind, ProxyKind::Http { credentials: None }));

    let rules = &config.rules.routes;
    assert!(rules.direct.is_empty() && rules.proxy.is_empty() && rules.block.is_empty());
    assert!(rules.names.is_empty() && rules.china_names.is_empty());
    assert!(rules.blocked_names.is_empty() && rules.proxy_names.is_empty());
    assert!(config.rules.direct_sources.is_empty());
    assert_eq!(config.rules.exempt_programs, ExemptPrograms::default());
    assert!(config.rules.sniff);
    assert_eq!(*rules.china, *crate::ipset::china());

    assert_eq!(config.firewall.backend, BackendChoice::Auto);
    assert!(config.firewall.interfaces.is_empty());
    assert_eq!(config.firewall.ipv6, Ipv6::Proxy);
    assert_eq!(config.firewall.quic, Datagrams::Reject);
    assert_eq!(config.firewall.on_failure, OnFailure::Open);
    assert_eq!(config.log, LogSettings::default());
    assert_eq!(config.control_socket, Path::new("/run/snet/control.sock"));
    let router = listen::ListenConfig::of(Mode::Router);
    assert_eq!(router.addresses, ["::".parse::<IpAddr>().unwrap()]);
}

#[test]
fn a_router() {
    let text = "mode = \"router\"\nrules.direct-sources = [\"192.168.1.9\", \"2001:db8:1::/64\"]\n\
                firewall.interfaces = [\"br-lan\", \"docker*\"]\n";
    let loaded = read(&format!("{text}{PROXY}")).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let summary = loaded.summary();
    let line = "\nlan       br-lan, docker*; exempt: 2 prefixes\n";
    assert!(summary.contains(line), "{summary}");
    let config = loaded.config;
    assert_eq!(config.mode, Mode::Router);
    assert_eq!(config.listen.addresses, ["::".parse::<IpAddr>().unwrap()]);
    assert_eq!(config.firewall.interfaces, ["br-lan", "docker*"]);
    let sources = ["192.168.1.9/32", "2001:db8:1::/64"];
    let sources = sources.map(|net| net.parse::<ipnet::IpNet>().unwrap());
    assert_eq!(config.rules.direct_sources, sources.into_iter().collect::<IpSet>());

    let local = read(&format!("{}{PROXY}", text.replace("router", "local"))).unwrap();
    let unused = local.warnings.iter().filter(|line| line.contains("not used")).count();
    assert_eq!(unused, 2, "{:?}", local.warnings);
    let open = read(&format!("mode = \"router\"\nfirewall.backend = \"none\"\n{PROXY}")).unwrap();
    assert!(open.warnings[0].contains("keeps hosts outside the LAN away"), "{:?}", open.warnings);

    let native = read(&format!("firewall.backend = \"nftables\"\n{PROXY}")).unwrap();
    assert_eq!(native.config.firewall.backend, BackendChoice::Nftables);
}

pub(super) const EVERYTHING: &str = r#"
mode = "local"
scope = "global"
listen.address = "127.0.0.2"
listen.tcp-port = 0x1000
listen.dns-port = 5300

[[proxy]]
type = "shadowsocks"
server = "[2001:db8::1]:8388"
method = "aes-256-gcm"
password = "p\u00e4ss hunter2"
connect-timeout = "500ms"
fast-open = true
multipath = true
udp = false
warm = "off"
send-names = "always"
[[proxy]]
type = "http"
server = "Proxy.example.com:8080"
username = "me"
password = "hunter2"
[[proxy]]
type = "http"
server = "Proxy.example.com:8080"
[[proxy]]
name = "Proxy.example.com:8080#2"
type = "http"
server = "192.0.2.7:8080"

[dns]
china = ["192.0.2.53", "127.0.0.1:53"]
trusted = ["[2001:db8::53]:5353", "2001:db8::53"]
trusted-via = "direct"
local = ["192.168.1.1"]
timeout = "3s"
cache-size = "512KiB"
min-ttl = "1m"
max-ttl = "1h"
block-types = ["https", "AAAA", "TYPE28"]
bogus = ["192.0.2.66", "198.51.100.0/24", "known"]
https-records = "strip-hints"
no-leak = true
no-leak-subnet = "202.96.0.0/16"
rate-limit = 5
log-queries = true
case-randomization = true
[dns.forward]
"corp.example" = ["10.0.0.53", "10.0.0.54:5353"]
"lab.example" = "10.0.1.53"
[dns.hosts]
"Router.lan" = ["192.168.1.1", "fd00::1"]
"nas.lan" = "192.168.1.2"

[rules]
direct = ["192.0.2.0/25", "example.com", "2001:db8:1::/48"]
proxy = ["192.0.2.128/25", "www.example.com", "192.0.2.9"]
block = ["ads.example", "203.0.113.7"]
direct-sources = []
sniff = false

[firewall]
backend = "none"
ipv6 = "block"
quic = "direct"
udp = "reject"
on-failure = "closed"
offload = "auto"

[log]
level = "trace"
connections = true
"#;

#[test]
fn everything() {
    let config = read(EVERYTHING).unwrap().config;
    assert_eq!(config.scope, Scope::Global);
    assert_eq!(config.listen.addresses, [Ipv4Addr::new(127, 0, 0, 2)]);
    assert_eq!((config.listen.tcp_port, config.listen.dns_port), (4096, 5300));

    let names: Vec<&str> = config.proxies.iter().map(|proxy| proxy.name.as_str()).collect();
    let again = "Proxy.example.com:8080#3";
    assert_eq!(
        names,
        ["[2001:db8::1]:8388", "Proxy.example.com:8080", again, "Proxy.example.com:8080#2"]
    );
    assert_eq!(config.proxies[0].host, "2001:db8::1");
    assert_eq!(config.proxies[0].connect_timeout, Duration::from_millis(500));
    let send_names: Vec<_> = config.proxies.iter().map(|proxy| proxy.send_names).collect();
    let [always, others @ ..] = &send_names[..] else { panic!() };
    assert_eq!(*always, SendNames::Always);
    assert!(others.iter().all(|it| *it == SendNames::Auto));
    let options = [0, 1].map(|number: usize| config.proxies[number].dial_options);
    assert_eq!(options, [DialOptions { fast_open: true, multipath: true }, DialOptions::default()]);
    assert_eq!([0, 1].map(|number: usize| config.proxies[number].warm), [false, true]);
    let ProxyKind::Shadowsocks { key, .. } = &config.proxies[0].kind else { panic!() };
    assert_eq!(
        (key.method(), key.password().expose()),
        (Method::Aes256Gcm, "päss hunter2".as_bytes())
    );
    let ProxyKind::Http { credentials: Some(credentials) } = &config.proxies[1].kind else {
        panic!()
    };
    assert_eq!((&*credentials.username, credentials.password.expose()), ("me", &b"hunter2"[..]));

    assert!(!config.rules.sniff);
    let rules = config.rules.routes;
    assert!(rules.direct.contains("192.0.2.1".parse().unwrap()));
    assert!(rules.direct.contains("2001:db8:1::1".parse().unwrap()));
    assert!(rules.proxy.contains("192.0.2.200".parse().unwrap()));
    assert!(rules.proxy.contains("192.0.2.9".parse().unwrap()), "a prefix inside another's");
    assert!(rules.block.contains("203.0.113.7".parse().unwrap()));
    let route = |text: &str| rules.name_route(name(text).as_wire());
    assert_eq!(route("example.com"), Some(Route::Direct));
    assert_eq!(route("www.example.com"), Some(Route::Proxy));
    assert_eq!(route("x.ads.example"), Some(Route::Block));
    assert!(rules.china.is_empty());

    assert_eq!(config.firewall.backend, BackendChoice::None);
    assert_eq!((config.firewall.ipv6, config.firewall.quic), (Ipv6::Block, Datagrams::Direct));
    assert_eq!(config.firewall.udp, Some(Datagrams::Reject));
    assert_eq!(config.firewall.on_failure, OnFailure::Closed);
    assert_eq!(config.firewall.offload, Offload::Auto);
    assert_eq!(config.log, LogSettings { level: LogLevel::Trace, connections: true });
}

#[test]
fn a_proxy_is_needed_unless_nothing_goes_through_one() {
    let load = |text, purpose| parse(Path::new("snet.toml"), text, purpose).map(|_| ());
    let direct = "[dns]\ntrusted-via = \"direct\"\n";
    assert!(load(direct, Purpose::DnsOnly).is_ok());
    assert_eq!(
        load(direct, Purpose::Daemon).unwrap_err().problems,
        ["snet.toml:3: proxy: found nothing; accepted: at least one [[proxy]] or \
             [[subscription]], for example type = \"http\" with server = \
             \"proxy.example.com:8080\""]
    );
    assert_eq!(
        load("", Purpose::DnsOnly).unwrap_err().problems,
        ["snet.toml:1: proxy: found nothing; accepted: at least one [[proxy]] or \
             [[subscription]], or trusted-via = \"direct\" in [dns]"]
    );
    assert!(load(PROXY, Purpose::DnsOnly).is_ok());
}

#[test]
fn what_is_odd_without_being_wrong() {
    let text = format!(
        "[listen]\naddress = [\"127.0.0.1\", \"192.168.1.1\"]\n[dns]\ntimeout = \"10s\"\n{PROXY}"
    );
    assert_eq!(
        read(&text).unwrap().warnings,
        [
            "snet.toml:2: listen.address: 192.168.1.1 lets other hosts ask the name server here; \
             127.0.0.1 and ::1 are enough for this machine",
            "snet.toml:4: dns.timeout: most programs ask again after 5s: above \"4s\" they no \
             longer hear the answer"
        ]
    );
    assert!(read(PROXY).unwrap().warnings.is_empty());
}

#[test]
fn exempt_programs() {
    let text = "rules.direct-users = [\"root\", \"990\", \"0\"]\n\
                rules.direct-cgroups = [\"/system.slice/a@b\\\\x2d.service\", \"a.slice\"]\n";
    let loaded = read(&format!("{text}{PROXY}")).unwrap();
    let exempt = &loaded.config.rules.exempt_programs;
    assert_eq!(exempt.users, [0, 990]);
    let paths: Vec<&str> = exempt.cgroups.iter().map(String::as_str).collect();
    assert_eq!(paths, ["system.slice/a@b\\x2d.service", "a.slice"]);
    let summary = loaded.summary();
    let line = summary.lines().find(|line| line.starts_with("exempt")).unwrap();
    let expected = "exempt    programs of user 0, user 990, cgroup system.slice/a@b\\x2d.service, \
                    cgroup a.slice";
    assert_eq!(line, expected);
}

#[test]
fn datagrams_go_the_way_that_there_is() {
    use Datagrams::{Direct, Proxy, Reject};
    let of = |firewall: &str, proxy: &str| {
        let config = read(&format!("[firewall]\n{firewall}\n{proxy}")).unwrap().config;
        let DatagramPolicy { quic, udp, .. } = config.datagrams();
        (quic, udp)
    };
    let carries = "[[proxy]]\ntype = \"shadowsocks\"\nserver = \"192.0.2.1:1\"\n\
                   method = \"aes-128-gcm\"\npassword = \"hunter2\"\n";
    let without = format!("{carries}udp = false\n");
    assert_eq!(of("", carries), (Reject, Proxy));
    assert_eq!(of("", &without), (Reject, Direct));
    assert_eq!(of("", PROXY), (Reject, Direct));
    let wanted = "quic = \"proxy\"\nudp = \"proxy\"";
    assert_eq!(of(wanted, carries), (Proxy, Proxy));
    assert_eq!(of(wanted, &without), (Reject, Reject));
    assert_eq!(of("quic = \"direct\"\nudp = \"direct\"", carries), (Direct, Direct));
    assert_eq!(of("udp = \"reject\"", carries), (Reject, Reject));

    let uncapturable = |firewall: &str| {
        let config = read(&format!("[firewall]\n{firewall}\n{carries}")).unwrap().config;
        config.datagrams().uncapturable_udp
    };
    assert_eq!(uncapturable("udp = \"auto\""), Direct);
    assert_eq!(uncapturable("udp = \"proxy\""), Reject, "what is wanted by name never leaks");
}

#[test]
fn socks5_and_users_without_a_password() {
    let text = |kind: &str, rest: &str| {
        format!("[[proxy]]\ntype = \"{kind}\"\nserver = \"192.0.2.1:1\"\n{rest}")
    };
    for (kind, carries_udp) in [("http", false), ("socks5", true)] {
        let user = "username = \"me\"\npassword = \"\"\n";
        let loaded = read(&text(kind, user)).unwrap();
        let proxy = &loaded.config.proxies[0];
        let (ProxyKind::Http { credentials } | ProxyKind::Socks5 { credentials }) = &proxy.kind
        else {
            panic!("{kind}")
        };
        let credentials = credentials.as_ref().expect("they are written");
        assert_eq!((&*credentials.username, credentials.password.expose()), ("me", &b""[..]));
        assert_eq!(proxy.udp, carries_udp, "{kind}");
        let described = format!("192.0.2.1:1, {kind}, with user name\n");
        assert!(loaded.summary().contains(&described), "{}", loaded.summary());
        let open = read(&text(kind, "")).unwrap();
        assert!(open.summary().contains(&format!("192.0.2.1:1, {kind}\n")));
    }
    let without = read(&text("socks5", "udp = false\n")).unwrap();
    assert!(!without.config.proxies[0].udp);
}

#[test]
fn a_link_is_a_proxy() {
    let link = "ss://YWVzLTI1Ni1nY206aHVudGVyMg@[2001:db8::1]:8388";
    let text = format!(
        "[[proxy]]\nlink = \"{link}#HK%2001\"\nfast-open = true\n[[proxy]]\nlink = \
         \"{link}#HK%2001\"\n[[proxy]]\nname = \"own\"\nlink = \"{link}#HK\"\nudp = false\n\
         [[proxy]]\nlink = \"{link}#Direct\"\n[[proxy]]\nlink = \"{link}\"\n[[proxy]]\nlink = \
         \"http://me:hunter2@P.example:80\"\n"
    );
    let loaded = read(&text).unwrap();
    let proxies = &loaded.config.proxies;
    let names: Vec<&str> = proxies.iter().map(|proxy| proxy.name.as_str()).collect();
    let place = "[2001:db8::1]:8388";
    let numbered = format!("{place}#2");
    assert_eq!(names, ["HK 01", "HK 01#2", "own", place, &numbered, "P.example:80"]);
    let ProxyKind::Shadowsocks { key, .. } = &proxies[0].kind else { panic!() };
    let found = (key.method(), key.password().expose());
    assert_eq!(found, (Method::Aes256Gcm, &b"hunter2"[..]));
    assert_eq!((proxies[0].host.as_str(), proxies[0].port), ("2001:db8::1", 8388));
    assert!(proxies[0].dial_options.fast_open && proxies[0].udp && !proxies[2].udp);
    assert_eq!(proxies[5].host, "p.example");
    assert!(!loaded.summary().contains("hunter2"), "{}", loaded.summary());
    assert!(!loaded.summary().contains("YWVz"), "{}", loaded.summary());
}

/// What `snet link` prints is read as the same proxy, from the link and from the table.
#[test]
fn a_proxy_is_printed_as_a_link_and_as_a_table() {
    let everything = read(EVERYTHING).unwrap().config.proxies;
    let odd = r#"[[proxy]]
name = "a \"b\" 香"
type = "socks5"
server = "192.0.2.1:1"
username = "m:e"
password = "\t\\@:/#?%+ 密"
udp = false
"#;
    let odd = read(odd).unwrap().config.proxies;
    for proxy in everything.into_iter().chain(odd) {
        let table = proxy.table();
        assert_eq!(
            read(&table).unwrap().config.proxies,
            std::slice::from_ref(&proxy),
            "{}",
            *table
        );
        let linked = crate::config::proxy_of_link(&proxy.link().to_string()).unwrap();
        assert_eq!(linked.kind, proxy.kind);
        assert_eq!(
            (&linked.name, &linked.host, linked.port),
            (&proxy.name, &proxy.host, proxy.port)
        );
    }
}

/// The server is asked for UDP only where the file says that it may pass the plugin by.
#[test]
fn plugins() {
    const PLUGIN: &str = "[[proxy]]\ntype = \"shadowsocks\"\nserver = \"a.example:1\"\n\
                          method = \"aes-128-gcm\"\npassword = \"hunter2\"\n\
                          plugin = \"obfs-local\"\n\
                          plugin-options = \"obfs=http;obfs-host=secret.example\"\n";
    const LINK: &str = "[[proxy]]\nlink = \"ss://aes-128-gcm:hunter2@a.example:1/?plugin=\
                        obfs-local%3Bobfs%3Dhttp%3Bobfs-host%3Dsecret.example\"\n";
    let proxy = |text: &str| read(text).unwrap().config.proxies.remove(0);
    let written = proxy(PLUGIN);
    assert_eq!(written, proxy(LINK));
    let spec = written.kind.plugin().unwrap();
    assert_eq!(spec.program(), "obfs-local");
    assert_eq!(spec.options().expose(), b"obfs=http;obfs-host=secret.example");
    assert!(!written.udp);
    let past = format!("{PLUGIN}udp = true\n");
    assert!(proxy(&past).udp);
    // Both forms that `snet link` prints mean the same.
    assert_eq!(proxy(&written.table()), written);
    assert_eq!(proxy(&proxy(&past).table()), proxy(&past));
    assert_eq!(proxy_of_link(&written.link().to_string()), Ok(written));
    let loaded = read(PLUGIN).unwrap();
    let line = "proxy 1   \"a.example:1\": a.example:1, shadowsocks, aes-128-gcm, \
                plugin obfs-local (obfs, obfs-host)\n";
    assert!(loaded.summary().contains(line), "{}", loaded.summary());
    for text in [loaded.summary(), format!("{loaded:?}")] {
        assert!(!text.contains("secret"), "{text}");
    }
}
