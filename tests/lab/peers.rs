//! The laboratory itself: every peer does its work without snet.

use crate::client::{connect, curl, echo, get, try_connect};
use crate::digest::Digest;
use crate::peer::http_proxy::{self, PASSWORD, SQUID_PORT, USER};
use crate::peer::{forger, names, nginx, service, shadowsocks};
use crate::process::{Place, command, finish};
use crate::snet::dig;
use crate::world::{
    DOMESTIC_SITE, FAMILIES, FOREIGN_SITE, FORGED, Family, MACHINE, PROXY, SILENT_FOREIGN, sealed,
};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

#[test]
fn sites_answer_directly() {
    sealed(|| {
        let _sites = nginx::sites(None);
        for family in FAMILIES {
            for site in [DOMESTIC_SITE, FOREIGN_SITE] {
                let who = get(&format!("http://{}/who", site.port(family, 80)));
                assert_eq!(who, MACHINE.ip(family).to_string());
            }
        }
    });
}

#[test]
fn name_servers_answer() {
    sealed(|| {
        let _servers = [names::domestic(), names::trusted(), names::system()];
        assert_eq!(dig("+short foreign.example"), "10.0.2.2\n");
        assert_eq!(dig("+short +tcp foreign.example"), "10.0.2.2\n");
        assert_eq!(dig("+short @198.51.100.53 foreign.example"), "203.0.113.66\n");
        assert_eq!(dig("+short @2001:db8:f::53 foreign.example AAAA"), "2001:db8:f::10\n");
        assert!(dig("@203.0.113.53 absent.example").contains("NXDOMAIN"));
        // Programs ask the system's server.
        let curl = curl(&["-v4", "--max-time", "5", "http://foreign.example:1/"]);
        assert!(curl.stderr.contains("10.0.2.2:1"), "{}", curl.stderr);
    });
}

#[test]
fn forgers_overtake() {
    sealed(|| {
        forger::start(forger::Forgery::Foreign);
        let answer = dig("+short @198.51.100.53 foreign.example");
        assert_eq!(answer, format!("{}\n", FORGED.ip(Family::V4)));
        let answer = dig("+short @2001:db8:c::53 foreign.example AAAA");
        assert_eq!(answer, format!("{}\n", FORGED.ip(Family::V6)));
    });
}

#[test]
fn http_proxies_connect() {
    sealed(|| {
        let _sites = nginx::sites(None);
        for family in FAMILIES {
            let url = format!("http://{}/who", FOREIGN_SITE.port(family, 80));
            let expected = FOREIGN_SITE.ip(family).to_string();
            let _tinyproxy = http_proxy::tinyproxy(family);
            let _squid = http_proxy::squid(family);
            let squid = PROXY.port(family, SQUID_PORT);
            let user = format!("{USER}:{PASSWORD}");
            let through = |proxy: &str, user: &str| {
                let arguments = ["-sS", "-p", "--max-time", "5", "-x", proxy, "-U", user, &url];
                finish(command(Place::Machine, "curl").args(arguments))
            };
            let tinyproxy = format!("http://{}", PROXY.port(family, 8888));
            assert_eq!(through(&tinyproxy, "a:b").stdout.trim(), expected);
            let squid = format!("http://{squid}");
            assert_eq!(through(&squid, &user).stdout.trim(), expected);
            assert!(through(&squid, "me:wrong").stderr.contains("407"));
        }
    });
}

#[test]
fn shadowsocks_servers_connect() {
    sealed(|| {
        let _sites = nginx::sites(None);
        for method in shadowsocks::METHODS {
            for family in FAMILIES {
                let _server = shadowsocks::libev(family, method);
                let _rust = shadowsocks::rust(family, method);
                let _local = shadowsocks::local(family, method);
                let url = format!("http://{}/who", FOREIGN_SITE.port(family, 80));
                let mut curl = command(Place::Internet, "curl");
                let arguments = ["-sS", "--max-time", "5", "--socks5", "127.0.0.1:1080", &url];
                let finished = finish(curl.args(arguments));
                let expected = FOREIGN_SITE.ip(family).to_string();
                assert_eq!(finished.stdout.trim(), expected, "{}", finished.stderr);
            }
        }
    });
}

#[test]
fn services_do_what_they_say() {
    sealed(|| {
        let seen = service::start();
        for family in FAMILIES {
            let at = |port| connect(FOREIGN_SITE.port(family, port));
            echo(&mut at(service::ECHO), b"hello").expect("an echo");

            let mut greeted = at(service::GREET);
            let mut greeting = [0; service::GREETING.len()];
            greeted.read_exact(&mut greeting).expect("a greeting");
            assert_eq!(greeting, service::GREETING);

            let mut hashed = at(service::HASH);
            hashed.write_all(b"hello").expect("a reader");
            hashed.shutdown(Shutdown::Write).expect("half a connection");
            assert_eq!(all(&mut hashed), Digest::of(b"hello").as_bytes());

            let mut left = at(service::LEAVE);
            assert!(all(&mut left) == service::farewell());
            left.write_all(b"still here").expect("the other half lives");
            drop(left);
            crate::wait::until("the other half's digest", Duration::from_secs(5), || {
                let visits = seen.at(FOREIGN_SITE.port(family, service::LEAVE));
                visits.iter().any(|visit| visit.end == Some(Digest::of(b"still here")))
            });

            let mut reset = at(service::RESET);
            reset.write_all(b"hello").expect("a reader");
            let error = reset.read(&mut [0; 8]).expect_err("a reset");
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);

            let file = nginx::file(1 << 20);
            let url = format!("http://{}/", FOREIGN_SITE.port(family, service::UPLOAD));
            let uploaded = curl(&["-T", &file.display().to_string(), &url]);
            assert_eq!(uploaded.stdout, Digest::of_file(&file));
        }
    });
}

#[test]
fn silent_hosts_are_silent() {
    sealed(|| {
        for family in FAMILIES {
            let address = SILENT_FOREIGN.port(family, 80);
            let error = TcpStream::connect_timeout(&address, Duration::from_secs(1));
            assert_eq!(error.expect_err("silence").kind(), ErrorKind::TimedOut);
            let nobody = try_connect(FOREIGN_SITE.port(family, 80));
            assert_eq!(nobody.expect_err("no listener").kind(), ErrorKind::ConnectionRefused);
        }
    });
}

fn all(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an end");
    bytes
}
