//! Packets of another implementation, packets that were touched, and a server on loopback.

use super::*;
use crate::mark::Fwmark;
use crate::net::{Outbound, Refusal, udp};
use crate::proxy::endpoint::Endpoint;
use crate::proxy::server::ProxyServer;
use crate::proxy::shadowsocks::Shadowsocks;
use crate::proxy::shadowsocks::cipher::method::Method;
use crate::proxy::{Error, Proxy};
use crate::secret::Secret;
use proptest::prelude::*;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

const METHODS: [Method; 3] = [Method::Aes128Gcm, Method::Aes256Gcm, Method::Chacha20IetfPoly1305];

fn codec(method: Method) -> SaltedDatagrams {
    SaltedDatagrams::new(MasterKey::new(method, &Secret::new("secret")).unwrap())
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// A packet with this address and payload.
fn sealed(method: Method, target: &Target, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    codec(method).seal(target, payload, &mut packet).unwrap();
    packet
}

fn site() -> SocketAddr {
    "192.0.2.1:53".parse().unwrap()
}

/// Made with the Python package `cryptography`: HKDF(SHA1, n, salt=bytes(range(n)), b"ss-subkey")
/// of the master key of "secret", then nonce zero over the SOCKS5 address of [`site`], or of
/// [2001:db8::1]:443, and b"hello".
#[test]
fn packets_of_another_implementation() {
    for (method, v4, v6) in [
        (
            Method::Aes128Gcm,
            "6498a4659ac46dba8096ccc8c94c12f3cd076c871f3d87705ddd4f09",
            "6178a56a23c458d2e5faa0a7b8b7ae7afe9681ba35e0d72ba0c7ba2ffec4b76bbe4ea01b380ef39f",
        ),
        (
            Method::Aes256Gcm,
            "98ca1f29e8b55489e996e31b5f31991e464c43c8e3970ae89e2c3fcf",
            "9d2a1e2651b561e18cfa8f74fc89bea6b69213822c919b398e7788b997560f89b4e4699f55a0cbcd",
        ),
        (
            Method::Chacha20IetfPoly1305,
            "7c5507efb6c404bc6f26e6a944d673d3e1f072f5e550f6f3be918279",
            "79b506e00fc431d40a4a8ac62be39342a40a829bf5084a28ebc92a00660fc405aed070ae380b953c",
        ),
    ] {
        for (sealed, source) in [(v4, site()), (v6, "[2001:db8::1]:443".parse().unwrap())] {
            let salt: Vec<u8> = (0..method.key_len() as u8).collect();
            let mut packet = [salt, bytes(sealed)].concat();
            let opened = codec(method).open(&mut packet).unwrap();
            assert_eq!(opened.source, source, "{method}");
            assert_eq!(&packet[opened.payload], b"hello", "{method}");
        }
    }
}

#[test]
fn what_was_touched_or_cut_does_not_open() {
    for method in METHODS {
        let packet = sealed(method, &Target::addr(site()), b"hello");
        for byte in 0..packet.len() {
            let mut touched = packet.clone();
            touched[byte] ^= 0x40;
            assert_eq!(codec(method).open(&mut touched), Err(Unopenable::Forged), "byte {byte}");
            let mut cut = packet[..byte].to_vec();
            assert_eq!(codec(method).open(&mut cut), Err(Unopenable::Forged), "{byte} bytes");
        }
        let other = MasterKey::new(method, &Secret::new("another")).unwrap();
        let opened = SaltedDatagrams::new(other).open(&mut packet.clone());
        assert_eq!(opened, Err(Unopenable::Forged));
    }
}

#[test]
fn a_source_is_an_address() {
    let method = Method::Aes256Gcm;
    let mut named = sealed(method, &Target::Name("example.com".into(), 53), b"hello");
    assert_eq!(codec(method).open(&mut named.clone()), Err(Unopenable::Source));
    let (target, payload) = codec(method).open_any(&mut named).unwrap();
    assert_eq!(target, Target::Name("example.com".into(), 53), "a server takes it");
    assert_eq!(&named[payload], b"hello");

    let mapped = Target::Addr("[::ffff:192.0.2.1]:53".parse().unwrap());
    let mut packet = sealed(method, &mapped, b"");
    assert_eq!(codec(method).open(&mut packet).unwrap().source, site(), "canonical");

    // Sealed with the key, and no address in it.
    let key = MasterKey::new(method, &Secret::new("secret")).unwrap();
    let mut packet = vec![0; method.key_len() + 3];
    let (salt, plain) = packet.split_at_mut(method.key_len());
    let tag = key.seal_packet(salt, plain).unwrap();
    packet.extend(tag);
    assert_eq!(codec(method).open(&mut packet), Err(Unopenable::Source));
}

#[test]
fn a_packet_has_the_longest_payload_of_udp() {
    let method = Method::Chacha20IetfPoly1305;
    let longest = LONGEST_PACKET - method.key_len() - 7 - TAG;
    assert_eq!(sealed(method, &Target::addr(site()), &vec![0; longest]).len(), LONGEST_PACKET);
    let mut packets = b"before".to_vec();
    let seal = |target: &Target, length: usize, packets: &mut Vec<u8>| {
        codec(method).seal(target, &vec![0; length], packets)
    };
    let refused = seal(&Target::addr(site()), longest + 1, &mut packets);
    assert_eq!(refused, Err(Unsealable::TooLarge));
    let unnamed = Target::Name("".into(), 1);
    assert_eq!(seal(&unnamed, 1, &mut packets), Err(Unsealable::Target));
    assert_eq!(packets, b"before", "nothing of it stays");
}

#[test]
fn no_salt_comes_twice() {
    let packet = || sealed(Method::Aes128Gcm, &Target::addr(site()), b"");
    let salts: HashSet<Vec<u8>> = (0..10_000).map(|_| packet()[..16].to_vec()).collect();
    assert_eq!(salts.len(), 10_000);
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        any::<SocketAddr>().prop_map(|address| Target::addr(without_scope(address))),
        ("[a-z0-9.-]{1,255}", any::<u16>())
            .prop_map(|(name, port)| Target::Name(name.into_boxed_str(), port)),
    ]
}

/// Neither scope nor flow label goes over the wire.
fn without_scope(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}

proptest! {
    #[test]
    fn what_was_sealed_opens(
        packets in prop::collection::vec(
            (target(), prop::collection::vec(any::<u8>(), 0..3000)),
            1..5,
        ),
        method in prop::sample::select(&METHODS[..]),
    ) {
        // One behind the other, as they are given to the kernel.
        let (mut codec, mut run, mut ends) = (codec(method), Vec::new(), vec![0]);
        for (target, payload) in &packets {
            codec.seal(target, payload, &mut run).unwrap();
            ends.push(run.len());
        }
        for ((target, payload), ends) in packets.iter().zip(ends.windows(2)) {
            let packet = &mut run[ends[0]..ends[1]];
            let (opened, range) = codec.open_any(packet).unwrap();
            prop_assert_eq!(&opened, target);
            prop_assert_eq!(&packet[range], &payload[..]);
        }
    }

    #[test]
    fn any_bytes(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(codec(Method::Aes256Gcm).open(&mut bytes), Err(Unopenable::Forged));
    }
}

fn proxy(port: u16) -> Shadowsocks {
    let endpoint = Endpoint::new("127.0.0.1", port);
    let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
    let server = ProxyServer::new("s".into(), Arc::new(endpoint), outbound);
    let key = MasterKey::new(Method::Aes256Gcm, &Secret::new("secret")).unwrap();
    Shadowsocks::new(server, key)
}

#[tokio::test]
async fn an_association_asks_a_server_and_hears_who_answers() {
    let server = udp::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = server.local_addr().unwrap().port();
    let server = server.listen().unwrap();
    let mut association = proxy(port).carrying_datagrams(true).associate().await.unwrap();
    assert!(association.lifeline.is_none());

    let mut packet = Vec::new();
    association.codec.seal(&Target::addr(site()), b"question", &mut packet).unwrap();
    association.socket.send(&packet).await.unwrap();

    let mut packet = vec![0; 1500];
    server.readable().await.unwrap();
    let (length, asker) = server.try_receive(&mut packet).unwrap();
    let theirs = codec(Method::Aes256Gcm);
    let (target, payload) = theirs.open_any(&mut packet[..length]).unwrap();
    assert_eq!((target, &packet[payload]), (Target::addr(site()), &b"question"[..]));
    let another = "[2001:db8::1]:3478".parse().unwrap();
    let reply = sealed(Method::Aes256Gcm, &Target::addr(another), b"answer");
    server.reply(&asker, &reply).unwrap();

    let mut packet = vec![0; 1500];
    let received = association.socket.recv(&mut packet);
    let length = timeout(Duration::from_secs(5), received).await.unwrap().unwrap();
    let opened = association.codec.open(&mut packet[..length]).unwrap();
    assert_eq!((opened.source, &packet[opened.payload]), (another, &b"answer"[..]));
}

#[tokio::test]
async fn a_server_without_udp_is_not_asked() {
    let refusing = proxy(1).carrying_datagrams(false);
    assert!(!refusing.carries_datagrams() && proxy(1).carrying_datagrams(true).carries_datagrams());
    let refused = refusing.associate().await;
    assert!(matches!(refused, Err(Error::NoDatagrams)), "{refused:?}");
}
