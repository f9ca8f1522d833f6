//! Against a little proxy on loopback that says what the test wants.

use super::*;
use crate::mark::Fwmark;
use crate::net::{Outbound, Refusal, listen};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

/// A proxy that reads one request, then writes these pieces with a pause between, then closes
/// unless there is `hold`. Returns the request.
async fn proxy_saying(
    pieces: &'static [&'static [u8]],
) -> (HttpConnect, tokio::task::JoinHandle<String>) {
    let listener = listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            assert_ne!(tcp.read_buf(&mut request).await.unwrap(), 0);
        }
        for piece in pieces {
            tcp.write_all(piece).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        String::from_utf8(request).unwrap()
    });
    let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
    let endpoint = Arc::new(Endpoint::new("127.0.0.1", port));
    let credentials = Credentials { username: "me".into(), password: Secret::new("se:cret") };
    let at = ProxyServer::new("p".into(), endpoint, outbound);
    (HttpConnect::new(at, Some(credentials)), server)
}

fn target() -> Target {
    Target::addr("[2001:db8::1]:443".parse().unwrap())
}

async fn connect(proxy: &HttpConnect) -> Result<Link, Error> {
    let (target, progress) = (target(), Progress::default());
    let dial = proxy.connect(&target, &progress);
    timeout(Duration::from_secs(5), dial).await.expect("in time")
}

#[tokio::test]
async fn the_request_names_target_host_and_credentials() {
    let (proxy, server) = proxy_saying(&[b"HTTP/1.1 200 OK\r\n\r\n"]).await;
    connect(&proxy).await.unwrap();
    assert_eq!(
        server.await.unwrap(),
        "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\
         Proxy-Authorization: Basic bWU6c2U6Y3JldA==\r\n\r\n"
    );
}

#[tokio::test]
async fn pieces_interim_answers_and_early_bytes() {
    let (proxy, _server) = proxy_saying(&[
        b"HTTP/1.1 10",
        b"0 Continue\r\n\r\nHTTP/1.1 200 Conn",
        b"ection established\r\n",
        b"\r\nSSH-2.0-x",
    ])
    .await;
    let Link::Plain { tcp: mut stream, mut early } = connect(&proxy).await.unwrap() else {
        panic!("not plain")
    };
    stream.read_to_end(&mut early).await.unwrap();
    assert_eq!(early, b"SSH-2.0-x");
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let (proxy, _server) =
        proxy_saying(&[b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"]).await;
    assert!(matches!(connect(&proxy).await, Err(Error::Credentials { .. })));
    for answer in [b"HTTP/1.1 403 Forbidden\r\n\r\n" as &[u8], b"HTTP/1.0 503 Down\r\n\r\n"] {
        let pieces: &'static [&'static [u8]] = Box::leak(Box::new([answer]));
        let (proxy, _server) = proxy_saying(pieces).await;
        let error = connect(&proxy).await.unwrap_err();
        assert!(error.is_targets_fault(), "{error}");
    }
}

#[tokio::test]
async fn malformed_answers_are_found_out() {
    let (proxy, _server) = proxy_saying(&[b"SSH-2.0-OpenSSH_9.2\r\n"]).await;
    let error = connect(&proxy).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
    let (proxy, _server) = proxy_saying(&[]).await;
    let error = connect(&proxy).await.unwrap_err();
    assert!(matches!(error, Error::Handshake { .. }), "{error}");
    let endless: &'static [u8] =
        Box::leak([b"HTTP/1.1 200 OK\r\nX: ", &[b'x'; 20_000][..]].concat().into_boxed_slice());
    let pieces: &'static [&'static [u8]] = Box::leak(Box::new([endless]));
    let (proxy, _server) = proxy_saying(pieces).await;
    let error = connect(&proxy).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
}

/// What tells a dispatcher that gives a dial up that the destination may be the silent one.
#[tokio::test]
async fn a_dial_that_is_given_up_has_reached_the_server_or_not() {
    let listener = listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    for (host, reached) in [("127.0.0.1", true), ("unresolved.example", false)] {
        let endpoint = Arc::new(Endpoint::new(host, address.port()));
        let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
        let proxy = HttpConnect::new(ProxyServer::new("p".into(), endpoint, outbound), None);
        let (target, progress) = (target(), Progress::default());
        let dial = proxy.connect(&target, &progress);
        let result = timeout(Duration::from_millis(100), dial).await;
        assert_eq!(result.is_err(), reached, "nothing is accepted, so nothing is answered");
        assert_eq!(progress.is_server_reached(), reached);
    }
}
