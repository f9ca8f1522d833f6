//! Against a little proxy on loopback that says what the test wants.

use super::*;
use crate::mark::Fwmark;
use crate::net::{Outbound, Refusal, listen};
use crate::secret::Secret;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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
         User-Agent: Mozilla/5.0\r\nProxy-Authorization: Basic bWU6c2U6Y3JldA==\r\n\r\n"
    );
}

#[test]
fn an_empty_password_and_a_name() {
    let credentials = Credentials { username: "me".into(), password: Secret::new("") };
    let address = "192.0.2.1:80".parse().unwrap();
    let target = Target::Named { address, name: "example.com".into() };
    let request = String::from_utf8(request(&target, Some(&credentials)).to_vec()).unwrap();
    assert!(request.starts_with("CONNECT example.com:80 HTTP/1.1\r\nHost: example.com:80\r\n"));
    assert!(request.contains("Proxy-Authorization: Basic bWU6\r\n"), "{request}");
}

/// Big peers lose what comes behind the header in one segment, and some take no 2xx but 200.
#[tokio::test]
async fn any_2xx_opens_and_a_banner_in_the_same_segment_is_kept() {
    for answer in [
        b"HTTP/1.1 200 OK\r\n\r\nSSH-2.0-x" as &[u8],
        b"HTTP/1.0 200 Connection established\r\nVia: x\r\n\r\nSSH-2.0-x",
        b"HTTP/1.1 204 No Content\r\n\r\nSSH-2.0-x",
        b"HTTP/1.1 299 Fine\n\nSSH-2.0-x",
    ] {
        let (proxy, _server) = proxy_saying(Box::leak(Box::new([answer]))).await;
        let mut stream = connect(&proxy).await.unwrap().into_stream();
        let mut banner = Vec::new();
        stream.read_to_end(&mut banner).await.unwrap();
        assert_eq!(banner, b"SSH-2.0-x", "{}", answer.escape_ascii());
    }
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
    let Link::Plain { tcp: mut stream, mut early, half_close: HalfClose::Held } =
        connect(&proxy).await.unwrap()
    else {
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
    for (answer, is_refusal) in [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n" as &[u8], true),
        // To an IPv6 literal: another target may work.
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", true),
        (b"HTTP/1.1 405 Method Not Allowed\r\n\r\n", true),
        (b"HTTP/1.1 429 Too Many\r\n\r\n", true),
        (b"HTTP/1.0 500 Unable to connect\r\n\r\n", false),
        (b"HTTP/1.0 503 Down\r\n\r\n", false),
    ] {
        let pieces: &'static [&'static [u8]] = Box::leak(Box::new([answer]));
        let (proxy, _server) = proxy_saying(pieces).await;
        let error = connect(&proxy).await.unwrap_err();
        assert!(error.is_targets_fault(), "{error}");
        assert_eq!(error.is_refusal(), is_refusal, "{error}");
    }
}

#[tokio::test]
async fn a_407_says_what_is_wanted() {
    let said = async |mut proxy: HttpConnect, has_credentials: bool| {
        if !has_credentials {
            proxy.credentials = None;
        }
        connect(&proxy).await.unwrap_err().to_string()
    };
    let (proxy, _server) = proxy_saying(&[b"HTTP/1.1 407 Who\r\n\r\n"]).await;
    assert!(said(proxy, false).await.contains("give this [[proxy]] username and password"));
    let basic: &[&[u8]] = &[b"HTTP/1.1 407 Who\r\nProxy-Authenticate: basic realm=x\r\n\r\n"];
    let (proxy, _server) = proxy_saying(basic).await;
    assert!(said(proxy, true).await.contains("refuses the user name or password"));
    let digest: &[&[u8]] =
        &[b"HTTP/1.1 407 Who\r\nProxy-Authenticate: Digest realm=\"x\", nonce=\"y\"\r\n\r\n"];
    for has_credentials in [false, true] {
        let (proxy, _server) = proxy_saying(digest).await;
        let error = said(proxy, has_credentials).await;
        assert!(error.contains("wants Digest authentication; snet speaks Basic"), "{error}");
    }
}

#[tokio::test]
async fn a_refused_port_is_named() {
    let (proxy, _server) = proxy_saying(&[b"HTTP/1.1 403 Forbidden\r\n\r\n"]).await;
    let (target, progress) = (Target::addr("192.0.2.1:53".parse().unwrap()), Progress::default());
    let error = proxy.connect(&target, &progress).await.unwrap_err().to_string();
    assert!(error.ends_with("403 Forbidden\"; does it allow CONNECT to port 53?"), "{error}");
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
