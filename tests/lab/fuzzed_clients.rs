//! Garbage on the open ports does no harm.

use crate::client::{connect, echo, try_connect};
use crate::peer::{names, service};
use crate::snet::{Config, DNS_PORT, Snet, TCP_PORT, dig};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::world::{FOREIGN_SITE, Family, sealed};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

#[test]
fn garbage_does_no_harm() {
    sealed(|| {
        service::start();
        let _names = [names::domestic(), names::trusted(), names::system()];
        let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
        let mut snet = Snet::start(Variant::Nft, &Config::through(Family::V4, &[proxy]));
        assert!(dig("+short foreign.example").contains("203.0.113.10"));
        let resting = snet.descriptors();
        for address in LOOPBACK {
            datagrams(SocketAddr::new(address, DNS_PORT));
            streams(SocketAddr::new(address, DNS_PORT));
            uninvited(SocketAddr::new(address, TCP_PORT));
            snet.assert_alive();
        }
        let domestic = dig("domestic.example");
        assert!(domestic.contains("198.51.100.10"), "{domestic}\n{}", snet.log());
        let foreign = dig("+tcp foreign.example AAAA");
        assert!(foreign.contains("2001:db8:f::10"), "{foreign}\n{}", snet.log());
        let mut stream = connect(FOREIGN_SITE.port(Family::V4, service::ECHO));
        echo(&mut stream, b"hello").expect("an echo");
        drop(stream);
        snet.wait_for_descriptors(resting + 8);
        snet.stop();
    });
}

/// Every length, random bytes, and queries that are almost right.
fn datagrams(server: SocketAddr) {
    let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).expect("a free port");
    socket.connect(server).expect("loopback");
    let mut random = Random(1);
    for length in 0..1500 {
        let bytes: Vec<u8> = (0..length).map(|_| random.byte()).collect();
        socket.send(&bytes).expect("the port is open");
    }
    let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07foreign\x07example\0\0\x01\0\x01";
    for at in 0..query.len() {
        let mut bent = query.to_vec();
        bent[at] ^= random.byte() | 1;
        socket.send(&bent).expect("the port is open");
        socket.send(&query[..at]).expect("the port is open");
    }
}

/// DNS over TCP (RFC 7766): lengths that lie, halves, silence.
fn streams(server: SocketAddr) {
    let mut random = Random(2);
    let mut open = Vec::new();
    for number in 0..200 {
        let Ok(mut stream) = try_connect(server) else { continue };
        let bytes: Vec<u8> = (0..number % 50).map(|_| random.byte()).collect();
        // It may have been closed already.
        let _ = stream.write_all(&bytes);
        open.push(stream);
    }
}

/// Nobody redirected these: an open proxy or a loop would serve them.
fn uninvited(server: SocketAddr) {
    for _ in 0..50 {
        // The reset may come as early as in connect().
        let heard = try_connect(server).and_then(|mut stream| {
            stream.write_all(b"CONNECT 203.0.113.10:80 HTTP/1.1\r\n\r\n")?;
            stream.read(&mut [0; 64])
        });
        let kind = heard.expect_err("an uninvited connection is reset").kind();
        assert!(matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{kind:?}");
    }
}

/// xorshift64 (Marsaglia 2003): the same garbage each time.
struct Random(u64);

impl Random {
    fn byte(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.to_le_bytes()[3]
    }
}
