//! Rules for names, and programs that ask no resolver of snet's: they dial an address, and only
//! their first bytes tell the name. The resolver tells nothing here, unless a test asks it.

use crate::client::{connect, curl, echo};
use crate::counters::Counters;
use crate::peer::{connect_proxy, names, service};
use crate::snet::{Config, Snet, dig};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::world::{FAMILIES, FOREIGN_SITE, Family, sealed};
use quinn::rustls::crypto::ring::default_provider;
use quinn::rustls::pki_types::ServerName;
use quinn::rustls::version::TLS13;
use quinn::rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Duration;

const BLOCK: &str = "[\"blocked.example\", \"cloudflare-ech.com\"]";

/// A program's ClientHello of several segments.
fn hello(name: &'static str) -> Vec<u8> {
    hello_of(name, 15)
}

/// One with so many protocols, of 200 bytes each.
fn hello_of(name: &'static str, protocols: u8) -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let config = config.with_protocol_versions(&[&TLS13]).expect("TLS 1.3");
    let config = config.with_root_certificates(RootCertStore::empty());
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = (0..protocols).map(|number| vec![number; 200]).collect();
    let name = ServerName::try_from(name).expect("a name");
    let mut connection = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).expect("a hello");
    hello
}

/// Dials and sends these bytes as three segments, one a few milliseconds after the other.
fn says(site: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = connect(site);
    stream.set_nodelay(true).expect("an option");
    for segment in bytes.chunks(bytes.len().div_ceil(3)) {
        // A blocked one is reset in the middle.
        if stream.write_all(segment).is_err() {
            break;
        }
        sleep(Duration::from_millis(5));
    }
    stream
}

fn echoes(mut stream: TcpStream, bytes: &[u8], snet: &Snet) {
    let mut heard = vec![0; bytes.len()];
    stream.read_exact(&mut heard).unwrap_or_else(|error| panic!("{error}\n{}", snet.log()));
    assert!(heard == bytes, "another echo than what was sent");
}

fn is_reset(mut stream: TcpStream) -> bool {
    stream.read(&mut [0; 9]).is_err()
}

#[test]
fn the_way_of_a_name_is_that_of_its_connection() {
    sealed(|| {
        service::start();
        let _names = [names::domestic(), names::trusted(), names::system()];
        // As far away as a proxy is: the hello comes while it is dialled.
        let far = Duration::from_millis(100);
        let (main, _) = connect_proxy::noting_after(Family::V4, FOREIGN_SITE, far);
        let (other, noted) = connect_proxy::noting(Family::V4, FOREIGN_SITE);
        let proxies = [("main", main), ("other", other)]
            .map(|(name, proxy)| format!("name = \"{name}\"\nsend-names = \"always\"\n{proxy}"));
        let mut config = Config::through(Family::V4, &proxies);
        // "other" carries only what a rule gives to it, although it is the nearer one.
        config.proxies[1].push_str("\n[[group]]\nname = \"first\"\nmembers = [\"main\"]\n");
        config.top.push("log.level = \"debug\"".into());
        Config::set(&mut config.rules, "block", BLOCK);
        Config::set(&mut config.rules, "direct", "[\"direct.example\"]");
        Config::set(&mut config.rules, "via", "{ \"other\" = [\"other.example\"] }");
        let counters = Counters::start();
        let snet = Snet::start(Variant::Nft, &config);
        for family in FAMILIES {
            let site = FOREIGN_SITE.port(family, service::ECHO);

            let bytes = hello("www.other.example");
            echoes(says(site, &bytes), &bytes, &snet);
            // The name is only the program's word: the proxy hears the address.
            assert_eq!(noted.lock().expect("no panic").pop(), Some(site.to_string()));

            let silent = FOREIGN_SITE.port(family, 443);
            let heard = hearing(silent);
            assert!(is_reset(says(silent, &hello("blocked.example"))), "{}", snet.log());
            let page = FOREIGN_SITE.port(family, service::UPLOAD);
            let asked = |scheme: &str, name: &str, site: SocketAddr| {
                let (place, url) = (at(site, name), format!("{scheme}://{name}:{}/", site.port()));
                curl(&["-kf", "--resolve", &place, "--max-time", "10", &url]).status.success()
            };
            assert!(!asked("https", "blocked.example", silent));
            assert!(!asked("http", "blocked.example", page));
            assert!(asked("http", "other.example", page), "{}", snet.log());
            assert_eq!(heard.load(Ordering::Relaxed), 0, "bytes of what is blocked");
            assert_eq!(noted.lock().expect("no panic").pop(), Some(page.to_string()));
            assert_eq!(counters.leaked(), 0, "something left directly");
            // Besides it carried only the questions whether it works.
            let noted = noted.lock().expect("no panic");
            assert!(noted.iter().all(|asked| asked.ends_with(":53")), "{noted:?}");
            drop(noted);

            // What the server says first comes at once, and what follows stays with it.
            let mut greeted = connect(FOREIGN_SITE.port(family, service::GREET));
            let mut greeting = [0; service::GREETING.len()];
            greeted.read_exact(&mut greeting).expect("a greeting");
            assert_eq!(greeting, service::GREETING);
            echo(&mut greeted, &hello("blocked.example")).expect("an echo");

            // The public name of an encrypted hello is nobody's.
            let shared = with_ech(&hello("cloudflare-ech.com"));
            echoes(says(site, &shared), &shared, &snet);

            // The resolver's word counts, not the program's.
            let kind = if family == Family::V4 { "A" } else { "AAAA" };
            let told = dig(&format!("+short {kind} foreign.example"));
            assert_eq!(told.trim(), site.ip().to_string());
            let bytes = hello("blocked.example");
            echoes(says(site, &bytes), &bytes, &snet);
        }
        let log = snet.log();
        let refused = log.lines().filter(|line| line.contains("refused: blocked by rule"));
        let named = refused.filter(|line| line.contains("name=\"blocked.example\""));
        assert_eq!(named.count(), 6, "{log}");
        assert_eq!(counters.leaked(), 0, "something left directly");
        snet.stop();

        // Directly, as the rule says.
        let snet = Snet::start(Variant::Nft, &config);
        for family in FAMILIES {
            let site = FOREIGN_SITE.port(family, service::ECHO);
            let bytes = hello("direct.example");
            let leaked = counters.leaked();
            echoes(says(site, &bytes), &bytes, &snet);
            assert!(counters.leaked() > leaked, "it did not go directly");
        }
        snet.stop();

        // Where nobody looks the address decides.
        Config::set(&mut config.rules, "sniff", "false");
        let leaked = counters.leaked();
        let snet = Snet::start(Variant::Nft, &config);
        for name in ["blocked.example", "direct.example"] {
            let (site, bytes) = (FOREIGN_SITE.port(Family::V4, service::ECHO), hello(name));
            echoes(says(site, &bytes), &bytes, &snet);
        }
        assert_eq!(counters.leaked(), leaked);
        snet.stop();
    });
}

/// A shadowsocks dial has ended before the first bytes come.
#[test]
fn the_same_through_shadowsocks() {
    sealed(|| {
        service::start();
        for family in FAMILIES {
            let (_server, proxy) = Upstream::Rust("aes-128-gcm").start(family);
            let mut config = Config::through(family, &[proxy]);
            Config::set(&mut config.rules, "block", BLOCK);
            Config::set(&mut config.rules, "direct", "[\"direct.example\"]");
            let counters = Counters::restart();
            let snet = Snet::start(Variant::Nft, &config);
            let site = FOREIGN_SITE.port(family, service::ECHO);
            // More than are dialled ahead, one after the other.
            for _ in 0..20 {
                let bytes = hello("far.example");
                let mut stream = connect(site);
                stream.write_all(&bytes).expect("sent");
                echoes(stream, &bytes, &snet);
                let mut greeted = connect(FOREIGN_SITE.port(family, service::GREET));
                let mut greeting = [0; service::GREETING.len()];
                greeted.read_exact(&mut greeting).expect("a greeting");
                assert_eq!(greeting, service::GREETING);
            }
            let silent = FOREIGN_SITE.port(family, 443);
            let heard = hearing(silent);
            for _ in 0..20 {
                let mut blocked = connect(silent);
                // Of one segment: of several, the first would not wait for the others.
                let _ = blocked.write_all(&hello_of("blocked.example", 0));
                assert!(is_reset(blocked), "{}", snet.log());
            }
            assert_eq!(heard.load(Ordering::Relaxed), 0, "bytes of what is blocked");
            assert_eq!(counters.leaked(), 0, "something left directly");
            let bytes = hello_of("direct.example", 0);
            let mut direct = connect(site);
            direct.write_all(&bytes).expect("sent");
            echoes(direct, &bytes, &snet);
            assert!(counters.leaked() > 0, "it did not go directly");
            snet.stop();
        }
    });
}

/// Counts what comes to a server there, which says nothing.
fn hearing(site: SocketAddr) -> Arc<AtomicUsize> {
    let heard = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&heard);
    service::tcp(site, move |mut stream| {
        while let Ok(length @ 1..) = stream.read(&mut [0; 4096]) {
            count.fetch_add(length, Ordering::Relaxed);
        }
    });
    heard
}

/// The argument of `curl --resolve`.
fn at(site: SocketAddr, name: &str) -> String {
    let address = match site {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    };
    format!("{name}:{}:{address}", site.port())
}

/// With an extension as Encrypted Client Hello has it (RFC 9849). The hello is one record.
fn with_ech(hello: &[u8]) -> Vec<u8> {
    let added = [&[0xfe, 0x0d, 0, 200][..], &[0; 200]].concat();
    let mut longer = [hello, &added[..]].concat();
    let two = |at: usize| usize::from(u16::from_be_bytes([hello[at], hello[at + 1]]));
    let session = 5 + 4 + 34;
    let suites = session + 1 + usize::from(hello[session]);
    let compression = suites + 2 + two(suites);
    for at in [3, 7, compression + 1 + usize::from(hello[compression])] {
        let length = u16::try_from(two(at) + added.len()).expect("short enough");
        longer[at..at + 2].copy_from_slice(&length.to_be_bytes());
    }
    longer
}
