//! Links as they are seen in the wild, and what their provider meant.

use super::*;
use proptest::prelude::*;

/// A key of 2022 with the three characters that links get wrong.
const KEY: &str = "7A+r6h/uQm2sGZ0oIhVXwg==";

/// What a link means, in one line: kind, user or method, password, host, port, name.
fn meant(text: &str) -> String {
    let link = match ShareLink::parse(text) {
        Ok(link) => link,
        Err(problem) => return format!("{problem}"),
    };
    let user = |kind: &str, credentials: &Option<Credentials>| match credentials {
        None => kind.to_owned(),
        Some(Credentials { username, password }) => {
            format!("{kind} {username} {}", String::from_utf8_lossy(password.expose()))
        }
    };
    let what = match &link.protocol {
        LinkedProtocol::Shadowsocks { method, password, plugin } => {
            let plugin = plugin.as_ref().map(|plugin| {
                let options = String::from_utf8_lossy(plugin.options().expose());
                format!("{}({options}) ", plugin.program())
            });
            let password = String::from_utf8_lossy(password.expose());
            format!("{}ss {method} {password}", plugin.unwrap_or_default())
        }
        LinkedProtocol::Http { credentials } => user("http", credentials),
        LinkedProtocol::Https { credentials, tls_name } => {
            let tls_name = tls_name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
            user("https", credentials) + &tls_name
        }
        LinkedProtocol::Socks5 { credentials } => user("socks5", credentials),
    };
    let ShareLink { name, host, port, .. } = &link;
    let name = name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
    format!("{what} {host} {port}{name}")
}

#[test]
fn links_of_the_wild() {
    let classic = "ss aes-256-gcm test h.example 8388";
    let named = "ss aes-256-gcm test h.example 8388 HK 01";
    let new = format!("ss 2022-blake3-aes-128-gcm {KEY} h.example 8388");
    let multi = format!("ss 2022-blake3-aes-128-gcm {KEY}:{KEY} h.example 8388");
    let table: &[(&str, &str)] = &[
        // SIP002, each alphabet and padding.
        ("ss://YWVzLTI1Ni1nY206dGVzdA==@h.example:8388", classic),
        ("ss://YWVzLTI1Ni1nY206dGVzdA@h.example:8388", classic),
        ("ss://YWVzLTI1Ni1nY206dGVzdA%3D%3D@h.example:8388", classic),
        ("ss://YWVzLTI1Ni1nY206dGVzdA=@h.example:8388/", classic),
        ("SS://YWVzLTI1Ni1nY206dGVzdA@h.example:8388", classic),
        ("  ss://YWVzLTI1Ni1nY206dGVzdA@h.example:8388\r\n", classic),
        ("\u{feff}ss://YWVzLTI1Ni1nY206dGVzdA@h.example:8388", classic),
        ("ss://YWVzLTI1Ni1nY206dGVzdA@h.example", classic),
        ("ss://YWVzLTI1Ni1nY206dGVzdA@h.example:8388/?", classic),
        ("ss://YWVzLTI1Ni1nY206dGVzdA@h.example:8388?plugin=", classic),
        ("ss://YWVzLTI1Ni1nY206dGVzdA@h.example:8388/?plugin=&group=YQ#", classic),
        ("ss://YWVzLTI1Ni1nY206dGVzdA@h.example:8388?type=tcp&security=none", classic),
        ("ss://YWVzLTI1Ni1nY206dGVzdA@h.example:8388?uot=1&udp-over-tcp=true", classic),
        // Leftover bits, as a sloppy encoder leaves them.
        ("ss://YWVzLTI1Ni1nY206dGVzdB@h.example:8388", classic),
        // Names.
        ("ss://YWVzLTI1Ni1nY206dGVzdA@h.example:8388#HK%2001", named),
        ("ss://YWVzLTI1Ni1nY206dGVzdA@h.example:8388#HK+01", named),
        ("ss://YWVzLTI1Ni1nY206dGVzdA@h.example:8388/#HK 01", named),
        ("ss://YWVzLTI1Ni1nY206dGVzdA@h.example:8388#%20HK%2001%0A", named),
        (
            "ss://YWVzLTI1Ni1nY206dGVzdA@h.example:8388#C++%20%F0%9F%87%AD%F0%9F%87%B0",
            "ss aes-256-gcm test h.example 8388 C++ 🇭🇰",
        ),
        (
            "ss://YWVzLTI1Ni1nY206dGVzdA@h.example:8388#🇭🇰香港#2?a=b@c/d",
            "ss aes-256-gcm test h.example 8388 🇭🇰香港#2?a=b@c/d",
        ),
        (
            "ss://YWVzLTI1Ni1nY206dGVzdA@h.example:8388#%ff%2",
            "ss aes-256-gcm test h.example 8388 \u{fffd}%2",
        ),
        // Plain, percent-encoded or not.
        ("ss://aes-256-gcm:test@h.example:8388", classic),
        ("ss://aes-256-gcm%3Atest@h.example:8388", classic),
        ("ss://aes-256-gcm:te%73t@h.example:8388#HK%2001", named),
        ("ss://AES-256-GCM:test@h.example:8388", classic),
        ("ss://AEAD_AES_256_GCM:test@h.example:8388", classic),
        (
            "ss://aes-256-gcm:p@ss:w/rd+%@h.example:8388",
            "ss aes-256-gcm p@ss:w/rd+% h.example 8388",
        ),
        (
            "ss://aes-256-gcm:%40%3A%2F%23%25%2B%3F@h.example:8388",
            "ss aes-256-gcm @:/#%+? h.example 8388",
        ),
        ("ss://aes-256-gcm:密码@h.example:8388", "ss aes-256-gcm 密码 h.example 8388"),
        (
            "ss://aes-256-gcm:%E5%AF%86%E7%A0%81@h.example:8388",
            "ss aes-256-gcm 密码 h.example 8388",
        ),
        (
            "ss://chacha20-poly1305:test@h.example:8388",
            "ss chacha20-ietf-poly1305 test h.example 8388",
        ),
        ("ss://rc4-md5:test@h.example:8388", "ss rc4-md5 test h.example 8388"),
        // The whole alphabet of base64 in the user part: "??>~" in the password.
        ("ss://YWVzLTI1Ni1nY206Pz8+fg==@h.example:8388", "ss aes-256-gcm ??>~ h.example 8388"),
        ("ss://YWVzLTI1Ni1nY206Pz8-fg@h.example:8388", "ss aes-256-gcm ??>~ h.example 8388"),
        (
            "ss://YWVzLTI1Ni1nY206Pz8%2Bfg%3D%3D@h.example:8388",
            "ss aes-256-gcm ??>~ h.example 8388",
        ),
        (
            "ss://YWVzLTI1Ni1nY206cEBzczp3L3Jk@h.example:8388",
            "ss aes-256-gcm p@ss:w/rd h.example 8388",
        ),
        // 2022: raw, percent-encoded, in base64, several keys.
        ("ss://2022-blake3-aes-128-gcm:7A+r6h/uQm2sGZ0oIhVXwg==@h.example:8388", &new),
        ("ss://2022-blake3-aes-128-gcm:7A%2Br6h%2FuQm2sGZ0oIhVXwg%3D%3D@h.example:8388", &new),
        (
            "ss://MjAyMi1ibGFrZTMtYWVzLTEyOC1nY206N0ErcjZoL3VRbTJzR1owb0loVlh3Zz09@h.example:8388",
            &new,
        ),
        (
            "ss://2022-blake3-aes-128-gcm:7A+r6h/uQm2sGZ0oIhVXwg==:7A+r6h/uQm2sGZ0oIhVXwg==\
             @h.example:8388",
            &multi,
        ),
        (
            "ss://2022-blake3-aes-128-gcm:7A%2Br6h%2FuQm2sGZ0oIhVXwg%3D%3D%3A\
             7A%2Br6h%2FuQm2sGZ0oIhVXwg%3D%3D@h.example:8388",
            &multi,
        ),
        // Before SIP002: everything in base64.
        ("ss://YWVzLTI1Ni1nY206dGVzdEBoLmV4YW1wbGU6ODM4OA==", classic),
        ("ss://YWVzLTI1Ni1nY206dGVzdEBoLmV4YW1wbGU6ODM4OA#HK+01", named),
        ("ss://YWVzLTI1Ni1nY206dGVzdEBoLmV4YW1wbGU6ODM4OA/", classic),
        ("ss://YWVzLTI1Ni1nY206dGVzdEBoLmV4YW1wbGU6ODM4OA%3D%3D#HK%2001", named),
        (
            "ss://YWVzLTI1Ni1nY206cEBzczp3L3JkQGguZXhhbXBsZTo4Mzg4",
            "ss aes-256-gcm p@ss:w/rd h.example 8388",
        ),
        // "~~~~" and "????" become "/" and "+" inside.
        (
            "ss://YWVzLTI1Ni1nY206fn5+fj8/Pz9AaC5leGFtcGxlOjgzODg=",
            "ss aes-256-gcm ~~~~???? h.example 8388",
        ),
        // Servers.
        ("ss://aes-256-gcm:test@[2001:db8::1]:443", "ss aes-256-gcm test 2001:db8::1 443"),
        ("ss://aes-256-gcm:test@[2001:db8::1]", "ss aes-256-gcm test 2001:db8::1 8388"),
        ("ss://aes-256-gcm:test@192.0.2.1:443/#a", "ss aes-256-gcm test 192.0.2.1 443 a"),
        (
            "ss://YWVzLTI1Ni1nY206dGVzdEBbMjAwMTpkYjg6OjFdOjQ0Mw",
            "ss aes-256-gcm test 2001:db8::1 443",
        ),
        // HTTP and SOCKS5.
        ("http://h.example:8080", "http h.example 8080"),
        ("HTTP://me:pw@h.example:8080/#a", "http me pw h.example 8080 a"),
        ("http://me@h.example:8080", "http me  h.example 8080"),
        ("http://me:@h.example:8080", "http me  h.example 8080"),
        ("http://@h.example:8080", "http h.example 8080"),
        ("http://m%40e:p%3A%2F@ss@[2001:db8::1]:8080", "http m@e p:/@ss 2001:db8::1 8080"),
        ("socks5://h.example:1080", "socks5 h.example 1080"),
        ("socks5://h.example", "socks5 h.example 1080"),
        ("socks5h://me:密%20码+@h.example:1081#a", "socks5 me 密 码+ h.example 1081 a"),
        ("socks://bWU6cDp3@h.example:1080#a", "socks5 me p:w h.example 1080 a"),
        ("socks://bWU6cDp3%3D%3D@h.example:1080", "socks5 me p:w h.example 1080"),
        ("socks://me:pw@h.example:1080", "socks5 me pw h.example 1080"),
        ("socks://h.example:1080", "socks5 h.example 1080"),
        ("socks5://me:pw@h.example:1080?tls=false", "socks5 me pw h.example 1080"),
    ];
    assert!(table.len() >= 60, "{}", table.len());
    for (text, expected) in table {
        assert_eq!(meant(text), *expected, "{text}");
        let canonical = ShareLink::parse(text).unwrap().to_string();
        assert_eq!(ShareLink::parse(&canonical), ShareLink::parse(text), "{canonical}");
    }
}

#[test]
fn what_is_no_link_says_what_it_is() {
    for (text, expected) in [
        ("", "found nothing"),
        ("h.example:8388", "found a text without \"://\""),
        ("vmess://eyJ2IjoiMiJ9", "found a vmess:// link, whose protocol snet does not speak"),
        ("ssr://hunter2", "found a ssr:// link, whose protocol"),
        ("hunter2 hunter2://x", "found a text that does not begin with a protocol"),
        ("https://me:hunter2@h.example:443?allowInsecure=1", "found the option allowinsecure, by"),
        ("https://h.example/sub?token=hunter2", "found a path behind the server (is it the"),
        ("ss://a\nss://b", "found a text of several lines"),
        ("ss://", "found no method and password"),
        ("ss://h.example:8388", "found no method and password"),
        ("ss://hunter2!@h.example:8388", "found neither method:password nor base64"),
        ("ss://aHVudGVyMg@h.example:8388", "found no method before the password"),
        ("ss://:hunter2@h.example:8388", "found no method before the password"),
        ("ss://hun ter2:x@h.example:8388", "found no method before the password"),
        ("ss://aes-256-gcm:@h.example:8388", "found an empty password"),
        // A "#" or "?" of the password cuts the link there.
        ("ss://aes-256-gcm:hunter2#x@h.example:8388", "found no method and password"),
        ("ss://aes-256-gcm:hunter2@h.example:0", "found a port that is no number from 1 to 65535"),
        ("ss://aes-256-gcm:hunter2@h.example:65536", "found a port that is no number"),
        ("ss://aes-256-gcm:hunter2@h.example:", "found a port that is no number"),
        ("ss://aes-256-gcm:hunter2@[2001:db8::1]443x", "found a port that is no number"),
        ("ss://aes-256-gcm:hunter2@:8388", "found no server"),
        ("ss://aes-256-gcm:hunter2@", "found no server"),
        ("ss://aes-256-gcm:hunter2@2001:db8::1:8388", "found a server with several colons"),
        // "aes-256-gcm:hunter2@h\x0eexample:8388" and "...@h#x:8388", before SIP002.
        ("ss://YWVzLTI1Ni1nY206aHVudGVyMkBoDmV4YW1wbGU6ODM4OA", "found no server"),
        ("ss://YWVzLTI1Ni1nY206aHVudGVyMkBoI3g6ODM4OA", "found no server"),
        ("ss://aes-256-gcm:hunter2@h.example:8388/path", "found a path behind the server"),
        ("http://example.com:80/sub?token=hunter2", "found a path behind the server (is it the"),
        ("http://h.example", "found no port"),
        ("http://:hunter2@h.example:8080", "found a password without a user name"),
        ("http://%ff:hunter2@h.example:8080", "found a user name that is not UTF-8"),
        ("socks5://me:hunter2@h.example:1080?tls=1", "found the option tls, which only an"),
    ] {
        let said = meant(text);
        assert!(said.starts_with(expected), "{text}: {said}");
        assert!(said.contains("; accepted: "), "{said}");
        assert!(!said.contains("hunter2"), "it shows a password: {said}");
    }
    assert!(meant(&format!("ss://{}", "a".repeat(9000))).starts_with("found 9005 bytes"));
}

/// Read without it, the link would mean something weaker.
#[test]
fn a_plugin_is_never_left_out() {
    for (query, plugin) in [
        ("?plugin=obfs-local%3Bobfs%3Dhttp", "obfs-local(obfs=http)"),
        ("/?plugin=obfs-local;obfs=http;obfs-host=a", "obfs-local(obfs=http;obfs-host=a)"),
        ("/?plugin=simple-obfs;obfs=tls", "obfs-local(obfs=tls)"),
        ("?group=a&PLUGIN=obfs-local", "obfs-local()"),
        ("?plugin=v2ray-plugin%3Bpath%3D%2Fa%2Bb%5C%3Bc%3Btls", "v2ray-plugin(path=/a+b\\;c;tls)"),
    ] {
        let said = meant(&format!("ss://aes-256-gcm:hunter2@h.example:8388{query}#a"));
        assert_eq!(said, format!("{plugin} ss aes-256-gcm hunter2 h.example 8388 a"), "{query}");
    }
    for query in ["?plugin=/bin/sh;a=b", "?plugin=..%2Fsh", "?plugin=%3Bobfs"] {
        let said = meant(&format!("ss://aes-256-gcm:hunter2@h.example:8388{query}#a"));
        assert!(said.starts_with("found the plugin "), "{query}: {said}");
    }
    for query in [
        "?v2ray-plugin=eyJtb2RlIjoid2Vic29ja2V0In0",
        "?obfs=http",
        "?shadow-tls=eyJ9",
        "?type=ws&path=%2F",
        "?type=tcp&security=tls",
    ] {
        let said = meant(&format!("ss://aes-256-gcm:hunter2@h.example:8388{query}#a"));
        assert!(said.contains("which is not yet supported"), "{query}: {said}");
    }
    // "aes-256-gcm:test@h.example:8388/?plugin=obfs-local", before SIP002.
    let old = "ss://YWVzLTI1Ni1nY206dGVzdEBoLmV4YW1wbGU6ODM4OC8_cGx1Z2luPW9iZnMtbG9jYWw";
    assert_eq!(meant(old), "obfs-local() ss aes-256-gcm test h.example 8388");
}

fn links() -> impl Strategy<Value = ShareLink> {
    let password = || prop::collection::vec(any::<u8>(), 1..30);
    let method = prop_oneof![
        Just("aes-128-gcm"),
        Just("2022-blake3-aes-256-gcm"),
        "[a-z0-9-]{1,9}".prop_map(|word| &*word.leak())
    ];
    let plugin = ("[a-z0-9][a-zA-Z0-9._-]{0,20}", "[^\\pC]{0,30}");
    let plugin = prop::option::of(plugin.prop_filter_map("an alias", |(name, options)| {
        let spec = PluginSpec::of_link(&format!("{name};{options}")).ok()?;
        (spec.program() == name).then_some(spec)
    }));
    let shadowsocks = (method, password(), plugin)
        .prop_filter("an alias", |(method, ..)| shadowsocks_name_is_usual(method))
        .prop_map(|(method, password, plugin)| LinkedProtocol::Shadowsocks {
            method: method.into(),
            password: Secret::new(password),
            plugin,
        });
    let credentials = || {
        let pair = ("\\PC{1,20}", prop::collection::vec(any::<u8>(), 0..20));
        prop::option::of(pair.prop_map(|(username, password)| Credentials {
            username,
            password: Secret::new(password),
        }))
    };
    let protocol = prop_oneof![
        shadowsocks,
        credentials().prop_map(|credentials| LinkedProtocol::Http { credentials }),
        (credentials(), prop::option::of("\\PC{1,20}")).prop_map(|(credentials, tls_name)| {
            LinkedProtocol::Https { credentials, tls_name }
        }),
        credentials().prop_map(|credentials| LinkedProtocol::Socks5 { credentials }),
    ];
    let host = prop_oneof![
        "[a-z]{1,9}(\\.[a-z0-9-]{1,9}){0,3}",
        any::<std::net::IpAddr>().prop_map(|ip| ip.to_string()),
    ];
    let name = prop::option::of("[^\\pC]{1,20}".prop_filter_map("cut", |text| {
        let text = text.trim().to_owned();
        (!text.is_empty() && text.len() <= LONGEST_NAME).then_some(text)
    }));
    (name, host, 1..=u16::MAX, protocol).prop_map(|(name, host, port, protocol)| ShareLink {
        name,
        host,
        port,
        protocol,
    })
}

/// Whether reading it changes nothing.
fn shadowsocks_name_is_usual(method: &str) -> bool {
    !method.starts_with("aead-") && method != "chacha20-poly1305"
}

proptest! {
    #[test]
    fn what_is_printed_is_read_as_the_same(link in links()) {
        let printed = link.to_string();
        prop_assert!(printed.is_ascii(), "{}", printed);
        prop_assert_eq!(ShareLink::parse(&printed), Ok(link), "{}", printed);
    }

    #[test]
    fn any_text(text in "\\PC{0,60}", scheme in prop_oneof![
        Just(""), Just("ss://"), Just("http://"), Just("https://"),
        Just("socks5://"), Just("socks://")
    ]) {
        if let Ok(link) = ShareLink::parse(&format!("{scheme}{text}")) {
            let printed = link.to_string();
            prop_assert_eq!(ShareLink::parse(&printed), Ok(link), "{}", printed);
        }
    }
}
