//! Against a little proxy on loopback, with a certificate for `dns.example` whose authority only
//! tests trust.

mod ahead;
mod http2;
mod spare;
mod unanswered;
mod warm;

use super::*;
use crate::mark::Fwmark;
use crate::net::{Outbound, Refusal, listen};
use crate::proxy::trust::Trust;
use crate::secret::Secret;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server;

const AUTHORITY: &[u8] = include_bytes!("../../../dns/tests/certificates/authority.der");
const CERTIFICATE: &[u8] = include_bytes!("../../../dns/tests/certificates/dns.example.der");
/// Protects nothing: it was made for tests.
const KEY: &[u8] = include_bytes!("../../../dns/tests/certificates/dns.example.key.der");
/// By openssl: x509 -pubkey, pkey -pubin -outform DER, dgst -sha256 -binary, base64.
const PIN: &str = "trAf489PZNvxf9WrZH2e3EtBFXIV3gsEvCrpTk3mI2w=";

/// How the proxy ends a tunnel.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    CloseNotify,
    /// TCP only.
    Cut,
    /// It waits for the other side, and hands back what the read said.
    Wait,
}

fn acceptor(protocol: &[u8]) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(KEY));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(CERTIFICATE)], key)
        .unwrap();
    config.alpn_protocols = vec![protocol.to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

async fn request_of(tls: &mut server::TlsStream<TcpStream>) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        assert_ne!(tls.read_buf(&mut request).await.unwrap(), 0);
    }
    String::from_utf8(request).unwrap()
}

/// A proxy that says this to one request, and what it heard.
async fn proxy_saying(
    answer: &'static [u8],
    ending: Ending,
) -> (HttpsConnect, JoinHandle<(String, io::Result<usize>)>) {
    let listener = listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut tls = acceptor(b"http/1.1").accept(tcp).await.unwrap();
        let request = request_of(&mut tls).await;
        tls.write_all(answer).await.unwrap();
        tls.flush().await.unwrap();
        match ending {
            Ending::CloseNotify => tls.shutdown().await.unwrap(),
            Ending::Cut => tls.get_mut().0.shutdown().await.unwrap(),
            Ending::Wait => {}
        }
        (request, tls.read(&mut [0; 9]).await)
    });
    (proxy_at(port, "dns.example", authority()), heard)
}

fn authority() -> Trust {
    let certificates = vec![CertificateDer::from(AUTHORITY)];
    Trust::Authorities { file: "ca.pem".into(), certificates }
}

/// Where what is done ahead of need is worth it from such a distance on; `None`: never.
fn warm_at(port: u16, worth: Option<Duration>) -> HttpsConnect {
    let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
    let endpoint = Arc::new(Endpoint::new("127.0.0.1", port));
    let server = ProxyServer::new("p".into(), endpoint, outbound).warm(worth);
    over(server, "dns.example", authority())
}

fn proxy_at(port: u16, name: &str, trust: Trust) -> HttpsConnect {
    let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
    let endpoint = Arc::new(Endpoint::new("127.0.0.1", port));
    let server = ProxyServer::new("p".into(), endpoint, outbound);
    over(server, name, trust)
}

fn over(server: ProxyServer, name: &str, trust: Trust) -> HttpsConnect {
    let credentials = Credentials { username: "me".into(), password: Secret::new("se:cret") };
    HttpsConnect::new(server, TlsServer { name: name.into(), trust }, Some(credentials))
}

async fn connect(proxy: &HttpsConnect) -> Result<Link, Error> {
    let (target, progress) = (Target::Name("example.com".into(), 443), Progress::default());
    let dial = proxy.connect(&target, &progress);
    timeout(Duration::from_secs(5), dial).await.expect("in time")
}

#[tokio::test]
async fn the_banner_behind_the_answer_is_kept_and_the_end_is_orderly() {
    let answer = b"HTTP/1.1 200 OK\r\n\r\nSSH-2.0-x";
    let (proxy, heard) = proxy_saying(answer, Ending::CloseNotify).await;
    let Link::Stream { mut stream, half_close } = connect(&proxy).await.unwrap() else {
        panic!("not a stream")
    };
    assert_eq!(half_close, HalfClose::Held);
    let mut banner = Vec::new();
    stream.read_to_end(&mut banner).await.unwrap();
    assert_eq!(banner, b"SSH-2.0-x");
    stream.shutdown().await.unwrap();
    drop(stream);
    let (request, end) = heard.await.unwrap();
    assert_eq!(
        request,
        "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\
         User-Agent: Mozilla/5.0\r\nProxy-Authorization: Basic bWU6c2U6Y3JldA==\r\n\r\n"
    );
    assert_eq!(end.unwrap(), 0, "close_notify, then a FIN");
}

/// curl takes a file that ends so for whole.
#[tokio::test]
async fn an_end_of_tcp_alone_is_an_error() {
    let (proxy, _heard) = proxy_saying(b"HTTP/1.1 200 OK\r\n\r\nhalf", Ending::Cut).await;
    let mut stream = connect(&proxy).await.unwrap().into_stream();
    let mut half = Vec::new();
    let error = stream.read_to_end(&mut half).await.unwrap_err();
    assert_eq!((error.kind(), &half[..]), (io::ErrorKind::UnexpectedEof, b"half" as &[u8]));
}

#[tokio::test]
async fn a_tunnel_that_is_dropped_is_reset() {
    for ends_first in [false, true] {
        let (proxy, heard) = proxy_saying(b"HTTP/1.1 200 OK\r\n\r\n", Ending::Wait).await;
        let mut stream = connect(&proxy).await.unwrap().into_stream();
        if ends_first {
            stream.shutdown().await.unwrap();
            assert_eq!(heard.await.unwrap().1.unwrap(), 0);
            continue;
        }
        drop(stream);
        let error = heard.await.unwrap().1.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn answers_mean_what_they_mean_without_tls() {
    let (proxy, _heard) = proxy_saying(b"HTTP/1.1 407 Who\r\n\r\n", Ending::Wait).await;
    assert!(matches!(connect(&proxy).await, Err(Error::Credentials { .. })));
    let (proxy, _heard) = proxy_saying(b"HTTP/1.1 403 Forbidden\r\n\r\n", Ending::Wait).await;
    assert!(connect(&proxy).await.unwrap_err().is_refusal());
    let (proxy, _heard) = proxy_saying(b"", Ending::CloseNotify).await;
    let error = connect(&proxy).await.unwrap_err().to_string();
    assert!(error.ends_with("without an answer; is it an HTTP proxy?"), "{error}");
    let (proxy, _heard) = proxy_saying(b"", Ending::Cut).await;
    let error = connect(&proxy).await.unwrap_err().to_string();
    assert!(error.ends_with("(no close_notify)"), "{error}");
}

/// What a server is taken for, and what is said otherwise. `None`: it is the right one.
#[tokio::test]
async fn the_server_has_to_be_the_one_that_is_meant() {
    let other_pin = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let cases = [
        ("dns.example", authority(), None),
        ("other.example", authority(), Some("; give this [[proxy]] tls-name")),
        ("dns.example", Trust::Public, Some("tls-ca-file or tls-pin")),
        // The name does not matter then.
        ("192.0.2.1", Trust::key(PIN).unwrap(), None),
        ("dns.example", Trust::key(other_pin).unwrap(), Some(PIN)),
    ];
    for (name, trust, wrong) in cases {
        let listener = listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            let mut tls = acceptor(b"http/1.1").accept(tcp).await.ok()?;
            let request = request_of(&mut tls).await;
            tls.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            Some(request)
        });
        let connected = connect(&proxy_at(port, name, trust)).await;
        match (connected, wrong) {
            (Ok(_), None) => assert!(serving.await.unwrap().is_some()),
            (Err(error), Some(wrong)) => {
                assert!(matches!(error, Error::Tls { .. }) && !error.is_targets_fault());
                assert!(error.to_string().contains(wrong), "{error}");
                assert_eq!(serving.await.unwrap(), None, "the password was sent");
            }
            (connected, wrong) => panic!("{name}: {connected:?}, {wrong:?}"),
        }
    }
}

#[tokio::test]
async fn a_proxy_without_tls_is_told() {
    let listener = listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let proxy = proxy_at(listener.local_addr().unwrap().port(), "dns.example", authority());
    let serving = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        tcp.read(&mut [0; 2000]).await
    });
    let error = connect(&proxy).await.unwrap_err().to_string();
    assert!(error.contains("type = \"http\""), "{error}");
    drop(serving);
}

/// None waits for another's tunnel.
#[tokio::test]
async fn a_crowd_over_http1_is_served_at_once() {
    let listener = listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = listener.local_addr().unwrap().port();
    let proxy = Arc::new(proxy_at(port, "dns.example", authority()));
    let mut dialling = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let proxy = Arc::clone(&proxy);
        dialling.spawn(async move { connect(&proxy).await.unwrap() });
    }
    // All of them have asked before the first one is answered.
    let mut asked = Vec::new();
    for _ in 0..20 {
        let (tcp, _) = timeout(Duration::from_secs(3), listener.accept()).await.unwrap().unwrap();
        let mut tls = acceptor(b"http/1.1").accept(tcp).await.unwrap();
        request_of(&mut tls).await;
        asked.push(tls);
    }
    for tls in &mut asked {
        tls.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    }
    assert_eq!(dialling.join_all().await.len(), 20);
}
