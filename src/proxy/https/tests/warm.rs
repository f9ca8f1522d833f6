//! Connections of HTTP/1.1 that are dialled ahead, handshake included.

use super::*;
use crate::proxy::warm::WarmCounts;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;

/// A proxy for which every dial is long, and where its server listens.
fn street() -> (HttpsConnect, TcpListener) {
    let listener = listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let endpoint = Arc::new(Endpoint::new("127.0.0.1", listener.local_addr().unwrap().port()));
    let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
    let server = ProxyServer::new("p".into(), endpoint, outbound).warm(Some(Duration::ZERO));
    (over(server, "dns.example", authority()), listener)
}

/// The next connection, whose handshake is done.
async fn next(listener: &TcpListener, protocol: &[u8]) -> TlsStream<TcpStream> {
    let accepted = timeout(Duration::from_secs(20), listener.accept()).await;
    acceptor(protocol).accept(accepted.unwrap().unwrap().0).await.unwrap()
}

/// Answers a request, and says something behind it.
async fn serve(tls: &mut TlsStream<TcpStream>) {
    request_of(tls).await;
    tls.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello").await.unwrap();
    tls.flush().await.unwrap();
}

/// A tunnel that works; whether it was dialled ahead.
async fn hello(proxy: &HttpsConnect) -> bool {
    let (target, progress) = (Target::Name("example.com".into(), 443), Progress::default());
    let link = proxy.connect(&target, &progress).await.unwrap();
    let mut hello = [0; 5];
    link.into_stream().read_exact(&mut hello).await.unwrap();
    assert_eq!(&hello, b"hello");
    progress.was_connection_ready()
}

/// A tunnel over a fresh connection, served.
async fn fresh(proxy: &HttpsConnect, listener: &TcpListener) {
    let serving = async { serve(&mut next(listener, b"http/1.1").await).await };
    assert!(!tokio::join!(hello(proxy), serving).0);
}

/// The same where others are dialled ahead beside it: all that ask are served.
async fn fresh_among_others(proxy: &HttpsConnect, listener: &TcpListener) {
    let serving = async {
        let mut served = JoinSet::new();
        loop {
            let mut tls = next(listener, b"http/1.1").await;
            served.spawn(async move { serve(&mut tls).await });
        }
    };
    tokio::select! {
        was_ready = hello(proxy) => assert!(!was_ready),
        () = serving => {}
    }
}

/// Two tunnels, since only then it is known what the server speaks, and one connection is ready.
async fn with_one_ready() -> (HttpsConnect, TcpListener, TlsStream<TcpStream>) {
    let (proxy, listener) = street();
    fresh(&proxy, &listener).await;
    fresh(&proxy, &listener).await;
    let ready = next(&listener, b"http/1.1").await;
    (proxy, listener, ready)
}

/// Until the proxy holds what the server has seen come.
async fn settled(proxy: &HttpsConnect) {
    let is_settled = || format!("{:?}", proxy.warm).contains("ready: 1");
    for _ in 0..20_000 {
        if is_settled() {
            return;
        }
        std::thread::sleep(Duration::from_micros(100));
        tokio::task::yield_now().await;
    }
    panic!("{:?}", proxy.warm);
}

/// The tickets that the server sends behind its handshake do not count as a word.
#[tokio::test(start_paused = true)]
async fn the_handshake_is_done_before_the_request() {
    let (proxy, _listener, mut ready) = with_one_ready().await;
    settled(&proxy).await;
    assert!(tokio::join!(hello(&proxy), serve(&mut ready)).0);
    assert_eq!(
        proxy.dialled_ahead().unwrap().counts(),
        WarmCounts { used: 1, ..WarmCounts::default() }
    );
}

#[tokio::test(start_paused = true)]
async fn one_that_the_server_has_ended_is_not_used() {
    for end in 0..4 {
        let (proxy, listener, mut ready) = with_one_ready().await;
        settled(&proxy).await;
        match end {
            0 => ready.shutdown().await.unwrap(),
            1 => ready.write_all(b"HTTP/1.1 408 Request Time-out\r\n\r\n").await.unwrap(),
            2 => crate::net::reset_on_close(ready.get_ref().0),
            _ => {}
        }
        let _alive = (end < 2).then_some(ready);
        fresh_among_others(&proxy, &listener).await;
        assert_eq!(proxy.dialled_ahead().unwrap().counts().ended, 1, "{end}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_ends_when_it_is_asked_is_replaced() {
    for says in [b"" as &[u8], b"HTTP/1.1 408 Request Time-out\r\n\r\n"] {
        let (proxy, listener, mut ready) = with_one_ready().await;
        settled(&proxy).await;
        let ending = async {
            request_of(&mut ready).await;
            ready.write_all(says).await.unwrap();
            ready.shutdown().await.unwrap();
        };
        tokio::join!(fresh_among_others(&proxy, &listener), ending);
        let counts = proxy.dialled_ahead().unwrap().counts();
        assert_eq!((counts.used, counts.ended), (1, 1));
    }
}

/// Its connections are kept.
#[tokio::test(start_paused = true)]
async fn none_are_dialled_ahead_to_a_server_that_speaks_http2() {
    let (proxy, listener) = street();
    let mut serving = std::pin::pin!(async {
        let tls = next(&listener, b"h2").await;
        let mut connection = h2::server::handshake(tls).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let answer = http::Response::new(());
            let mut sink = respond.send_response(answer, false).unwrap();
            sink.send_data(bytes::Bytes::from_static(b"hello"), true).unwrap();
        }
    });
    let tunnels = async {
        for _ in 0..4 {
            assert!(!hello(&proxy).await);
        }
    };
    tokio::select! {
        () = tunnels => {}
        () = &mut serving => panic!("it has ended"),
    }
    let more = timeout(Duration::from_secs(1), listener.accept());
    tokio::select! {
        more = more => assert!(more.is_err(), "a second connection"),
        () = serving => panic!("it has ended"),
    }
}
