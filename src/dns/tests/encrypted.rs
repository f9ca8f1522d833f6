//! TLS and HTTPS to name servers, with a certificate for `dns.example` whose authority only these
//! tests trust. The servers speak by rustls and h2, and answer by hickory-proto.

use super::servers::{Script, Server, addresses, always, silent};
use super::{ABROAD, CN, run, world};
use crate::dns::identity::ServerIdentity;
use crate::dns::identity_error::IdentityError;
use crate::dns::{NameServer, Transport};
use crate::proxy::tls::Tls;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

const AUTHORITY: &[u8] = include_bytes!("certificates/authority.der");
const CERTIFICATE: &[u8] = include_bytes!("certificates/dns.example.der");
/// Protects nothing: it was made for these tests.
const KEY: &[u8] = include_bytes!("certificates/dns.example.key.der");

#[cfg(feature = "tls")]
pub(super) fn tls() -> Tls {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(AUTHORITY)).unwrap();
    Tls::new(roots)
}

#[cfg(not(feature = "tls"))]
pub(super) fn tls() -> Tls {
    Tls::default()
}

pub(super) fn acceptor(protocol: &[u8]) -> TlsAcceptor {
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

/// A server that hands each connection to `serve`.
fn listen<F>(
    protocol: &[u8],
    serve: impl Fn(TlsStream<TcpStream>, Rc<Cell<u32>>) -> F + 'static,
) -> Server
where
    F: Future<Output = ()> + 'static,
{
    let listener = crate::net::listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Rc::new(Cell::new(0));
    let (counted, acceptor) = (Rc::clone(&asked), acceptor(protocol));
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(stream) = acceptor.accept(stream).await {
                tokio::task::spawn_local(serve(stream, Rc::clone(&counted)));
            }
        }
    });
    Server { address, asked }
}

pub(super) fn answer(script: &Script, query: &[u8]) -> Vec<u8> {
    script(&Message::from_vec(query).unwrap())[0].message.to_vec().unwrap()
}

pub(super) fn over_tls(script: Script, per_connection: u32) -> Server {
    listen(b"dot", move |mut stream, asked| {
        let script = Rc::clone(&script);
        async move {
            for _ in 0..per_connection {
                let Ok(length) = stream.read_u16().await else { return };
                let mut query = vec![0; length.into()];
                stream.read_exact(&mut query).await.unwrap();
                asked.set(asked.get() + 1);
                let reply = answer(&script, &query);
                stream.write_u16(u16::try_from(reply.len()).unwrap()).await.unwrap();
                stream.write_all(&reply).await.unwrap();
                stream.flush().await.unwrap();
            }
        }
    })
}

/// `GET` and other paths are not found.
pub(super) fn over_https(script: Script) -> Server {
    listen(b"h2", move |stream, asked| {
        let script = Rc::clone(&script);
        async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let script = Rc::clone(&script);
                let asked = Rc::clone(&asked);
                tokio::task::spawn_local(async move {
                    asked.set(asked.get() + 1);
                    let found = request.method() == "POST" && request.uri().path() == "/dns-query";
                    let mut query = Vec::new();
                    let mut body = request.into_body();
                    while let Some(piece) = body.data().await {
                        query.extend(piece.unwrap());
                    }
                    let status = if found { 200 } else { 404 };
                    let head = http::Response::builder().status(status).body(()).unwrap();
                    let mut sending = respond.send_response(head, false).unwrap();
                    sending.send_data(answer(&script, &query).into(), true).unwrap();
                });
            }
        }
    })
}

/// Certificate and key as files have them.
pub(super) fn identity() -> ServerIdentity {
    let [certificate, key] = [("CERTIFICATE", CERTIFICATE), ("PRIVATE KEY", KEY)].map(pem);
    ServerIdentity::new(certificate.as_bytes(), key.as_bytes()).unwrap()
}

fn pem((kind, der): (&str, &[u8])) -> String {
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", STANDARD.encode(der))
}

#[test]
fn what_is_no_identity() {
    let [certificate, key] = [("CERTIFICATE", CERTIFICATE), ("PRIVATE KEY", KEY)].map(pem);
    let of = |certificate: &str, key: &str| {
        ServerIdentity::new(certificate.as_bytes(), key.as_bytes()).map(drop)
    };
    assert_eq!(of(&format!("in words\n{certificate}"), &key), Ok(()));
    let said = |text: &str| IdentityError::Certificate(text.into());
    assert_eq!(of(&key, &key), Err(said("no certificate")));
    let Err(IdentityError::Key(found)) = of(&certificate, &certificate) else { panic!() };
    assert!(found.starts_with("no private key in PEM"), "{found}");
    // That of the authority is another one's.
    let authority = pem(("CERTIFICATE", AUTHORITY));
    let Err(IdentityError::Key(found)) = of(&authority, &key) else { panic!() };
    assert!(found.starts_with("a key that does not fit"), "{found}");
    let nonsense = pem(("CERTIFICATE", b"x"));
    let Err(IdentityError::Certificate(found)) = of(&nonsense, &key) else { panic!() };
    assert!(found.starts_with("a certificate that is none"), "{found}");
}

fn tls_named(server: &Server, name: &str) -> Vec<NameServer> {
    vec![NameServer { address: server.address, transport: Transport::Tls { name: name.into() } }]
}

fn https(server: &Server, path: &str) -> Vec<NameServer> {
    let transport = Transport::Https { name: "dns.example".into(), path: path.into() };
    vec![NameServer { address: server.address, transport }]
}

#[tokio::test]
async fn both_sides_over_tls() {
    run(async || {
        let near = over_tls(always(|query| addresses(query, 60, &[CN])), u32::MAX);
        let far = over_tls(always(|query| addresses(query, 60, &[ABROAD])), u32::MAX);
        let world = world(silent(), silent(), |settings| {
            settings.servers.china = tls_named(&near, "dns.example");
            settings.servers.trusted = tls_named(&far, "dns.example");
        });
        assert_eq!(world.a("a.example").await, [CN]);
        assert_eq!(world.a("b.example").await, [CN]);
        assert_eq!((near.asked.get(), far.asked.get() > 0), (2, true));
    })
    .await;
}

#[tokio::test]
async fn a_certificate_of_somebody_else_is_not_believed() {
    run(async || {
        let far = over_tls(always(|query| addresses(query, 60, &[ABROAD])), u32::MAX);
        let world = world(silent(), silent(), |settings| {
            settings.servers.trusted = tls_named(&far, "other.example");
        });
        let answer = world.ask("a.example", RecordType::A).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
        assert_eq!(far.asked.get(), 0);
    })
    .await;
}

#[tokio::test]
async fn many_at_once_over_https() {
    run(async || {
        let far = over_https(always(|query| addresses(query, 60, &[ABROAD])));
        let world = world(always(|query| addresses(query, 60, &[ABROAD])), silent(), |settings| {
            settings.servers.trusted = https(&far, "/dns-query");
        });
        let (a, b, c) =
            tokio::join!(world.a("a.example"), world.a("b.example"), world.a("c.example"));
        assert_eq!([a, b, c], [[ABROAD], [ABROAD], [ABROAD]]);
        assert_eq!(far.asked.get(), 3);
    })
    .await;
}

#[tokio::test]
async fn an_https_server_that_says_no() {
    run(async || {
        let far = over_https(always(|query| addresses(query, 60, &[ABROAD])));
        let world = world(always(|query| addresses(query, 60, &[ABROAD])), silent(), |settings| {
            settings.servers.trusted = https(&far, "/other");
        });
        let answer = world.ask("a.example", RecordType::A).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
        assert_eq!(far.asked.get(), 1, "and it is not asked again");
    })
    .await;
}
