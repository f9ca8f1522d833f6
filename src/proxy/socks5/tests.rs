//! Against a little server on loopback that says what the test wants.

#![expect(clippy::disallowed_methods, reason = "this socket stays on loopback")]

use super::*;
use crate::mark::Fwmark;
use crate::net::{Outbound, Refusal, listen};
use crate::proxy::association::OpenedDatagram;
use crate::secret::Secret;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// What the server waits for, and what it says then, in one piece.
type Turn = (&'static [u8], &'static [u8]);

const OPEN: Turn = (&[5, 1, 0], &[5, 0]);
const CONNECT: &[u8] = &[5, 1, 0, 1, 192, 0, 2, 1, 0, 80];
const ASSOCIATE: &[u8] = &[5, 3, 0, 1, 0, 0, 0, 0, 0, 0];
const DONE: &[u8] = &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
/// "me" and "pw".
const PASSWORD: &[u8] = &[1, 2, b'm', b'e', 2, b'p', b'w'];

/// A server that takes one connection through these turns and hands it over. One that is written
/// byte by byte pauses between the bytes.
async fn server(
    turns: &'static [Turn],
    byte_by_byte: bool,
    has_credentials: bool,
) -> (Socks5, JoinHandle<TcpStream>) {
    let listener = listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.set_nodelay(true).unwrap();
        for (expected, answer) in turns {
            let mut received = vec![0; expected.len()];
            tcp.read_exact(&mut received).await.unwrap();
            assert_eq!(received, *expected);
            let pieces = answer.chunks(if byte_by_byte { 1 } else { answer.len().max(1) });
            for piece in pieces {
                tcp.write_all(piece).await.unwrap();
                if byte_by_byte {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        }
        tcp
    });
    let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
    let endpoint = Arc::new(Endpoint::new("127.0.0.1", port));
    let at = ProxyServer::new("p".into(), endpoint, outbound);
    let credentials =
        has_credentials.then(|| Credentials { username: "me".into(), password: Secret::new("pw") });
    (Socks5::new(at, credentials, true), serving)
}

async fn connect(proxy: &Socks5) -> Result<Link, Error> {
    connect_to(proxy, Target::addr("192.0.2.1:80".parse().unwrap())).await
}

async fn connect_to(proxy: &Socks5, target: Target) -> Result<Link, Error> {
    let progress = Progress::default();
    timeout(Duration::from_secs(5), proxy.connect(&target, &progress)).await.expect("in time")
}

async fn refusal(turns: &'static [Turn], has_credentials: bool) -> Error {
    let (proxy, server) = server(turns, false, has_credentials).await;
    // It closes the connection after its last turn.
    drop(server);
    connect(&proxy).await.unwrap_err()
}

#[tokio::test]
async fn a_banner_behind_the_reply_is_kept() {
    const BANNER: &[u8] = b"\x05\0\0\x03\x03a.b\0\x50SSH-2.0-x";
    for byte_by_byte in [false, true] {
        let turns: &[Turn] = &[OPEN, (CONNECT, BANNER)];
        let (proxy, server) = server(turns, byte_by_byte, false).await;
        let link = connect(&proxy).await.unwrap();
        assert!(matches!(link, Link::Plain { half_close: HalfClose::Held, .. }));
        let mut stream = link.into_stream();
        stream.write_all(b"hello").await.unwrap();
        let mut tcp = server.await.unwrap();
        let mut hello = [0; 5];
        tcp.read_exact(&mut hello).await.unwrap();
        assert_eq!(&hello, b"hello");
        drop(tcp);
        let mut banner = Vec::new();
        stream.read_to_end(&mut banner).await.unwrap();
        assert_eq!(banner, b"SSH-2.0-x");
    }
}

#[tokio::test]
async fn the_server_chooses_whether_it_wants_the_password() {
    let wanted: &[Turn] = &[(&[5, 2, 0, 2], &[5, 2]), (PASSWORD, &[1, 0]), (CONNECT, DONE)];
    let not_wanted: &[Turn] = &[(&[5, 2, 0, 2], &[5, 0]), (CONNECT, DONE)];
    for turns in [wanted, not_wanted] {
        let (proxy, _server) = server(turns, true, true).await;
        connect(&proxy).await.unwrap();
    }
}

#[tokio::test]
async fn a_name_is_passed_on() {
    const NAMED: &[u8] = b"\x05\x01\0\x03\x0bexample.com\x01\xbb";
    let (proxy, _server) = server(&[OPEN, (NAMED, DONE)], false, false).await;
    let address = "192.0.2.1:443".parse().unwrap();
    let target = Target::Named { address, name: "example.com".into() };
    connect_to(&proxy, target).await.unwrap();
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let greeting: &[u8] = &[5, 1, 0];
    let with_password: &[u8] = &[5, 2, 0, 2];
    for (turns, has_credentials, expected) in [
        (
            Box::leak(Box::new([(greeting, &[5u8, 255] as &[u8])])) as &[Turn],
            false,
            "wants a user name and a password",
        ),
        (&*Box::leak(Box::new([(with_password, &[5u8, 255] as &[u8])])), true, "wants another"),
        (&*Box::leak(Box::new([(with_password, &[5u8, 1] as &[u8])])), true, "wants GSSAPI"),
        (
            &*Box::leak(Box::new([(with_password, &[5u8, 2] as &[u8]), (PASSWORD, &[1, 1])])),
            true,
            "refuses the user name or password (status 1)",
        ),
        (
            &*Box::leak(Box::new([(greeting, b"HTTP/1.1 400" as &[u8])])),
            false,
            "it answered \"HT\"",
        ),
        (&*Box::leak(Box::new([(greeting, b"" as &[u8])])), false, "is it a SOCKS5 proxy?"),
    ] {
        let error = refusal(turns, has_credentials).await;
        assert!(!error.is_targets_fault(), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_target_that_is_refused_is_not_the_servers_fault() {
    for (code, words) in [
        (1, "did not connect to 192.0.2.1:80: general failure (SOCKS5 reply 1)"),
        (2, "does not allow 192.0.2.1:80: not allowed by its rules (SOCKS5 reply 2)"),
        (5, "connection refused"),
        (8, "address type not supported"),
        (99, "a code of its own (SOCKS5 reply 99)"),
    ] {
        let answer: &'static [u8] = Box::leak(Box::new([5, code, 0, 1, 0, 0, 0, 0, 0, 0]));
        let turns: &'static [Turn] = Box::leak(Box::new([OPEN, (CONNECT, answer)]));
        let error = refusal(turns, false).await;
        assert!(error.is_targets_fault(), "{error}");
        assert_eq!(error.is_refusal(), code == 2, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let error = refusal(&[OPEN, (CONNECT, &[5, 7, 0, 1, 0, 0, 0, 0, 0, 0])], false).await;
    assert!(!error.is_targets_fault(), "{error}");
}

/// Port and address of a socket for datagrams, behind the reply's header.
async fn relay() -> (UdpSocket, &'static [Turn]) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let [high, low] = socket.local_addr().unwrap().port().to_be_bytes();
    // It listens on every address, as it says.
    let answer: &'static [u8] = Box::leak(Box::new([5, 0, 0, 1, 0, 0, 0, 0, high, low]));
    (socket, Box::leak(Box::new([OPEN, (ASSOCIATE, answer)])))
}

#[tokio::test]
async fn datagrams_go_where_the_server_is_and_live_as_long_as_its_connection() {
    let (relay, turns) = relay().await;
    let (proxy, server) = server(turns, false, false).await;
    let mut association = proxy.associate().await.unwrap();
    assert!(proxy.carries_datagrams());
    let mut packet = Vec::new();
    let target = Target::addr("203.0.113.9:53".parse().unwrap());
    association.codec.seal(&target, b"question", &mut packet).unwrap();
    association.socket.send(&packet).await.unwrap();
    let mut received = [0; 99];
    let (length, client) = relay.recv_from(&mut received).await.unwrap();
    assert_eq!(&received[..length], b"\0\0\0\x01\xcb\0\x71\x09\0\x35question");
    relay.send_to(b"\0\0\0\x01\xcb\0\x71\x07\0\x07answer", client).await.unwrap();
    let length = association.socket.recv(&mut received).await.unwrap();
    let opened = association.codec.open(&mut received[..length]).unwrap();
    let source = "203.0.113.7:7".parse().unwrap();
    assert_eq!(opened, OpenedDatagram { source, payload: 10..16 });
    // Our half is open, and the end of theirs is the association's.
    let mut lifeline = association.lifeline.expect("the connection that asked");
    let mut tcp = server.await.unwrap();
    let silence = timeout(Duration::from_millis(50), tcp.read(&mut [0; 9])).await;
    assert!(silence.is_err(), "never half-closed: {silence:?}");
    drop(tcp);
    assert_eq!(lifeline.read(&mut [0; 9]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_server_without_udp_says_so() {
    let turns: &[Turn] = &[OPEN, (ASSOCIATE, &[5, 7, 0, 1, 0, 0, 0, 0, 0, 0])];
    let (proxy, _server) = server(turns, false, false).await;
    let error = proxy.associate().await.unwrap_err().to_string();
    assert!(
        error.contains("carries no UDP: command not supported") && error.contains("udp = false"),
        "{error}"
    );
    let (proxy, _server) = server(&[OPEN, (ASSOCIATE, DONE)], false, false).await;
    let error = proxy.associate().await.unwrap_err().to_string();
    assert!(error.contains("no address for datagrams"), "{error}");
    let (proxy, server) = server(&[], false, false).await;
    let proxy = Socks5 { carries_datagrams: false, ..proxy };
    assert!(matches!(proxy.associate().await, Err(Error::NoDatagrams)));
    server.abort();
}

#[test]
fn the_unknown_address_is_of_the_servers_family() {
    for (server, expected) in [
        ("192.0.2.1:1080", "0.0.0.0:0"),
        ("[::ffff:192.0.2.1]:1080", "0.0.0.0:0"),
        ("[2001:db8::1]:1080", "[::]:0"),
    ] {
        assert_eq!(anywhere(server.parse().unwrap()), expected.parse().unwrap(), "{server}");
    }
}
