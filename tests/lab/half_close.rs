//! How connections begin and end: who speaks first, half-close, reset.

use crate::client::{connect, echo, try_connect};
use crate::digest::Digest;
use crate::peer::connect_proxy::{self, After};
use crate::peer::service;
use crate::snet::{Config, Snet, shadowsocks};
use crate::upstream::{UPSTREAMS, Upstream};
use crate::variant::Variant;
use crate::wait;
use crate::world::{FAMILIES, FOREIGN_SITE, Family, PROXY, sealed};
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// More than the buffers of two sockets on the way.
const MUCH: usize = 3 << 20;

#[test]
fn half_closed_through_shadowsocks() {
    sealed(|| {
        for family in FAMILIES {
            let (_server, proxy) = Upstream::Rust("chacha20-ietf-poly1305").start(family);
            half_closed_both_ways(Variant::Nft, family, proxy);
        }
    });
}

#[test]
fn half_closed_through_http() {
    sealed(|| {
        for family in FAMILIES {
            half_closed_both_ways(
                Variant::Legacy,
                family,
                connect_proxy::start(family, After::Carry),
            );
        }
    });
}

fn half_closed_both_ways(variant: Variant, family: Family, proxy: String) {
    let seen = service_once();
    let snet = Snet::start(variant, &Config::through(family, &[proxy]));

    let bytes = vec![0x5a; MUCH];
    let mut stream = connect(FOREIGN_SITE.port(family, service::HASH));
    stream.write_all(&bytes).expect("a reader");
    stream.shutdown(Shutdown::Write).expect("half a connection");
    assert_eq!(all(&mut stream), Digest::of(&bytes).as_bytes(), "the client ended its half first");

    let at = FOREIGN_SITE.port(family, service::LEAVE);
    let mut stream = connect(at);
    assert!(all(&mut stream) == service::farewell(), "the server's farewell was cut or changed");
    stream.write_all(&bytes).expect("the other half lives");
    drop(stream);
    let expected = Some(Digest::of(&bytes));
    wait::until("the server hears the client to its end", Duration::from_secs(10), || {
        seen.at(at).iter().any(|visit| visit.end == expected)
    });
    snet.stop();
}

/// Those that drop the answer when the client's FIN reaches them, and one that does not.
#[test]
fn an_answer_outlives_the_clients_fin() {
    sealed(|| {
        for family in FAMILIES {
            let at = FOREIGN_SITE.port(family, 7000);
            service::tcp(at, |mut stream| {
                let _ = stream.read(&mut [0; 64]);
                // Longer than a FIN takes to get here.
                std::thread::sleep(Duration::from_millis(400));
                let _ = stream.write_all(b"the answer");
            });
            for upstream in
                [Upstream::Squid, Upstream::Tinyproxy, Upstream::Microsocks, Upstream::Dante]
            {
                println!("{upstream:?} {family:?}");
                let (_server, proxy) = upstream.start(family);
                let snet = Snet::start(Variant::Nft, &Config::through(family, &[proxy]));
                let mut stream = connect(at);
                stream.write_all(b"question").expect("a reader");
                stream.shutdown(Shutdown::Write).expect("half a connection");
                assert_eq!(all(&mut stream), b"the answer", "{upstream:?} {family:?}");
                snet.stop();
            }
        }
    });
}

#[test]
fn half_closed_through_dante() {
    sealed(|| {
        for family in FAMILIES {
            let (_server, proxy) = Upstream::Dante.start(family);
            half_closed_both_ways(Variant::Nft, family, proxy);
        }
    });
}

/// Big peers lose it.
#[test]
fn a_banner_in_one_segment_with_the_200_is_kept() {
    sealed(|| {
        service::start();
        for family in FAMILIES {
            let proxy = connect_proxy::start(family, After::Banner);
            let snet = Snet::start(Variant::Nft, &Config::through(family, &[proxy]));
            let mut stream = connect(FOREIGN_SITE.port(family, service::ECHO));
            let mut banner = [0; connect_proxy::BANNER.len()];
            stream.read_exact(&mut banner).expect("the banner");
            assert_eq!(banner, connect_proxy::BANNER);
            echo(&mut stream, b"and the rest").expect("an echo");
            snet.stop();
        }
    });
}

#[test]
fn who_speaks_first_is_heard_at_once() {
    sealed(|| {
        service::start();
        for family in FAMILIES {
            for upstream in UPSTREAMS {
                println!("{upstream:?} {family:?}");
                let (_server, proxy) = upstream.start(family);
                let snet = Snet::start(Variant::Nft, &Config::through(family, &[proxy]));
                let began = Instant::now();
                let mut stream = connect(FOREIGN_SITE.port(family, service::GREET));
                let mut greeting = [0; service::GREETING.len()];
                stream.read_exact(&mut greeting).expect("a greeting");
                assert_eq!(greeting, service::GREETING);
                // Against the time-outs of those who wait for the client to speak: 200 ms and more.
                assert!(began.elapsed() < Duration::from_millis(150), "{:?}", began.elapsed());
                echo(&mut stream, b"thank you").expect("an echo");
                drop(stream);
                snet.stop();
            }
        }
    });
}

#[test]
fn reset_by_the_other_side_is_a_reset_here() {
    sealed(|| {
        for family in FAMILIES {
            service::tcp(PROXY.port(family, 8390), |mut stream| {
                let _ = stream.read(&mut [0; 64]);
                service::reset_now(stream);
            });
            let sealed = shadowsocks(PROXY.port(family, 8390), "aes-256-gcm", "any");
            let plain = connect_proxy::start(family, After::Reset);
            for proxy in [plain, sealed] {
                let snet = Snet::start(Variant::Nft, &Config::through(family, &[proxy]));
                // It may be there before the program has written, or knows that it is connected.
                let site = try_connect(FOREIGN_SITE.port(family, service::ECHO));
                let heard = site.and_then(|mut stream| {
                    stream.write_all(b"hello")?;
                    stream.read(&mut [0; 8])
                });
                assert_eq!(heard.expect_err("a reset").kind(), ErrorKind::ConnectionReset);
                snet.stop();
            }
        }
    });
}

/// How long an end may take to be seen.
const END: Duration = Duration::from_secs(10);

#[test]
fn reset_here_is_a_reset_on_the_other_side() {
    sealed(|| {
        for family in FAMILIES {
            let (ended, ends) = mpsc::channel();
            let tell = move |stream: &mut TcpStream| {
                let mut buffer = [0; 4096];
                let end = loop {
                    match stream.read(&mut buffer) {
                        Ok(0) => break None,
                        Ok(_) => {}
                        Err(error) => break Some(error.kind()),
                    }
                };
                let _ = ended.send(end);
            };
            let tell_too = tell.clone();
            service::tcp(PROXY.port(family, 8390), move |mut stream| tell(&mut stream));
            let sealed = shadowsocks(PROXY.port(family, 8390), "aes-256-gcm", "any");
            let plain = connect_proxy::start_with(family, move |mut stream| tell_too(&mut stream));
            for proxy in [plain, sealed] {
                let snet = Snet::start(Variant::Nft, &Config::through(family, &[proxy]));
                let mut stream = connect(FOREIGN_SITE.port(family, service::ECHO));
                stream.write_all(b"hello").expect("a reader");
                // Let the bytes arrive: a reset may overtake them.
                std::thread::sleep(Duration::from_millis(200));
                SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket");
                drop(stream);
                // A question whether the proxy answers ends in order, before it or after it.
                let mut ends =
                    std::iter::repeat_with(|| ends.recv_timeout(END)).map_while(Result::ok);
                let is_reset = ends.any(|end| end == Some(ErrorKind::ConnectionReset));
                assert!(is_reset, "{family:?}\n{}", snet.log());
                snet.stop();
            }
        }
    });
}

/// The services, started by whoever asks first.
fn service_once() -> service::Seen {
    use std::sync::OnceLock;
    static SEEN: OnceLock<service::Seen> = OnceLock::new();
    SEEN.get_or_init(service::start).clone()
}

fn all(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an end");
    bytes
}
