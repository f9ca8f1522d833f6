//! Bodies as providers hand them out, and as they should not.

use super::*;
use crate::share_link::LinkedProtocol;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;

/// The proxies of a body in short, in their order.
fn meant(body: impl AsRef<[u8]>) -> Vec<String> {
    let body = SubscriptionBody::read(body.as_ref()).unwrap_or_else(|error| panic!("{error}"));
    body.proxies.iter().map(short).collect()
}

fn short(proxy: &ProvidedProxy) -> String {
    let ShareLink { name, host, port, protocol } = &proxy.link;
    let password = match protocol {
        LinkedProtocol::Shadowsocks { method, password, .. } => {
            format!("{method} {}", String::from_utf8_lossy(password.expose()))
        }
        LinkedProtocol::Http { credentials } => format!("http {}", user(credentials.as_ref())),
        LinkedProtocol::Https { credentials, tls_name } => {
            let name = tls_name.as_ref().map(|name| format!(" as {name}")).unwrap_or_default();
            format!("https{name} {}", user(credentials.as_ref()))
        }
        LinkedProtocol::Socks5 { credentials } => format!("socks5 {}", user(credentials.as_ref())),
    };
    let udp = proxy.udp.map(|udp| format!(" udp={udp}")).unwrap_or_default();
    format!("{}: {password} {host}:{port}{udp}", name.as_deref().unwrap_or("-"))
}

fn user(credentials: Option<&crate::proxy::credentials::Credentials>) -> String {
    let Some(credentials) = credentials else { return "-".into() };
    let password = String::from_utf8_lossy(credentials.password.expose()).into_owned();
    format!("{}:{password}", credentials.username)
}

/// What is said of a body that cannot be read.
fn said(body: impl AsRef<[u8]>) -> String {
    SubscriptionBody::read(body.as_ref()).map(|body| format!("{body:?}")).unwrap_err().found
}

/// The unfit entries, with what was found.
fn unfit(body: &str) -> Vec<String> {
    let body = SubscriptionBody::read(body.as_bytes()).unwrap();
    assert_eq!(body.passed_over.unfit.len(), body.passed_over.unfit_count);
    let unfit = body.passed_over.unfit.iter();
    unfit.map(|(name, problem)| format!("{name}: {}", problem.found)).collect()
}

const LINKS: &str = "ss://YWVzLTI1Ni1nY206aHVudGVyMg@one.example:8388#One
socks5://me:hunter2@two.example:1080#Two
http://three.example:8080
";

const MEANT: [&str; 3] = [
    "One: aes-256-gcm hunter2 one.example:8388",
    "Two: socks5 me:hunter2 two.example:1080",
    "-: http - three.example:8080",
];

#[test]
fn lists_of_links_in_every_dress() {
    let wrapped = |text: &str, at: usize, end: &str| {
        let chunks: Vec<&str> =
            text.as_bytes().chunks(at).map(|c| std::str::from_utf8(c).unwrap()).collect();
        chunks.join(end)
    };
    let standard = STANDARD.encode(LINKS);
    let each: String = LINKS.lines().map(|line| STANDARD.encode(line) + "\r\n").collect();
    for (what, body) in [
        ("plain", LINKS.to_owned()),
        ("CRLF", LINKS.replace('\n', "\r\n")),
        ("a byte order mark", format!("\u{feff}{LINKS}")),
        ("comments", format!("# mine\n// other\nSTATUS=up\n\n  {LINKS}")),
        ("base64", standard.clone()),
        ("base64url without padding", URL_SAFE_NO_PAD.encode(LINKS)),
        ("base64 with a byte order mark", format!("\u{feff}{standard}\n")),
        ("a byte order mark in base64", STANDARD.encode(format!("\u{feff}{LINKS}"))),
        ("wrapped", wrapped(&standard, 76, "\n")),
        ("wrapped by CRLF", wrapped(&standard, 64, "\r\n")),
        ("each line in base64", each),
    ] {
        assert_eq!(meant(&body), MEANT, "{what}");
    }
    // Something that has "-" and "_" in base64url.
    let names = format!("{LINKS}# ???>>>~~~ÿÿÿ\n");
    let url_safe = URL_SAFE_NO_PAD.encode(&names);
    assert!(url_safe.contains(['-', '_']));
    assert_eq!(meant(url_safe), MEANT);
}

#[test]
fn one_bad_link_costs_no_neighbour() {
    let body = format!(
        "ss://AES-256-GCM:hunter2@a.example:1#Capitals
ss://hunter2@b.example:2#No%20method
ss://aes-256-gcm:@c.example:3
vmess://hunter2
trojan://hunter2@d.example:4
VMESS://hunter2
ss://aes-256-gcm:hunter2@e.example:99999#Port
ss://aes-256-gcm:hunter2@f.example:5?plugin=/bin/sh#Plugin
{LINKS}"
    );
    let read = SubscriptionBody::read(body.as_bytes()).unwrap();
    let proxies: Vec<String> = read.proxies.iter().map(short).collect();
    assert_eq!(proxies[0], "Capitals: aes-256-gcm hunter2 a.example:1");
    assert_eq!(proxies[1..], MEANT);
    let protocols: Vec<_> = read.passed_over.protocols.into_iter().collect();
    assert_eq!(protocols, [("trojan".to_owned(), 1), ("vmess".to_owned(), 2)]);
    let unfit = unfit(&body);
    for (said, expected) in unfit.iter().zip([
        "No method: no method before the password",
        "line 3: an empty password",
        "Port: a port that is no number",
        "Plugin: the plugin \"/bin/sh\"",
    ]) {
        assert!(said.starts_with(expected), "{said}");
    }
    assert_eq!(unfit.len(), 4);
    assert!(!unfit.concat().contains("hunter2"), "{unfit:?}");
}

#[test]
fn sip008_as_lenient_as_sslocal() {
    let server = r#"{"id":"27b8a625","remarks":"Tokyo","server":"a.example","server_port":8388,
        "password":"p@:/#%+ä","method":"aes-256-gcm","plugin":"","plugin_opts":null}"#;
    let expected = ["Tokyo: aes-256-gcm p@:/#%+ä a.example:8388"];
    for (what, body) in [
        ("whole", format!(r#"{{"version":1,"servers":[{server}]}}"#)),
        ("no version", format!(r#"{{"servers":[{server}]}}"#)),
        ("a version in quotes", format!(r#"{{"version":"1","servers":[{server}]}}"#)),
        ("an unknown key", format!(r#"{{"username":"me","servers":[{server}],"version":1}}"#)),
        ("a bare list", format!("[{server}]")),
        ("a byte order mark", format!("\u{feff}[{server}]")),
        ("in base64", STANDARD.encode(format!("[{server}]"))),
    ] {
        assert_eq!(meant(&body), expected, "{what}");
    }
    // A port in quotes, a password without them, escaped surrogates as PHP writes them.
    let odd = r#"{"servers":[{"remarks":"\uD83C\uDDEF","server":"[2001:db8::1]",
        "server_port":"8388","password":123456,"method":"aes-256-gcm"}]}"#;
    assert_eq!(meant(odd), ["\u{1f1ef}: aes-256-gcm 123456 2001:db8::1:8388"]);
    let numbers = r#"{"version":1,"servers":[],"bytes_used":7,"bytes_remaining":9}"#;
    let read = SubscriptionBody::read(numbers.as_bytes()).unwrap();
    assert_eq!(read.traffic, Traffic { used: Some(7), remaining: Some(9) });
    assert_eq!(read.proxies, []);
    assert_eq!(said(r#"{"version":2,"servers":[]}"#), "SIP008 of version 2, not 1");
    assert_eq!(said(r#"{"servers":7}"#), "\"servers\" that is no list");
}

#[test]
fn sip008_entries_that_are_none() {
    let body = r#"{"servers":[7, {}, null,
        {"remarks":"No port","server":"a.example","password":"hunter2","method":"aes-256-gcm"},
        {"remarks":"Method","server":"a.example","server_port":1,"password":"hunter2",
         "method":"a b"},
        {"remarks":"Plugin","server":"a.example","server_port":1,"password":"hunter2",
         "method":"aes-256-gcm","plugin":"/bin/sh","plugin_opts":"-c reboot"},
        {"remarks":"Reboot","server":"a.example","server_port":1,"password":"hunter2",
         "method":"aes-256-gcm","plugin":"reboot"},
        {"remarks":"Elsewhere","server":"a.example","server_port":1,"password":"hunter2",
         "method":"aes-256-gcm","plugin":"v2ray-plugin","plugin_opts":"remoteAddr=127.0.0.1"},
        {"remarks":"Host","server":"a.example/?plugin=b#","server_port":1,"password":"hunter2",
         "method":"aes-256-gcm"},
        {"remarks":"Good","server":"b.example","server_port":1,"password":"hunter2",
         "method":"aes-256-gcm"}]}"#;
    assert_eq!(meant(body), ["Good: aes-256-gcm hunter2 b.example:1"]);
    assert_eq!(
        unfit(body),
        [
            "server 1: something else",
            "server 2: no server",
            "server 3: something else",
            "No port: no port",
            "Method: no method before the password",
            "Plugin: the plugin \"/bin/sh\"",
            "Reboot: the plugin \"reboot\"",
            "Elsewhere: the option \"remoteAddr\" of the plugin v2ray-plugin",
            "Host: a server that is no host",
        ]
    );
}

const CLASH: &str = "port: 7890
rules:
  - DOMAIN-SUFFIX,example.com,DIRECT
  - MATCH,auto
base: &base
  type: ss
  cipher: aes-256-gcm
  server: base.example
  port: 8388
proxy-groups:
  - {name: auto, type: url-test, url: http://www.gstatic.com/generate_204, proxies: [One]}
proxies:
  - {name: One, type: ss, server: one.example, port: 8388, cipher: aes-256-gcm,
     password: 012345, udp: true}
  - name: \"\\U0001F1EF Two\"
    type: socks5
    server: two.example
    port: '1080'
    username: me
    password: 1e5
    udp: false
  - {name: Three, type: http, server: 192.0.2.3, port: 8080}
  - {<<: *base, name: Merged, password: !<str> 0x10}
  - {name: Uot, type: ss, server: u.example, port: 1, cipher: aes-128-gcm, password: a,
     udp: true, udp-over-tcp: true}
  - {name: Four, type: vmess, server: four.example, port: 443, uuid: hunter2}
  - {name: Five, type: Trojan, server: five.example, port: 443, password: hunter2}
";

#[test]
fn a_clash_file() {
    let expected = [
        "One: aes-256-gcm 012345 one.example:8388 udp=true",
        "\u{1f1ef} Two: socks5 me:1e5 two.example:1080 udp=false",
        "Three: http - 192.0.2.3:8080",
        "Merged: aes-256-gcm 0x10 base.example:8388",
        "Uot: aes-128-gcm a u.example:1 udp=false",
    ];
    for body in [
        CLASH.to_owned(),
        format!("\u{feff}{CLASH}"),
        CLASH.replace('\n', "\r\n"),
        STANDARD.encode(CLASH),
    ] {
        let read = SubscriptionBody::read(body.as_bytes()).unwrap();
        assert_eq!(read.format, BodyFormat::Clash);
        assert_eq!(read.proxies.iter().map(short).collect::<Vec<_>>(), expected);
        let protocols: Vec<_> = read.passed_over.protocols.into_iter().collect();
        assert_eq!(protocols, [("trojan".to_owned(), 1), ("vmess".to_owned(), 1)]);
    }
    let json = r#"{"proxies":[{"name":"A","type":"ss","server":"a.example","port":1,
        "cipher":"aes-256-gcm","password":"hunter2"}]}"#;
    assert_eq!(meant(json), ["A: aes-256-gcm hunter2 a.example:1"]);
    // Only the flow style of YAML has no quotes.
    let flow = "{proxies: [{name: A, type: http, server: a.example, port: 1}]}";
    assert_eq!(meant(flow), ["A: http - a.example:1"]);
}

/// Its datagrams would go past the plugin, and that is the operator's to want.
#[test]
fn no_udp_goes_past_a_provided_plugin() {
    let body = "proxies:
  - {name: A, type: ss, server: a.example, port: 1, cipher: aes-256-gcm, password: p, udp: true,
     plugin: obfs, plugin-opts: {mode: tls, host: b.example}}
  - {name: B, type: ss, server: a.example, port: 1, cipher: aes-256-gcm, password: p, udp: true}
";
    let read = SubscriptionBody::read(body.as_bytes()).unwrap();
    let udp: Vec<Option<bool>> = read.proxies.iter().map(|proxy| proxy.udp).collect();
    assert_eq!(udp, [None, Some(true)]);
}

/// Read without it, an entry would mean something weaker.
#[test]
fn what_an_entry_asks_for_is_never_left_out() {
    let body = "proxies:
  - {name: Obfs, type: ss, server: a.example, port: 1, cipher: aes-256-gcm, password: hunter2,
     plugin: shadow-tls, plugin-opts: {host: cloud.example, password: hunter2, version: 3}}
  - {name: Options, type: ss, server: a.example, port: 1, cipher: aes-256-gcm, password: hunter2,
     plugin: v2ray-plugin, plugin-opts: {mode: websocket, tls: true, skip-cert-verify: true}}
  - {name: Chain, type: ss, server: a.example, port: 1, cipher: aes-256-gcm, password: hunter2,
     dialer-proxy: Other}
  - {name: Tls, type: socks5, server: a.example, port: 1, tls: true}
  - {name: Unverified, type: http, server: a.example, port: 1, tls: true, skip-cert-verify: true}
  - {name: Odd, type: {a: b}}
  - text
  - {name: Good, type: socks5, server: b.example, port: 1, tls: false}
";
    assert_eq!(meant(body), ["Good: socks5 - b.example:1"]);
    let unfit = unfit(body);
    for (said, expected) in unfit.iter().zip([
        "Obfs: the plugin \"shadow-tls\"",
        "Options: the option \"skip-cert-verify\" of the plugin v2ray-plugin",
        "Chain: dialer-proxy \"Other\"",
        "Tls: the option tls",
        "Unverified: ",
        "Odd: no type",
        "proxy 7: no type",
    ]) {
        assert!(said.starts_with(expected), "{said}");
    }
    assert_eq!(unfit.len(), 7, "{unfit:?}");
}

/// Each of these would expand to billions, or down the stack.
#[test]
fn bombs() {
    let laughs: String = (1..60)
        .map(|n| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(", ")))
        .collect();
    let good = "proxies:\n  - {name: Good, type: http, server: b.example, port: 1}\n";
    assert_eq!(said(format!("a0: &a0 [ha]\n{laughs}{good}")), "YAML of too many values");
    let few: String = (1..9)
        .map(|n| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(", ")))
        .collect();
    let body = format!("a0: &a0 [ha]\n{few}{good}  - *a8\n");
    assert_eq!(meant(body), ["Good: http - b.example:1"]);
    let deep = |unit: &str, times| said(format!("proxies:\n  - {}", unit.repeat(times)));
    assert_eq!(deep("[", 100), "YAML that is nested too deeply");
    assert!(deep("[", 100_000).starts_with("YAML that breaks at line 2"));
    assert_eq!(deep("- ", 100_000), "YAML that is nested too deeply");
    assert_eq!(deep("? ", 100_000), "YAML that is nested too deeply");
    let wide = format!("proxies:\n  - {{{}}}", "a: b, ".repeat(250_000));
    assert_eq!(said(wide), "YAML of too many values");
    assert!(said("[".repeat(8 << 20)).starts_with("JSON of too many"), "{}", said("[["));
    assert!(said(format!("{{\"a\":{}", "[".repeat(1000))).starts_with("JSON that breaks at"));
    assert_eq!(meant("proxies:\n- &a [*a]\n- {<<: *a}\n"), [] as [&str; 0]);
    // Rules are many in honest files, and cost nothing.
    let rules = "  - DOMAIN,a.example,DIRECT\n".repeat(200_000);
    assert_eq!(meant(format!("rules:\n{rules}{good}")), ["Good: http - b.example:1"]);
    let merges: String = (1..12)
        .map(|n| format!("m{n}: &m{n} {{<<: [{}]}}\n", vec![format!("*m{}", n - 1); 9].join(", ")))
        .collect();
    let merged = format!("m0: &m0 {{a: b}}\n{merges}{good}  - *m11\n");
    assert_eq!(meant(merged), ["Good: http - b.example:1"]);
}

#[test]
fn what_is_no_subscription_says_what_it_is() {
    for (body, expected) in [
        ("", "nothing"),
        ("\u{feff}\r\n", "nothing"),
        ("<!DOCTYPE html><title>Log\u{7} in</title>", "a web page, \"Log in\""),
        ("<html></html>", "a web page"),
        ("token has expired", "a text of 17 bytes that begins with \"token has expired\""),
        ("{\"message\":\"gone\"}", "a text of 18 bytes that begins with "),
        ("aHVudGVyMg", "base64 of something else"),
        ("!hunter2", "8 bytes of something else"),
        ("proxy-providers:\n  a: {url: 'https://a.example/hunter2'}\n", "a Clash file that names"),
        ("proxies: 7\n", "\"proxies\" that is no list"),
        ("proxies:\n  - {a: [}\n", "YAML that breaks at line 2, column"),
        ("{\"servers\": hunter2", "JSON that breaks at line 1, column 13"),
    ] {
        let said = said(body);
        assert!(said.starts_with(expected), "{body}: {said}");
        assert!(!said.contains("hunter2") && !said.contains(char::is_control), "{said}");
    }
    let long = vec![b'a'; LONGEST_BODY + 1];
    assert_eq!(said(long), "a body of more than 8 MiB");
}

#[test]
fn information_stands_behind_the_servers() {
    let body = "ss://aes-256-gcm:a@one.example:1#%E5%89%A9%E4%BD%99%E6%B5%81%E9%87%8F%EF%BC%9A20GB
ss://aes-256-gcm:a@127.0.0.1:1#Expire%3A%202027-01-01
ss://aes-256-gcm:a@[::ffff:127.0.0.1]:1#Mine
ss://aes-256-gcm:a@localhost:1
ss://aes-256-gcm:a@one.example:1#Tokyo
";
    let read = SubscriptionBody::read(body.as_bytes()).unwrap();
    let names: Vec<_> = read.proxies.iter().filter_map(|proxy| proxy.link.name.clone()).collect();
    assert_eq!(names, ["Tokyo", "剩余流量：20GB"]);
    assert_eq!(read.passed_over.information, ["剩余流量：20GB", "Expire: 2027-01-01"]);
    let unfit = unfit(body);
    assert_eq!(
        unfit,
        ["Mine: the server \"::ffff:127.0.0.1\"", "line 4: the server \"localhost\""]
    );
}

#[test]
fn there_is_an_end_to_many() {
    let body: String = (0..MOST_PROXIES + 3).map(|n| format!("http://h{n}.example:80\n")).collect();
    let read = SubscriptionBody::read(body.as_bytes()).unwrap();
    assert_eq!((read.proxies.len(), read.passed_over.beyond), (MOST_PROXIES, 3));
    let body: String = (0..100).map(|n| format!("a{n}://x\n")).collect();
    let read = SubscriptionBody::read(body.as_bytes()).unwrap();
    assert_eq!(read.passed_over.protocols.values().sum::<usize>(), 100);
    assert_eq!(read.passed_over.protocols.len(), 17);
}

proptest! {
    #[test]
    fn any_line_costs_no_neighbour(line in "[^\r\n]{0,60}", at in 0usize..4) {
        let mut lines: Vec<&str> = LINKS.lines().collect();
        lines.insert(at, &line);
        let all = meant(lines.join("\n"));
        for proxy in MEANT {
            prop_assert!(all.iter().any(|found| found == proxy), "{:?}", all);
        }
    }

    /// What is written as a link is read as the same, whatever the fields hold.
    #[test]
    fn any_fields(name in "\\PC{1,20}", password in "\\PC{1,20}", plain in "[a-z0-9.-]{1,20}") {
        let entry = serde_json::json!({"servers": [{
            "remarks": name, "server": "a.example", "server_port": 1,
            "method": "aes-256-gcm", "password": password,
        }, {
            "remarks": "b", "server": plain, "server_port": 1,
            "method": "aes-256-gcm", "password": "c",
        }]});
        let read = SubscriptionBody::read(entry.to_string().as_bytes()).unwrap();
        let found = read.proxies.iter().find(|proxy| proxy.link.host == "a.example").unwrap();
        let LinkedProtocol::Shadowsocks { password: found, .. } = &found.link.protocol else {
            panic!("{found:?}")
        };
        prop_assert_eq!(found.expose(), password.as_bytes());
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200), begin in prop_oneof![
        Just("proxies:\n"), Just("{\"servers\":["), Just("ss://"), Just("<"), Just("")
    ]) {
        let mut body = begin.as_bytes().to_vec();
        body.extend(bytes);
        let _ = SubscriptionBody::read(&body);
    }
}
