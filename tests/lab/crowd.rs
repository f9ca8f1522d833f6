//! Many connections: at once, and one after the other. Descriptors and memory stay flat.

use crate::client::{connect, echo};
use crate::counters::Counters;
use crate::peer::https_proxy::HttpsProxy;
use crate::peer::service;
use crate::snet::{Config, Snet};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::world::{FOREIGN_SITE, Family, sealed};
use nix::sys::signal::Signal;
use std::io::{Read, Write};

const AT_ONCE: usize = 2000;
const IN_A_ROW: usize = 10_000;

#[test]
fn two_thousand_at_once_through_shadowsocks() {
    sealed(|| {
        let (_server, proxy) = Upstream::Libev("chacha20-ietf-poly1305").start(Family::V4);
        at_once(Variant::Nft, Family::V4, proxy, 2 * AT_ONCE);
    });
}

#[test]
fn two_thousand_at_once_through_shadowsocks_2022() {
    sealed(|| {
        let (_server, proxy) = Upstream::Rust("2022-blake3-aes-128-gcm").start(Family::V6);
        at_once(Variant::Native, Family::V6, proxy, 2 * AT_ONCE);
    });
}

#[test]
fn two_thousand_at_once_through_socks() {
    sealed(|| {
        let (_server, proxy) = Upstream::Microsocks.start(Family::V4);
        at_once(Variant::Native, Family::V4, proxy, 2 * AT_ONCE);
    });
}

#[test]
fn two_thousand_at_once_through_http() {
    sealed(|| {
        let (_server, proxy) = Upstream::Squid.start(Family::V6);
        at_once(Variant::Legacy, Family::V6, proxy, 2 * AT_ONCE);
    });
}

#[test]
fn two_thousand_at_once_through_https() {
    sealed(|| {
        let (_servers, proxy) = HttpsProxy::Squid.start(Family::V4);
        at_once(Variant::Nft, Family::V4, proxy, 2 * AT_ONCE);
    });
}

/// Of snet's descriptors, each has that of its program.
#[test]
fn two_thousand_at_once_through_http2() {
    sealed(|| {
        let (_servers, proxy) = HttpsProxy::HaproxyHttp2.start(Family::V6);
        at_once(Variant::Native, Family::V6, proxy, AT_ONCE);
    });
}

#[test]
fn ten_thousand_in_a_row_through_shadowsocks() {
    sealed(|| in_a_row(Variant::Legacy, Family::V6, Upstream::Libev("aes-128-gcm")));
}

#[test]
fn ten_thousand_in_a_row_through_http() {
    sealed(|| in_a_row(Variant::Nft, Family::V4, Upstream::Squid));
}

#[test]
fn a_stop_tells_of_each_connection_that_it_cuts() {
    sealed(|| {
        service::start();
        let (_server, proxy) = Upstream::Libev("aes-128-gcm").start(Family::V4);
        let mut snet = Snet::start(Variant::Native, &Config::through(Family::V4, &[proxy]));
        let mut open: Vec<_> = (0..50)
            .map(|_| {
                let mut stream = connect(FOREIGN_SITE.port(Family::V4, service::ECHO));
                echo(&mut stream, b"hello").expect("an echo");
                stream
            })
            .collect();
        drop(open.pop());
        snet.signal(Signal::SIGTERM);
        assert!(snet.wait().success(), "{}", snet.log());
        let log = snet.log();
        assert_eq!(log.matches("cut by the end of snet").count(), 49, "{log}");
        assert_eq!(log.matches("up=5 down=5").count(), 50, "{log}");
    });
}

fn at_once(variant: Variant, family: Family, proxy: String, least_descriptors: usize) {
    service::start();
    // A proxy may take its time for so many, and is not down for it.
    let proxy = proxy.replace("\"2s\"", "\"30s\"");
    let snet = Snet::start(variant, &Config::through(family, &[proxy]));
    let resting = snet.descriptors();
    let mut streams: Vec<_> =
        (0..AT_ONCE).map(|_| connect(FOREIGN_SITE.port(family, service::ECHO))).collect();
    for (number, stream) in streams.iter_mut().enumerate() {
        stream.write_all(&number.to_be_bytes()).expect("a reader");
    }
    for (number, stream) in streams.iter_mut().enumerate() {
        let mut heard = [0; size_of::<usize>()];
        stream
            .read_exact(&mut heard)
            .unwrap_or_else(|error| panic!("connection {number}: {error}"));
        assert_eq!(usize::from_be_bytes(heard), number, "another connection's bytes");
    }
    assert!(snet.descriptors() > least_descriptors, "they were not all open at once");
    drop(streams);
    // Of HTTP/2, connections are kept for a while.
    snet.wait_for_descriptors(resting + 8 + 2 * AT_ONCE / 64);
    snet.stop();
}

fn in_a_row(variant: Variant, family: Family, upstream: Upstream) {
    service::start();
    let counters = Counters::start();
    let (_server, proxy) = upstream.start(family);
    let snet = Snet::start(variant, &Config::through(family, &[proxy]));
    let once = || {
        let mut stream = connect(FOREIGN_SITE.port(family, service::ECHO));
        echo(&mut stream, b"a short one").expect("an echo");
    };
    // Threads, arenas and pools reach their size.
    let warm = IN_A_ROW / 5;
    (0..warm).for_each(|_| once());
    let (descriptors, memory) = (snet.descriptors(), snet.memory());
    (warm..IN_A_ROW).for_each(|_| once());
    snet.wait_for_descriptors(descriptors + 8);
    let grown = snet.memory().saturating_sub(memory);
    assert!(grown < 2048, "memory grew by {grown} KiB from {memory} KiB");
    assert_eq!(counters.captured(), IN_A_ROW as u64);
    assert_eq!(counters.leaked(), 0);
    snet.stop();
}
