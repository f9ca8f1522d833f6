//! Programs that ask snet itself: over UDP and TCP, TLS, HTTP/2 and HTTP/1.1.

use super::encrypted::{identity, tls};
use super::listening::{Listening, asks_for_probe, free, question, start_with};
use super::servers::Server;
use super::{CN, addresses, always, asking, found, nothing, outbound, over_udp};
use crate::dns::household::Household;
use crate::dns::wire::Query;
use crate::dns::{Order, Settings};
use crate::proxy::Stream;
use crate::proxy::tls::HANDSHAKE;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use h2::client::SendRequest;
use hickory_proto::op::{Message, ResponseCode};
use http::{Method, Request, StatusCode};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;

/// A resolver that answers with a domestic address, and where it is asked: plain, over TLS, over
/// HTTPS.
struct House {
    listening: Listening,
    settings: Settings,
    _china: Server,
    plain: SocketAddr,
    tls: SocketAddr,
    https: SocketAddr,
}

fn house() -> House {
    let china = over_udp(always(|query| match asks_for_probe(query) {
        true => nothing(query, ResponseCode::NXDomain),
        false => addresses(query, 77, &[CN]),
    }));
    let [plain, tls, https] = [free(), free(), free()];
    let mut settings = asking(&[china.address]);
    settings.household = Household {
        plain: vec![plain],
        tls: vec![tls],
        https: vec![https],
        identity: Some(identity()),
        ..Household::default()
    };
    let listening = start_with(settings.clone());
    House { listening, settings, _china: china, plain, tls, https }
}

async fn encrypted(server: SocketAddr, protocol: &[u8]) -> std::io::Result<Box<dyn Stream>> {
    let stream = Box::new(outbound().tcp(&[server]).await.unwrap());
    tls().connect("dns.example", protocol, stream, HANDSHAKE).await
}

async fn ask_framed(
    stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin),
    name: &str,
) -> Message {
    let bytes = question(name).to_vec().unwrap();
    stream.write_u16(u16::try_from(bytes.len()).unwrap()).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    stream.flush().await.unwrap();
    let mut bytes = vec![0; stream.read_u16().await.unwrap().into()];
    stream.read_exact(&mut bytes).await.unwrap();
    Message::from_vec(&bytes).unwrap()
}

async fn run(test: impl AsyncFnOnce()) {
    LocalSet::new().run_until(test()).await;
}

#[tokio::test]
async fn over_udp_and_tcp() {
    run(async || {
        let house = house();
        let socket = outbound().udp(house.plain).await.unwrap();
        socket.send(&question("a.example.").to_vec().unwrap()).await.unwrap();
        let mut buffer = [0; 512];
        let length = timeout(Duration::from_secs(3), socket.recv(&mut buffer)).await;
        let answer = Message::from_vec(&buffer[..length.unwrap().unwrap()]).unwrap();
        assert_eq!(found(&answer), [CN]);
        let mut stream = outbound().tcp(&[house.plain]).await.unwrap();
        assert_eq!(found(&ask_framed(&mut stream, "b.example.").await), [CN]);
    })
    .await;
}

#[tokio::test]
async fn over_tls() {
    run(async || {
        let house = house();
        let mut stream = encrypted(house.tls, b"dot").await.unwrap();
        for name in ["a.example.", "b.example."] {
            assert_eq!(found(&ask_framed(&mut stream, name).await), [CN]);
        }
        // A client that sends no handshake does not keep others waiting.
        let _mute = outbound().tcp(&[house.tls]).await.unwrap();
        let mut other = encrypted(house.tls, b"dot").await.unwrap();
        assert_eq!(found(&ask_framed(&mut other, "a.example.").await), [CN]);
        assert!(encrypted(house.tls, b"h2").await.is_err(), "another protocol");
    })
    .await;
}

/// Sends a request, and returns status, kind, lifetime and body.
async fn request(
    client: &mut SendRequest<Bytes>,
    method: Method,
    target: &str,
    body: Option<(&str, Vec<u8>)>,
) -> (StatusCode, String, Vec<u8>) {
    let mut head = Request::builder().method(method).uri(format!("https://dns.example{target}"));
    if let Some((kind, _)) = &body {
        head = head.header("content-type", *kind);
    }
    std::future::poll_fn(|context| client.poll_ready(context)).await.unwrap();
    let ends = body.is_none();
    let (response, mut sending) = client.send_request(head.body(()).unwrap(), ends).unwrap();
    if let Some((_, bytes)) = body {
        // A refusal may come before the body is sent.
        let _ = sending.send_data(bytes.into(), true);
    }
    let response = timeout(Duration::from_secs(3), response).await.unwrap().unwrap();
    let (head, mut body) = response.into_parts();
    let header = |name| head.headers.get(name).map_or("", |value| value.to_str().unwrap());
    let said = format!("{} {}", header("content-type"), header("cache-control"));
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        bytes.extend(piece.unwrap());
    }
    (head.status, said, bytes)
}

async fn http2(server: SocketAddr) -> SendRequest<Bytes> {
    let stream = encrypted(server, b"h2").await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    spawn_local(connection);
    client
}

const MESSAGE: &str = "application/dns-message";

#[tokio::test]
async fn over_http2() {
    run(async || {
        let mut client = http2(house_https()).await;
        let query = question("a.example.").to_vec().unwrap();
        let target = format!("/dns-query?dns={}", URL_SAFE_NO_PAD.encode(&query));
        let answers = [
            request(&mut client, Method::GET, &target, None).await,
            request(&mut client, Method::POST, "/dns-query", Some((MESSAGE, query.clone()))).await,
        ];
        for (status, said, body) in answers {
            assert_eq!(
                (status, said.as_str()),
                (StatusCode::OK, "application/dns-message max-age=77")
            );
            assert_eq!(found(&Message::from_vec(&body).unwrap()), [CN]);
        }
        let mut refused =
            async |method, target: &str, body| request(&mut client, method, target, body).await.0;
        let large = vec![0; 5000];
        assert_eq!(refused(Method::GET, "/", None).await, StatusCode::NOT_FOUND);
        assert_eq!(refused(Method::GET, "/dns-query", None).await, StatusCode::BAD_REQUEST);
        assert_eq!(
            refused(Method::GET, "/dns-query?dns=AAAA", None).await,
            StatusCode::BAD_REQUEST
        );
        assert_eq!(refused(Method::PUT, "/dns-query", None).await, StatusCode::METHOD_NOT_ALLOWED);
        let form = Some(("text/plain", query.clone()));
        let status = refused(Method::POST, "/dns-query", form).await;
        assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        let status = refused(Method::POST, "/dns-query", Some((MESSAGE, large))).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    })
    .await;
}

fn house_https() -> SocketAddr {
    let house = house();
    let address = house.https;
    // It runs for as long as the test.
    std::mem::forget(house);
    address
}

#[tokio::test]
async fn over_http1() {
    run(async || {
        let house = house();
        let mut stream = encrypted(house.https, b"http/1.1").await.unwrap();
        let query = URL_SAFE_NO_PAD.encode(question("a.example.").to_vec().unwrap());
        for _ in 0..2 {
            let request =
                format!("GET /dns-query?dns={query} HTTP/1.1\r\nHost: dns.example\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            let mut response = Vec::new();
            let address: [u8; 4] = [198, 51, 100, 1];
            while !response.ends_with(&address) {
                let mut piece = [0; 512];
                let reading = timeout(Duration::from_secs(3), stream.read(&mut piece)).await;
                response.extend(&piece[..reading.unwrap().unwrap()]);
            }
            assert!(response.starts_with(b"HTTP/1.1 200 OK\r\n"), "the connection is kept");
        }
    })
    .await;
}

#[tokio::test]
async fn another_certificate_after_a_reload() {
    run(async || {
        let house = house();
        encrypted(house.tls, b"dot").await.unwrap();
        let mut next = house.settings.clone();
        next.household.identity = None;
        let order = Order::Settings(Box::new(next));
        house.listening.reloads.send(order).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(encrypted(house.tls, b"dot").await.is_err(), "the new settings have none");
        let order = Order::Settings(Box::new(house.settings.clone()));
        house.listening.reloads.send(order).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        encrypted(house.tls, b"dot").await.unwrap();
    })
    .await;
}

#[test]
fn what_is_captured_on_its_way_to_the_household_s_address_was_meant_for_us() {
    use crate::dns::client_query::{Came, ClientQuery};
    use crate::dns::horizon::Horizon;
    let mut settings = asking(&[]);
    settings.listen = vec!["127.0.0.1:1211".parse().unwrap()];
    settings.household.plain = vec!["127.0.0.1:53".parse().unwrap()];
    let horizon = Horizon::new(None);
    let query = Query::new(&"a.example".parse().unwrap(), 1);
    let server = |asked: &str| {
        let asked = ClientQuery {
            query: &query,
            limit: 512,
            client: "127.0.0.1:4000".parse().unwrap(),
            came: Came::Redirected(asked.parse().unwrap()),
            at: std::time::Instant::now(),
        };
        horizon.server(&asked, &settings)
    };
    assert_eq!(server("127.0.0.1:53"), None);
    assert_eq!(server("127.0.0.1:54"), Some("127.0.0.1:54".parse().unwrap()), "another program");
}
