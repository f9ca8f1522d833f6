//! Streams of HTTP/2: many tunnels on few connections, and what ends them.

use super::*;
use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{Request, Response};
use std::sync::atomic::AtomicUsize;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;

pub(super) type Served = Connection<TlsStream<TcpStream>, Bytes>;
pub(super) type Asked = (Request<RecvStream>, SendResponse<Bytes>);

/// A proxy that hands each connection, with its number, to `serve`, and how many there were.
pub(super) fn proxy<F: Future<Output = ()> + Send + 'static>(
    most_streams: u32,
    serve: impl Fn(usize, Served) -> F + Send + Sync + 'static,
) -> (HttpsConnect, Arc<AtomicUsize>) {
    let mut settings = h2::server::Builder::new();
    settings.max_concurrent_streams(most_streams);
    let (port, connections) = served(settings, serve);
    (proxy_at(port, "dns.example", authority()), connections)
}

/// The port of one with these settings.
pub(super) fn served<F: Future<Output = ()> + Send + 'static>(
    settings: h2::server::Builder,
    serve: impl Fn(usize, Served) -> F + Send + Sync + 'static,
) -> (u16, Arc<AtomicUsize>) {
    let listener = listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        let mut serving = JoinSet::new();
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let number = counted.fetch_add(1, Ordering::Relaxed) + 1;
            let tls = acceptor(b"h2").accept(tcp).await.unwrap();
            serving.spawn(serve(number, settings.handshake(tls).await.unwrap()));
        }
    });
    (port, connections)
}

/// Says hello with the 200, then sends back what it gets, to its end.
pub(super) async fn echo((request, mut respond): Asked) {
    let mut sink = respond.send_response(Response::new(()), false).unwrap();
    sink.send_data(Bytes::from_static(b"hello"), false).unwrap();
    let mut source = request.into_body();
    while let Some(Ok(piece)) = source.data().await {
        source.flow_control().release_capacity(piece.len()).unwrap();
        sink.send_data(piece, false).unwrap();
    }
    let _ = sink.send_data(Bytes::new(), true);
}

pub(super) async fn echo_all(_: usize, mut connection: Served) {
    while let Some(Ok(asked)) = connection.accept().await {
        tokio::spawn(echo(asked));
    }
}

pub(super) async fn hello(proxy: &HttpsConnect) -> Box<dyn crate::proxy::Stream> {
    let link = connect(proxy).await.unwrap();
    let Link::Stream { mut stream, half_close: HalfClose::Held } = link else { panic!("{link:?}") };
    let mut hello = [0; 5];
    stream.read_exact(&mut hello).await.unwrap();
    assert_eq!(&hello, b"hello");
    stream
}

#[tokio::test]
async fn tunnels_share_a_connection_and_carry_everything() {
    let (proxy, connections) = proxy(100, echo_all);
    let mut first = hello(&proxy).await;
    for _ in 0..3 {
        let (mut source, mut sink) = tokio::io::split(hello(&proxy).await);
        let sent: Vec<u8> = (0..6_000_000_u32).map(|n| (n >> 3) as u8).collect();
        let expected = sent.clone();
        let sending = tokio::spawn(async move {
            sink.write_all(&sent).await.unwrap();
            sink.shutdown().await.unwrap();
            sink
        });
        let mut received = Vec::new();
        source.read_to_end(&mut received).await.unwrap();
        assert!(received == expected);
        drop(sending.await.unwrap());
    }
    // One that is dropped takes no other with it.
    drop(hello(&proxy).await);
    first.write_all(b"still").await.unwrap();
    let mut still = [0; 5];
    first.read_exact(&mut still).await.unwrap();
    assert_eq!((&still, connections.load(Ordering::Relaxed)), (b"still", 1));
}

/// A client that does not read stops none but itself.
#[tokio::test]
async fn a_stalled_tunnel_stops_no_other() {
    let (proxy, _) = proxy(100, |_, mut connection: Served| async move {
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let mut sink = respond.send_response(Response::new(()), false).unwrap();
            sink.send_data(Bytes::from_static(b"hello"), false).unwrap();
            sink.send_data(Bytes::from(vec![7; 3 << 20]), true).unwrap();
        }
    });
    let mut stalled = Vec::new();
    for _ in 0..20 {
        stalled.push(hello(&proxy).await);
    }
    let mut read = Vec::new();
    let reading = async { hello(&proxy).await.read_to_end(&mut read).await };
    timeout(Duration::from_secs(20), reading).await.expect("in time").unwrap();
    assert_eq!(read.len(), 3 << 20);
}

#[tokio::test]
async fn the_request_and_what_answers_mean() {
    let (proxy, connections) = proxy(100, |_, mut connection: Served| async move {
        let mut answers = [407, 403, 502, 0].into_iter();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            assert_eq!(request.method(), http::Method::CONNECT);
            assert_eq!(request.uri(), "example.com:443");
            assert_eq!(request.headers()["proxy-authorization"], "Basic bWU6c2U6Y3JldA==");
            assert_eq!(request.headers()["user-agent"], "Mozilla/5.0");
            match answers.next().unwrap() {
                0 => respond.send_reset(Reason::CONNECT_ERROR),
                status => {
                    let mut response = Response::builder().status(status);
                    if status == 407 {
                        response = response.header("proxy-authenticate", "Digest realm=\"x\"");
                    }
                    respond.send_response(response.body(()).unwrap(), true).unwrap();
                }
            }
        }
    });
    assert!(matches!(connect(&proxy).await, Err(Error::Authentication { .. })));
    assert!(connect(&proxy).await.unwrap_err().is_refusal());
    assert!(matches!(connect(&proxy).await, Err(Error::Target { .. })));
    assert!(matches!(connect(&proxy).await, Err(Error::Target { .. })));
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_full_connection_gets_a_neighbour() {
    let (proxy, connections) = proxy(1, echo_all);
    let first = hello(&proxy).await;
    let second = hello(&proxy).await;
    assert_eq!(connections.load(Ordering::Relaxed), 2);
    drop((first, second));
}

/// REFUSED_STREAM and GOAWAY: no byte of the client has been sent, so it is asked elsewhere.
#[tokio::test]
async fn what_was_not_worked_on_is_asked_again() {
    for leaves in [false, true] {
        let (proxy, connections) = proxy(100, move |number, mut connection: Served| async move {
            let mut asked = 0;
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                asked += 1;
                match (number, asked) {
                    (1, 2..) => respond.send_reset(Reason::REFUSED_STREAM),
                    _ => drop(tokio::spawn(echo((request, respond)))),
                }
                if leaves && number == 1 {
                    connection.graceful_shutdown();
                }
            }
        });
        let mut first = hello(&proxy).await;
        drop(hello(&proxy).await);
        assert_eq!(connections.load(Ordering::Relaxed), 2, "{leaves}");
        // What the first one has goes on.
        first.write_all(b"still").await.unwrap();
        let mut still = [0; 5];
        first.read_exact(&mut still).await.unwrap();
        assert_eq!(&still, b"still");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_cuts_its_tunnels() {
    for resets in [false, true] {
        let (proxy, _) = proxy(100, move |_, mut connection: Served| async move {
            let (_request, mut respond) = connection.accept().await.unwrap().unwrap();
            let mut sink = respond.send_response(Response::new(()), false).unwrap();
            sink.send_data(Bytes::from_static(b"hello"), false).unwrap();
            if resets {
                let _ = timeout(Duration::from_millis(200), connection.accept()).await;
                sink.send_reset(Reason::NO_ERROR);
            }
            let _ = timeout(Duration::from_millis(200), connection.accept()).await;
        });
        let mut tunnel = hello(&proxy).await;
        let read = timeout(Duration::from_secs(5), tunnel.read(&mut [0; 9])).await.unwrap();
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset, "{resets}");
    }
}

/// It still takes what the kernel takes, and answers nothing.
#[tokio::test]
async fn a_dead_connection_is_found_and_left() {
    let (proxy, connections) = proxy(100, |number, mut connection: Served| async move {
        if number > 1 {
            return echo_all(number, connection).await;
        }
        let asked = connection.accept().await.unwrap().unwrap();
        tokio::spawn(echo(asked));
        let _ = timeout(Duration::from_millis(200), connection.accept()).await;
        std::future::pending::<()>().await;
        drop(connection);
    });
    let mut first = hello(&proxy).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = Instant::now();
    drop(hello(&proxy).await);
    assert!(began.elapsed() < Duration::from_millis(4500), "{:?}", began.elapsed());
    assert_eq!(connections.load(Ordering::Relaxed), 2);
    assert!(first.read(&mut [0; 9]).await.is_err(), "it cannot be saved");
}

#[tokio::test]
async fn on_another_network_a_new_connection_is_made() {
    let (proxy, connections) = proxy(100, echo_all);
    let mut first = hello(&proxy).await;
    proxy.network_changed();
    drop(hello(&proxy).await);
    drop(hello(&proxy).await);
    assert_eq!(connections.load(Ordering::Relaxed), 2);
    first.write_all(b"still").await.unwrap();
    first.read_exact(&mut [0; 5]).await.unwrap();
}

/// Of a server that is not known yet.
#[tokio::test]
async fn a_crowd_shares_two_connections_from_the_first_on() {
    let (proxy, connections) = proxy(100, echo_all);
    let proxy = Arc::new(proxy);
    let mut crowd = JoinSet::new();
    for _ in 0..50 {
        let proxy = Arc::clone(&proxy);
        crowd.spawn(async move { hello(&proxy).await });
    }
    assert_eq!(crowd.join_all().await.len(), 50);
    assert!(connections.load(Ordering::Relaxed) <= 2, "{connections:?}");
}
