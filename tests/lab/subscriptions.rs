//! Servers that a provider hands out: while it is dead, when it comes, and when it says what it
//! should not.

use crate::client::{connect, echo, failure};
use crate::counters::Counters;
use crate::peer::provider::{Provider, Reply};
use crate::peer::{http_proxy, names, service, shadowsocks, unbound};
use crate::process::{FOLDER, finish};
use crate::snet::{self, Config, Snet, write_config};
use crate::variant::Variant;
use crate::wait;
use crate::world::{FOREIGN_SITE, FOREIGN_TWIN, Family, MACHINE, PROXY, sealed};
use ::snet::subscription::kept::KeptBody;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);
const PORT: u16 = 8090;
const METHOD: &str = "aes-256-gcm";

/// The file with this subscription, and where its body is kept.
fn file(proxies: &[String], url: &str, more: &str) -> (PathBuf, PathBuf) {
    let kept = Path::new(FOLDER).join("provider.subscription");
    let config = Config::through(Family::V4, proxies).by(Variant::Nft);
    let text = format!(
        "{}\n[[subscription]]\nname = \"p\"\nurl = \"{url}\"\ncache-file = \"{}\"\n{more}\n",
        config.text(),
        kept.display()
    );
    (write_config(&text), kept)
}

fn start(file: &Path) -> Snet {
    let mut command = snet::snet(Variant::Nft);
    Snet::ready(command.env("SNET_ROOTS", unbound::authority()).arg("-c").arg(file))
}

/// Reloads, and waits until the log says this once more.
fn reload(snet: &Snet, expected: &str) {
    let count = || snet.log().matches(expected).count();
    let before = count();
    let finished = finish(snet::snet(Variant::Nft).arg("reload"));
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    assert!(finished.stdout.contains("the subscriptions are fetched"), "{}", finished.stdout);
    let came = wait::quietly(PATIENCE, || count() > before);
    assert!(came, "{expected}\n{}", snet.log());
}

/// Waits until the log says this.
fn says(snet: &Snet, expected: &str) {
    let said = wait::quietly(PATIENCE, || snet.log().contains(expected));
    assert!(said, "{expected}\n{}", snet.log());
}

fn works(what: &str) {
    let mut stream = connect(FOREIGN_SITE.port(Family::V4, service::ECHO));
    echo(&mut stream, b"hello").unwrap_or_else(|error| panic!("{what}: {error}"));
}

#[test]
fn a_provider_behind_its_own_servers() {
    sealed(|| {
        service::start();
        let _names = [names::domestic(), names::trusted(), names::system()];
        let (_tinyproxy, _) = http_proxy::tinyproxy(Family::V4);
        let (_libev, _) = shadowsocks::libev(Family::V4, METHOD);
        let one = format!("http://{}#One\n", PROXY.port(Family::V4, http_proxy::TINYPROXY_PORT));
        let url = format!("http://{}/hunter2", FOREIGN_SITE.port(Family::V4, PORT));
        let (file, kept) = file(&[], &url, "via = \"proxy\"");
        KeptBody::of_file(one.clone().into_bytes().into()).write(&kept).expect("a tmpfs");
        let counters = Counters::start();

        // The provider is dead, and the body of yesterday is there.
        let snet = start(&file);
        says(&snet, "\"p\": 1 server of a list of links");
        works("from the kept body");
        let said = "its last servers stay: through a proxy: ";
        assert!(wait::quietly(PATIENCE, || snet.log().contains(said)), "{}", snet.log());

        // It comes, and is reached through the server that it gave.
        let twice =
            format!("{one}{one}vmess://hunter2\nss://YTpi@{0}?plugin=sh#Shell\n", "[::2]:1");
        let provider = Provider::start(FOREIGN_SITE, Family::V4, PORT, Reply::ok(&twice));
        let mut living = connect(FOREIGN_SITE.port(Family::V4, service::ECHO));
        echo(&mut living, b"before").expect("a server that works");
        reload(&snet, "\"p\": 2 servers of a list of links, of now; passed over: 1 vmess; 1 unfit");
        let (from, head) = provider.asked().pop().expect("it was asked");
        assert_ne!(from, MACHINE.ip(Family::V4), "directly");
        assert!(head.contains("GET /hunter2 HTTP/1.1\r\n"), "{head}");
        assert!(head.to_ascii_lowercase().contains("user-agent: snet/"), "{head}");
        let server = PROXY.port(Family::V4, shadowsocks::LIBEV_PORT);
        let password = shadowsocks::PASSWORD.replace(' ', "%20");
        let ss = format!("ss://{METHOD}:{password}@{server}#Two\n");
        provider.says(Reply::ok(&format!("{ss}{one}")));
        reload(&snet, "\"p\": 2 servers of a list of links, of now\n");
        echo(&mut living, b"after").expect("its server stayed");
        // A server that has not answered yet stands behind one that has.
        let answers = |line: &str| line.contains("INFO answers, ") && line.contains("\"p/Two\"");
        assert!(wait::quietly(PATIENCE, || snet.log().lines().any(answers)), "{}", snet.log());
        works("through another server");
        let via = || snet.log().contains("\"p/Two\" up=");
        assert!(wait::quietly(PATIENCE, via), "{}", snet.log());

        // What it should not say changes nothing.
        let good = fs::read(&kept).expect("it is kept");
        let large = Reply { body: vec![b'a'; 1 << 20], times: 100, ..Reply::ok("") };
        for (reply, expected) in [
            (Reply::ok(""), "found nothing; accepted: "),
            (Reply::ok("<html><title>Log in</title>"), "found a web page, \"Log in\"; "),
            (Reply::ok("vmess://hunter2"), "links without a server that snet can use; passed over"),
            (Reply { missing: 100, ..Reply::ok(&one) }, "end of file before message length"),
            (Reply { status: "403 Forbidden", ..Reply::ok("no") }, "says 403 Forbidden"),
            (Reply { status: "302 Found", ..Reply::ok("") }, "it does not say where"),
            (large, "sends more than 8 MiB"),
        ] {
            provider.says(reply);
            reload(&snet, expected);
            works(expected);
        }
        provider.says(Reply { status: "302 Found", ..Reply::ok("") }.with("Location: /hunter2"));
        reload(&snet, "more than 3 redirections");
        assert_eq!(fs::read(&kept).expect("it is kept"), good);
        echo(&mut living, b"at last").expect("its server stayed");

        // The next start begins where this one was.
        drop(living);
        let log = snet.whole_log();
        snet.stop();
        provider.says(Reply::ok(""));
        let snet = start(&file);
        says(&snet, "\"p\": 2 servers of a list of links");
        works("from the kept body");
        let log = format!("{log}{}", snet.whole_log());
        assert!(!log.contains("hunter2") && !log.contains(shadowsocks::PASSWORD), "{log}");
        snet.stop();
        assert_eq!(counters.leaked(), 0, "nothing goes directly");
    });
}

#[test]
fn without_any_server_at_first() {
    sealed(|| {
        service::start();
        let _names = [names::trusted(), names::system()];
        let _domestic = names::domestic_and("dns.example", FOREIGN_TWIN);
        let (_tinyproxy, _) = http_proxy::tinyproxy(Family::V4);
        let body = format!(
            "proxies:\n  - {{name: One, type: http, server: {}, port: {}}}\n",
            PROXY.ip(Family::V4),
            http_proxy::TINYPROXY_PORT
        );
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(body.as_bytes()).expect("a Vec");
        let packed = packed.finish().expect("a Vec");
        let (file, kept) = file(&[], "https://dns.example/sub?token=hunter2", "");
        let snet = start(&file);
        says(&snet, "\"p\": no server is known yet");
        // Refused, and not sent directly.
        failure(FOREIGN_SITE.port(Family::V4, service::ECHO));
        let reply = Reply { body: packed, ..Reply::ok("") }
            .with("Content-Encoding: gzip")
            .with("ETag: \"one\"")
            .with("subscription-userinfo: upload=0; download=1073741824; total=10737418240");
        let provider = Provider::with_tls(FOREIGN_TWIN, Family::V4, 443, reply);
        let expected = "\"p\": 1 server of a Clash file, of now; 9.0 GiB of 10.0 GiB left";
        assert!(wait::quietly(PATIENCE * 2, || snet.log().contains(expected)), "{}", snet.log());
        works("the first server");
        let (from, head) = provider.asked().pop().expect("it was asked");
        assert_eq!(from, MACHINE.ip(Family::V4), "directly: there was no proxy");
        assert!(head.starts_with("GET /sub?token=hunter2 HTTP/1.1\r\n"), "{head}");
        assert!(KeptBody::read(&kept).expect("it is ours").is_some());
        reload(&snet, "\"p\": unchanged, asked ");
        // Another body at an address that is not trusted: without TLS, or with another name.
        provider.says(
            Reply { status: "302 Found", ..Reply::ok("") }.with("Location: http://dns.example/"),
        );
        reload(&snet, "to a server without TLS, which is not followed");
        let elsewhere = format!("Location: https://{}/", FOREIGN_TWIN.ip(Family::V4));
        provider.says(Reply { status: "302 Found", ..Reply::ok("") }.with(&elsewhere));
        reload(&snet, "TLS: invalid peer certificate");
        let log = snet.whole_log();
        assert!(!log.contains("hunter2"), "{log}");
        snet.stop();
    });
}
