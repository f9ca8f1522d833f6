//! HTTPS proxies, over HTTP/1.1 and over HTTP/2: everything that a program sees of a connection,
//! and what TLS adds to it.

use crate::client::{connect, curl, echo, try_connect};
use crate::digest::Digest;
use crate::peer::connect_proxy::{self, After, BANNER};
use crate::peer::https_proxy::{HTTPS_PROXIES, HttpsProxy, PORT};
use crate::peer::{nginx, service};
use crate::process::{Place, command, finish};
use crate::snet::{self, Config, Snet};
use crate::variant::Variant;
use crate::wait;
use crate::world::{FAMILIES, FOREIGN_SITE, Family, PROXY, sealed};
use nix::sys::signal::Signal;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

/// Where an answer comes after 400 ms.
const LATE: u16 = 7010;

/// Where nobody listens.
const CLOSED: u16 = 7011;

#[test]
fn everything_through_https() {
    sealed(|| {
        service::start();
        for family in FAMILIES {
            service::tcp(FOREIGN_SITE.port(family, LATE), |mut stream| {
                let _ = stream.read(&mut [0; 64]);
                std::thread::sleep(Duration::from_millis(400));
                let _ = stream.write_all(b"the answer");
            });
        }
        for proxy in HTTPS_PROXIES {
            for family in FAMILIES {
                println!("{proxy:?} {family:?}");
                let (_servers, line) = proxy.start(family);
                what_a_program_sees(family, line);
            }
        }
    });
}

/// squid stands last, so nothing waits for the end of a half here.
fn what_a_program_sees(family: Family, line: String) {
    let snet = Snet::start(Variant::Native, &Config::through(family, &[line]));
    let at = |port| FOREIGN_SITE.port(family, port);
    let mut greeted = connect(at(service::GREET));
    let mut greeting = [0; service::GREETING.len()];
    greeted.read_exact(&mut greeting).expect("a greeting");
    assert_eq!(greeting, service::GREETING, "the server speaks first");
    echo(&mut greeted, &vec![0x5a; 100_000]).expect("an echo");

    let mut left = connect(at(service::LEAVE));
    let mut farewell = Vec::new();
    left.read_to_end(&mut farewell).expect("an end");
    assert!(farewell == service::farewell(), "the server ended its half first");

    let file = nginx::file(16 << 20);
    let url = format!("http://{}/", at(service::UPLOAD));
    let uploaded = curl(&["-T", &file.display().to_string(), &url]);
    assert_eq!(uploaded.stdout, Digest::of_file(&file), "{}", uploaded.stderr);

    // The answer comes later than a FIN would.
    let mut asked = connect(at(LATE));
    asked.write_all(b"question").expect("a reader");
    asked.shutdown(Shutdown::Write).expect("half a connection");
    let mut answer = Vec::new();
    asked.read_to_end(&mut answer).expect("an end");
    assert_eq!(answer, b"the answer");

    let mut reset = connect(at(service::RESET));
    reset.write_all(b"hello").expect("a reader");
    let end = reset.read(&mut [0; 8]).or_else(|error| match error.kind() {
        ErrorKind::ConnectionReset => Ok(0),
        _ => Err(error),
    });
    assert_eq!(end.expect("an end"), 0);
    snet.stop();
}

#[test]
fn a_banner_in_one_segment_with_the_200_is_kept_over_tls() {
    sealed(|| {
        service::start();
        for family in FAMILIES {
            let address = PROXY.port(family, PORT);
            let (behind, _) = connect_proxy::listening(family, After::Banner);
            let _haproxy = HttpsProxy::Haproxy.before(address, behind);
            let line = snet::https_proxy(address, None);
            let snet = Snet::start(Variant::Nft, &Config::through(family, &[line]));
            let mut stream = connect(FOREIGN_SITE.port(family, service::ECHO));
            let mut banner = [0; BANNER.len()];
            stream.read_exact(&mut banner).expect("the banner");
            assert_eq!(banner, BANNER);
            echo(&mut stream, b"and the rest").expect("an echo");
            snet.stop();
        }
    });
}

/// curl takes a file that ends so for whole.
#[test]
fn an_end_without_close_notify_is_a_reset() {
    sealed(|| {
        service::start();
        for proxy in HTTPS_PROXIES {
            println!("{proxy:?}");
            let (mut servers, line) = proxy.start(Family::V4);
            let snet = Snet::start(Variant::Nft, &Config::through(Family::V4, &[line]));
            let mut stream = connect(FOREIGN_SITE.port(Family::V4, service::ECHO));
            echo(&mut stream, b"half of it").expect("an echo");
            // The kernel closes its connections for it.
            let tls = servers.last_mut().expect("one at least");
            tls.signal(Signal::SIGKILL);
            tls.wait(Duration::from_secs(10));
            let end = stream.read(&mut [0; 8]);
            assert_eq!(end.expect_err("a reset").kind(), ErrorKind::ConnectionReset, "{proxy:?}");
            snet.stop();
        }
    });
}

/// In its first minute, again and again.
#[test]
fn an_https_proxy_restarts() {
    sealed(|| {
        service::start();
        for proxy in [HttpsProxy::Squid, HttpsProxy::Nghttpx] {
            println!("{proxy:?}");
            let (mut servers, line) = proxy.start(Family::V6);
            let snet = Snet::start(Variant::Native, &Config::through(Family::V6, &[line]));
            for round in 0..3 {
                let mut stream = connect(FOREIGN_SITE.port(Family::V6, service::ECHO));
                echo(&mut stream, b"hello").unwrap_or_else(|error| panic!("{round}: {error}"));
                drop(servers);
                (servers, _) = proxy.start(Family::V6);
                wait::until("it is served again", Duration::from_secs(10), || {
                    let mut stream = connect(FOREIGN_SITE.port(Family::V6, service::ECHO));
                    echo(&mut stream, b"hello").is_ok()
                });
            }
            snet.stop();
        }
    });
}

#[test]
fn tunnels_of_http2_share_few_connections() {
    sealed(|| {
        service::start();
        for proxy in HTTPS_PROXIES.into_iter().filter(|proxy| proxy.is_http2()) {
            println!("{proxy:?}");
            let (_servers, line) = proxy.start(Family::V4);
            let snet = Snet::start(Variant::Nft, &Config::through(Family::V4, &[line]));
            let mut open: Vec<_> =
                (0..100).map(|_| connect(FOREIGN_SITE.port(Family::V4, service::ECHO))).collect();
            // All at once, of a server that is not known yet.
            for stream in &mut open {
                stream.write_all(b"hello").expect("a reader");
            }
            for stream in &mut open {
                stream.read_exact(&mut [0; 5]).expect("an echo");
            }
            let mut ss = command(Place::Machine, "ss");
            let filter = format!("dport = :{PORT}");
            let shown = finish(ss.args(["-Hnt", "state", "established", &filter])).stdout;
            assert!((1..=4).contains(&shown.lines().count()), "{shown}");
            // One that is reset takes none with it.
            drop(open.drain(..50));
            for stream in &mut open {
                echo(stream, b"still").expect("an echo");
            }
            snet.stop();
        }
    });
}

/// Before the tunnel stands, from the second connection on.
#[test]
fn what_a_program_says_at_once_arrives_once_over_http2() {
    sealed(|| {
        service::start();
        for proxy in HTTPS_PROXIES.into_iter().filter(|proxy| proxy.is_http2()) {
            println!("{proxy:?}");
            let (_servers, line) = proxy.start(Family::V4);
            let snet = Snet::start(Variant::Nft, &Config::through(Family::V4, &[line]));
            let soon = Duration::from_secs(10);
            wait::until("an answer", soon, || snet.log().contains("INFO answers,"));
            for round in 0..30 {
                let said: Vec<u8> = (0..1 + round * 900).map(|at| (at + round) as u8).collect();
                let mut stream = connect(FOREIGN_SITE.port(Family::V4, service::ECHO));
                stream.write_all(&said).expect("a reader");
                let mut back = vec![0; said.len()];
                stream.read_exact(&mut back).expect("an echo");
                assert!(back == said, "{round}");
                echo(&mut stream, b"and no more").expect("an echo");
                // Nobody listens there: the proxy says so, and goes on.
                let mut refused = connect(FOREIGN_SITE.port(Family::V4, CLOSED));
                let _ = refused.write_all(&said);
                assert!(!matches!(refused.read(&mut [0; 8]), Ok(1..)), "{round}");
            }
            assert!(!snet.lines("WARN").iter().any(|line| line.contains("is down")));
            snet.stop();
        }
    });
}

/// Each of which has carried bytes.
#[test]
fn an_idle_connection_over_tls_holds_little() {
    const FEW: u64 = 200;
    const MANY: u64 = 1000;
    const MOST: u64 = 24 << 10;
    sealed(|| {
        service::start();
        for proxy in [HttpsProxy::Squid, HttpsProxy::HaproxyHttp2] {
            let (_servers, line) = proxy.start(Family::V4);
            let line = line.replace("\"2s\"", "\"30s\"");
            let snet = Snet::start(Variant::Native, &Config::through(Family::V4, &[line]));
            let hold = |number: u64| -> Vec<_> {
                let held = (0..number).map(|_| {
                    let mut stream = connect(FOREIGN_SITE.port(Family::V4, service::ECHO));
                    echo(&mut stream, &[7; 1000]).expect("an echo");
                    stream
                });
                held.collect()
            };
            // A server that has only just begun may refuse the first tunnel.
            wait::until("the first one", Duration::from_secs(10), || {
                let site = FOREIGN_SITE.port(Family::V4, service::ECHO);
                try_connect(site).is_ok_and(|mut stream| echo(&mut stream, b"first").is_ok())
            });
            // Threads, arenas and pools reach their size.
            let _few = hold(FEW);
            let before = snet.memory();
            let _many = hold(MANY);
            let each = snet.memory().saturating_sub(before) * 1024 / MANY;
            assert!(each <= MOST, "{proxy:?}: {each} bytes for each");
            snet.stop();
        }
    });
}
