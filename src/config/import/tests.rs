//! Files of other programs, and what becomes of them.

use super::*;
use crate::config::{Config, Loaded, Mode, Scope};
use crate::subscription::format::SubscriptionBody;
use proptest::prelude::*;
use std::net::IpAddr;

/// The text, and what it means when it is read again.
fn imported(text: &str) -> (String, Config) {
    let imported = import(text.as_bytes(), Path::new("/nowhere"));
    let text = imported.unwrap_or_else(|error| panic!("{error}")).text.to_string();
    let read = parse(Path::new("made.toml"), &text, Purpose::Daemon);
    let (Loaded { config, .. }, _) = read.unwrap_or_else(|error| panic!("{error}\n{text}"));
    (text, config)
}

fn refused(text: &str) -> String {
    let refused = import(text.as_bytes(), Path::new("/nowhere"));
    refused.map(|imported| imported.text.to_string()).unwrap_err()
}

/// The lines of the comment.
fn comments(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("#   ")).collect()
}

const SNET: &str = r#"{
    "as-upstream": false,
    "listen-host": "192.168.1.1",
    "listen-port": 2222,
    "proxy-type": "ss2",
    "proxy-timeout": 60,
    "proxy-scope": "global",
    "bypass-hosts": ["a.example", "203.0.113.7", "*bad*.example"],
    "bypass-src-ips": ["192.168.1.100"],
    "http-proxy-host": "",
    "http-proxy-port": 8080,
    "ss-host": "old.example",
    "ss-port": 8080,
    "ss-chpier-method": "aes-256-cfb",
    "ss-passwd": "hunter1",
    "ss2-host": "ss.example",
    "ss2-port": 8388,
    "ss2-cipher-method": "AEAD_CHACHA20_POLY1305",
    "ss2-key": "",
    "ss2-passwd": "hunter2\" #",
    "cn-dns": "114.114.114.114",
    "fq-dns": "9.9.9.9",
    "enable-dns-cache": true,
    "enforce-ttl": 3600,
    "dns-prefetch-enable": true,
    "disable-qtypes": ["AAAA", "PTR"],
    "force-fq": ["*.cloudfront.net"],
    "host-map": {"nas.lan": "192.168.1.2", "bad": "nowhere"},
    "block-host-file": "hosts.txt",
    "block-hosts": ["*.hpplay.cn"],
    "mode": "router",
    "enable-stats": true,
    "stats-port": 8810,
    "active-eni": "",
    "upstream-type": "tls",
    "own": 1
}"#;

#[test]
fn snets_file_is_taken_over_key_by_key() {
    let (text, config) = imported(SNET);
    assert_eq!((config.mode, config.scope), (Mode::Router, Scope::Global));
    assert_eq!((config.listen.tcp_port, config.listen.dns_port), (2222, 2322));
    let proxy = &config.proxies[0];
    assert_eq!((config.proxies.len(), proxy.host.as_str(), proxy.port), (1, "ss.example", 8388));
    assert!(text.contains("password = \"hunter2\\\" #\"\n"), "{text}");
    assert!(text.contains("method = \"chacha20-ietf-poly1305\"\n"), "{text}");
    let shown = |servers: &[crate::dns::NameServer]| servers[0].to_string();
    assert_eq!(shown(&config.dns.servers.china), "114.114.114.114");
    assert_eq!(shown(&config.dns.servers.trusted), "9.9.9.9");
    assert_eq!(config.dns.cache.min_ttl, config.dns.cache.max_ttl);
    assert_eq!(config.dns.cache.max_ttl.as_secs(), 3600);
    assert_eq!(config.dns.answers.block_types, [12, 28]);
    let hosts = &config.dns.answers.hosts[&"nas.lan".parse().unwrap()];
    assert_eq!(*hosts, ["192.168.1.2".parse::<IpAddr>().unwrap()]);
    let routes = &config.rules.routes;
    assert_eq!(routes.names.len(), 3, "a.example, cloudfront.net, hpplay.cn");
    assert!(routes.direct.contains("203.0.113.7".parse().unwrap()));
    let left_out = comments(&text);
    for (key, why) in [
        ("listen-host \"192.168.1.1\": ", "router mode"),
        ("proxy-timeout: ", "no quiet connection"),
        ("ss-host \"old.example\": ", "not used by SNET, since proxy-type is \"ss2\""),
        ("UDP: ", "udp = false"),
        ("bypass-hosts: found \"*bad*.example\"; ", "a domain without wildcards"),
        ("host-map \"bad\": found \"nowhere\"; ", "an IP address"),
        ("block-host-file: found ", "/nowhere/hosts.txt (No such file"),
        ("dns-prefetch-enable: ", "cache-file"),
        ("enable-stats: ", "control.http"),
        ("stats-port: ", "control.http"),
        ("upstream-...: ", "as a server"),
        ("own: ", "neither SNET nor snet"),
    ] {
        let is_said = |line: &&str| line.starts_with(key) && line.contains(why);
        assert_eq!(left_out.iter().filter(|it| is_said(it)).count(), 1, "{key}\n{text}");
    }
    assert_eq!(left_out.len(), 12, "{text}");
    assert!(!text.contains("hunter1"), "of a proxy that is not used:\n{text}");
}

/// The file may name any other, and be a stranger's: nothing of that is repeated.
#[test]
fn a_list_that_cannot_be_read_is_left_out_in_silence() {
    let folder = std::env::temp_dir().join(format!("snet-import-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("shadow"), "root:$y$hash of it:19000:0:99999:7:::\n").unwrap();
    let file = r#"{"proxy-type": "http", "http-proxy-host": "p.example", "http-proxy-port": 80,
        "cn-dns": "", "fq-dns": "", "block-host-file": "shadow"}"#;
    let made = import(file.as_bytes(), &folder).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(made.text.contains("block-host-file: found a list with lines"), "{}", *made.text);
    assert!(!made.text.contains("hash of it"), "{}", *made.text);
}

#[test]
fn snets_other_proxies() {
    let file = |keys: &str| format!("{{{keys}, \"cn-dns\": \"\", \"fq-dns\": \"\"}}");
    let (text, config) = imported(&file(
        "\"proxy-type\": \"http\", \"http-proxy-host\": \"p.example\", \
         \"http-proxy-port\": \"80\", \
         \"http-proxy-auth-user\": \"me\", \"http-proxy-auth-password\": \"hunter2\"",
    ));
    assert!(text.contains("username = \"me\"\npassword = \"hunter2\"\n"), "{text}");
    assert_eq!((config.proxies[0].port, comments(&text).len()), (80, 0), "{text}");
    let (_, config) = imported(&file(
        "\"proxy-type\": \"socks5\", \"socks5-host\": \"127.0.0.1\", \"socks5-port\": 1080",
    ));
    assert_eq!(config.proxies[0].host, "127.0.0.1");
    for (keys, why) in [
        ("\"proxy-type\": \"tls\", \"tls-host\": \"a.example\"", "a protocol of SNET's own"),
        ("\"proxy-type\": \"http\"", "http-proxy-host is missing"),
        (
            "\"proxy-type\": \"ss\", \"ss-host\": \"a.example\", \"ss-port\": 1, \"ss-passwd\": \
             \"hunter2\", \"ss-cipher-method\": \"aes-256-cfb\"",
            "an old cipher",
        ),
        (
            "\"proxy-type\": \"ss2\", \"ss2-host\": \"a.example\", \"ss2-key\": \"hunter2\"",
            "a key in the place of a password",
        ),
        (
            "\"proxy-type\": \"socks5\", \"socks5-host\": \"127.0.0.1\", \"socks5-port\": 1111",
            "snet itself listens on",
        ),
    ] {
        let said = refused(&file(keys));
        assert!(said.starts_with("SNET's config.json has no proxy that snet can use\n"), "{said}");
        assert!(said.contains(why) && !said.contains("hunter2"), "{said}");
    }
    let said = refused("{\"proxy-type\": \"ss\", # mine\n}");
    assert!(said.starts_with("found JSON that breaks at line 1"), "{said}");
    assert!(refused("{\"as-upstream\": true, \"fq-dns\": \"\"}").contains("SNET as a server"));
}

#[test]
fn servers_of_other_programs() {
    let clash = "mixed-port: 7890\nproxies:\n  - {name: A, type: ss, server: a.example, port: 1, \
                 cipher: aes-128-gcm, password: hunter2, udp: false}\n  - {name: A, type: socks5, \
                 server: b.example, port: 2}\n  - {name: V, type: vmess, server: c.example}\n  - \
                 {name: O, type: ss, server: d.example, port: 3, cipher: rc4-md5, password: \
                 hunter2}\nrules:\n  - MATCH,A\n";
    let (text, config) = imported(clash);
    let names: Vec<&str> = config.proxies.iter().map(|proxy| proxy.name.as_str()).collect();
    assert_eq!(names, ["A", "A #2"]);
    assert!(!config.proxies[0].udp && config.proxies[1].udp, "{text}");
    let left_out = comments(&text);
    assert_eq!(left_out.len(), 3, "{text}");
    assert!(left_out[0].starts_with("\"O\": found the method \"rc4-md5\", an old cipher"));
    assert_eq!(left_out[1], "1 entry of vmess (\"V\"): snet does not speak it");
    assert!(left_out[2].starts_with("mixed-port, rules: only its proxies are taken"));

    let sing_box = r#"{"log": {}, "outbounds": [
        {"type": "shadowsocks", "tag": "S", "server": "a.example", "server_port": 8388,
         "method": "2022-blake3-aes-128-gcm", "password": "AAAAAAAAAAAAAAAAAAAAAA==",
         "network": "tcp"},
        {"type": "http", "tag": "H", "server": "b.example", "server_port": 443, "username": "me",
         "password": "hunter2", "tls": {"enabled": true, "server_name": "c.example"}},
        {"type": "socks", "server": "d.example", "server_port": 1080, "detour": "S"},
        {"type": "direct", "tag": "direct"}]}"#;
    let (text, config) = imported(sing_box);
    assert_eq!(config.proxies.len(), 2, "{text}");
    assert!(!config.proxies[0].udp && text.contains("tls-name = \"c.example\""), "{text}");
    let left_out = comments(&text);
    assert!(left_out[0].starts_with("\"outbound 3\": found detour \"S\""), "{text}");
    assert_eq!(left_out[1], "1 entry of direct (\"direct\"): snet does not speak it");
    assert!(left_out[2].starts_with("log: only its outbounds are taken"), "{text}");

    let redir = r#"{"server": "a.example", "server_port": 8388, "local_port": 1080,
        "password": "hunter2", "method": "aes-256-gcm", "timeout": 300}"#;
    let (text, config) = imported(redir);
    assert_eq!((config.proxies.len(), config.proxies[0].host.as_str()), (1, "a.example"));
    assert_eq!(comments(&text), ["local_port, timeout: only servers are taken"]);
    let (_, config) = imported("ss://aes-256-gcm:hunter2@a.example:1\nhttp://b.example:2\n");
    assert_eq!(config.proxies.len(), 2);
}

#[test]
fn what_is_left_out_is_named() {
    let vless: String = (1..=20)
        .map(|number| format!("vless://hunter2@c.example:{number}#City%20{number}\n"))
        .collect();
    let links = format!("vmess://hunter2\n{vless}http://b.example:2\nhttp://127.0.0.1:3#Here\n");
    let (text, _) = imported(&links);
    let left_out = comments(&text);
    assert!(left_out[0].starts_with("\"Here\": found the server \"127.0.0.1\", which is on this"));
    assert!(left_out[0].contains("into rules.direct-users"), "{text}");
    assert!(left_out[1].starts_with("20 entries of vless (\"City 1\", \"City 2\", "), "{text}");
    assert!(left_out[1].ends_with("\"City 15\", ...): snet does not speak it"), "{text}");
    assert_eq!(left_out[2], "1 entry of vmess (\"line 1\"): snet does not speak it");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn what_is_nothing_is_named() {
    for (text, what) in [
        (
            "[[proxy]]\ntype = \"http\"\nserver = \"192.0.2.1:80\"\n",
            "found a configuration of snet, which needs no import",
        ),
        ("{\"outbounds\": [{\"protocol\": \"freedom\"}]}", "found a configuration of Xray"),
        ("", "found nothing; accepted: SNET's config.json"),
        ("\u{1}", "found "),
        ("proxies: []", "a Clash file has no proxy that snet can use"),
    ] {
        let said = refused(text);
        assert!(said.starts_with(what), "{text}: {said}");
    }
    let long = vec![b' '; LONGEST_BODY + 1];
    assert!(import(&long, Path::new("")).is_err());
}

/// A text that may stand in any place of JSON.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,6}(\\.[a-z]{1,5}){1,2}",
        "(\\*\\.)?[a-z]{1,5}\\.cn",
        "[0-9]{1,3}(\\.[0-9]{1,3}){3}",
        "\\PC{0,12}",
        any::<String>(),
        any::<u16>().prop_map(|number| number.to_string()),
    ]
}

fn any_value() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::json;
    prop_oneof![
        4 => any_text().prop_map(|text| json!(text)),
        1 => any::<u32>().prop_map(|number| json!(number)),
        1 => any::<bool>().prop_map(|value| json!(value)),
        2 => prop::collection::vec(any_text(), 0..4).prop_map(|list| json!(list)),
        1 => prop::collection::btree_map(any_text(), any_text(), 0..3).prop_map(|map| json!(map)),
    ]
}

const KEYS: [&str; 22] = [
    "listen-host",
    "listen-port",
    "proxy-timeout",
    "proxy-scope",
    "bypass-hosts",
    "bypass-src-ips",
    "cn-dns",
    "fq-dns",
    "enable-dns-cache",
    "enforce-ttl",
    "dns-prefetch-enable",
    "disable-qtypes",
    "force-fq",
    "host-map",
    "block-host-file",
    "block-hosts",
    "dns-logging-file",
    "mode",
    "enable-stats",
    "stats-port",
    "active-eni",
    "no-key",
];

proptest! {
    /// Whatever the file says, what is made of it loads, and its comments hold no password.
    #[test]
    fn whatever_snets_file_says_the_text_loads(
        values in prop::collection::vec((prop::sample::select(&KEYS[..]), any_value()), 0..14),
    ) {
        let mut file = serde_json::json!({
            "proxy-type": "ss", "ss-host": "ss.example", "ss-port": 8388,
            "ss-cipher-method": "aes-256-gcm", "ss-passwd": "hunter2",
        });
        for (key, value) in values {
            file[key] = value;
        }
        let (text, config) = imported(&file.to_string());
        prop_assert_eq!(config.proxies.len(), 1);
        prop_assert_eq!(text.matches("hunter2").count(), 1);
    }

    /// The proxies of the text are those of the file.
    #[test]
    fn the_servers_of_a_list_come_back(
        servers in prop::collection::vec(
            ("[a-z]{1,8}\\.example", 1..u16::MAX, "\\PC{1,20}", "\\PC{1,20}"), 1..5
        ),
    ) {
        let list: Vec<_> = servers.iter().map(|(host, port, password, name)| serde_json::json!({
            "server": host, "server_port": port, "method": "aes-128-gcm", "password": password,
            "remarks": name,
        })).collect();
        let file = serde_json::json!({ "servers": list }).to_string();
        let body = SubscriptionBody::read(file.as_bytes()).unwrap();
        let Ok(made) = import(file.as_bytes(), Path::new("")) else {
            prop_assert!(body.proxies.is_empty());
            return Ok(());
        };
        let (Loaded { config, .. }, _) =
            parse(Path::new("made.toml"), &made.text, Purpose::Daemon).unwrap();
        prop_assert_eq!(config.proxies.len(), made.config.proxies.len());
        for (proxy, (host, port, password, _)) in config.proxies.iter().zip(&servers) {
            prop_assert_eq!((&proxy.host, proxy.port), (host, *port));
            let crate::config::ProxyKind::Shadowsocks { key, .. } = &proxy.kind else {
                return Err(TestCaseError::fail("another kind"));
            };
            prop_assert_eq!(key.password().expose(), password.as_bytes());
        }
    }

    #[test]
    fn no_file_is_fatal(bytes in any::<Vec<u8>>()) {
        let _ = import(&bytes, Path::new(""));
    }
}
